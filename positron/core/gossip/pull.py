"""Asking for what was announced and did not come: pull timers, WANT, MISS, and broken promises.

The first HAVE of an unknown id starts a timer of clamp(mean + 2 dev, 40, 400 ms), where mean and deviation are
measured over envelopes that came without a pull. What our best source announced while it was busy, instead of pushing
it, is waited for 400 ms. Then one announcer at a time is asked, the next after 2.5 RTT + 60 ms, two at once from the
third try (docs/design.rst, Figures).

Rule: only proof accuses. A link broke its promise if a PING of ours that followed the WANT was answered and the WANT
was not (links keep order, so no clock and no stall of ours can accuse an honest peer), or if it said MISS right
after its own HAVE. A timer alone only moves on to the next announcer.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from typing import NamedTuple

from attrs import define, field

from positron.core import messages
from positron.core.context import Context
from positron.core.gossip.holdings import Holdings
from positron.core.gossip.state import FIRST_OWED, MAX_BACKLOG, LinkGossip

MAX_PULLS = 4096
MAX_PULLS_PER_LINK = 256
PULL_LOW, PULL_HIGH = 0.040, 0.400
FIRST_MEAN, FIRST_DEV = 0.120, 0.040
BUSY_SECONDS = 0.5
"""A source is busy for so long after it brought something new."""

MISS_OFFENDS_WITHIN = 2.0
GIVE_UP = 10.0
UNANSWERED_CHECK = 2.0
BROKEN_MAX = 3
"""So many promises broken, and none kept in between: what the link announces is ignored for a while. Trust alone is
slower: it charges one in 10 s. The next one after that while is enough."""

IGNORED_SECONDS = 600.0
FIRST_RTT = 0.1
MAX_RTT = 2.0
"""No link is waited for as if it were further away: it could be that only its PONGs are slow."""

WANT_BATCH = 1024
MAX_REMEMBERED = 1024
"""Nodes without a link whose broken promises are remembered."""


@define(eq=False)
class _Pull:
    first: float
    announced: dict[int, float] = field(factory=dict)
    asked: list[int] = field(factory=list)
    coming: int = 0
    """Our best source, if it announced it while it was busy. Were we not behind it would have pushed it; it will when
    we are not. Others push nothing large, and one that brought nothing lately may be a liar."""


class Arrival(NamedTuple):
    """What was known of an envelope before it came.

    `asked`: we asked this link for it. `first`: when it was first announced, None for one that came out of nowhere or
    by anti-entropy. `announced`: by which links, and when.
    """

    asked: bool
    first: float | None
    announced: Mapping[int, float]


UNHEARD_OF = Arrival(False, None, {})


class Puller:
    """Owns the pulls; the owner calls `tick` at `deadline`."""

    def __init__(
        self,
        context: Context,
        holdings: Holdings,
        states: dict[int, LinkGossip],
        *,
        rank: Callable[[LinkGossip], tuple[float, float]],
        broken_promise: Callable[[LinkGossip], None],
    ) -> None:
        """`rank` orders announcers, best first; `broken_promise` is told of each proven one."""
        self._context = context
        self._holdings = holdings
        self._states = states
        self._rank = rank
        self._broken_promise = broken_promise
        self._pulls: dict[bytes, _Pull] = {}
        self._due: list[tuple[float, int, bytes]] = []
        self._count = 0
        self._in_flight: dict[bytes, int] = {}
        self._remembered: dict[bytes, tuple[int, float]] = {}
        self._check_due = float("inf")
        self._mean, self._dev = FIRST_MEAN, FIRST_DEV
        self.deadline = float("inf")
        """When the next timer runs out; it may be early, never late."""
        self.last_pull = float("-inf")
        """When an envelope last had to be asked for."""

    def __len__(self) -> int:
        """How many announced envelopes are waited for."""
        return len(self._pulls)

    # ---------------------------------------------------------------------------------------------- evidence

    def announced(self, state: LinkGossip, envelope_id: bytes) -> None:
        """`state`'s link said that it holds an id that we do not know."""
        pull = self._pulls.get(envelope_id)
        now = self._context.now
        if pull is None:
            if len(self._pulls) >= MAX_PULLS or state.pulls >= MAX_PULLS_PER_LINK:
                return
            pull = self._pulls[envelope_id] = _Pull(now)
            self._wake(envelope_id, now + self._delay())
        elif state.link.number in pull.announced:
            return
        if state.pulls < MAX_PULLS_PER_LINK:
            pull.announced[state.link.number] = now
            state.pulls += 1
            if state.told_rank == 1 and now - state.link.last_useful < BUSY_SECONDS:
                pull.coming = state.link.number

    def shown_by_sync(self, state: LinkGossip, ids: list[bytes]) -> bool:
        """An anti-entropy exchange showed ids that we lack: ask for them as the link's window allows.

        False if the link said of all of them in the last ten minutes that it does not hold them.
        """
        now = self._context.now
        ids = [envelope_id for envelope_id in ids if state.missed.get(envelope_id, now) <= now]
        pending = set(state.backlog)
        fresh = [
            envelope_id
            for envelope_id in ids
            if envelope_id not in pending
            and envelope_id not in self._in_flight
            and not self._holdings.is_known(envelope_id)
        ]
        state.backlog += fresh[: MAX_BACKLOG - len(pending)]
        self.pump(state)
        return bool(ids)

    def arrived(self, state: LinkGossip, envelope_id: bytes, size: int) -> Arrival:
        """An envelope came on this link: what was known of it before."""
        state.measured(size)
        asked = bool(state.wanted) and state.answered(envelope_id)
        if asked:
            state.broken = 0
        self._in_flight.pop(envelope_id, None)
        pull = self._pulls.pop(envelope_id, None)
        if pull is None:
            return Arrival(asked, None, {}) if asked else UNHEARD_OF
        self._close(pull)
        if not pull.asked:
            self._measure(self._context.now - pull.first)
        return Arrival(asked, pull.first, pull.announced)

    def _wake(self, envelope_id: bytes, due: float) -> None:
        """Look at a pull at that time; those of one time in the order in which they were announced."""
        self._count += 1
        heapq.heappush(self._due, (due, self._count, envelope_id))
        self.deadline = min(self.deadline, due)

    def _measure(self, delay: float) -> None:
        error = delay - self._mean
        self._mean += 0.1 * error
        self._dev += 0.1 * (abs(error) - self._dev)

    def _delay(self) -> float:
        return min(PULL_HIGH, max(PULL_LOW, self._mean + 2 * self._dev))

    def _close(self, pull: _Pull) -> None:
        for number in pull.announced:
            state = self._states.get(number)
            if state is not None:
                state.pulls -= 1

    # ------------------------------------------------------------------------------------------------ asking

    def tick(self) -> None:
        """Ask for what is due; check old WANTs."""
        now = self._context.now
        asks: dict[int, list[bytes]] = {}
        while self._due and self._due[0][0] <= now:
            _, _, envelope_id = heapq.heappop(self._due)
            pull = self._pulls.get(envelope_id)
            if pull is not None:
                self._next(envelope_id, pull, asks)
        for number, ids in asks.items():
            self._want(self._states[number], ids)
        if now >= self._check_due:
            self._check_unanswered()
        self.deadline = min(self._due[0][0] if self._due else float("inf"), self._check_due)

    def _next(self, envelope_id: bytes, pull: _Pull, asks: dict[int, list[bytes]]) -> None:
        now = self._context.now
        if pull.coming in pull.announced and not pull.asked and now < pull.first + PULL_HIGH:
            self._wake(envelope_id, pull.first + PULL_HIGH)
            return
        for number in pull.asked:
            self._verify_promise(number)
        candidates = [
            self._states[number]
            for number in pull.announced
            if number in self._states
            and number not in pull.asked
            and self._room(self._states[number]) > len(asks.get(number, ()))
        ]
        if not candidates:
            if now - pull.first > GIVE_UP:
                self._abandon(envelope_id, pull)
            else:
                self._wake(envelope_id, now + PULL_HIGH)
            return
        candidates.sort(key=self._order)
        chosen = candidates[: 2 if len(pull.asked) >= 2 else 1]
        for state in chosen:
            pull.asked.append(state.link.number)
            asks.setdefault(state.link.number, []).append(envelope_id)
        self.last_pull = now
        rtt = max(FIRST_RTT if state.link.rtt is None else state.link.rtt for state in chosen)
        self._wake(envelope_id, now + 2.5 * min(rtt, MAX_RTT) + 0.060)

    def _room(self, state: LinkGossip) -> int:
        """How many more ids may be wanted of this link now: none while it is ignored."""
        return state.room() if state.ignored_until <= self._context.now else 0

    def _order(self, state: LinkGossip) -> tuple[bool, int, float, float]:
        """Best first: not the ones that owe us an answer already, nor those that broke a promise."""
        oldest = next(iter(state.wanted.values()), None)
        patience = 1.5 * (FIRST_RTT if state.link.rtt is None else state.link.rtt)
        is_late = oldest is not None and self._context.now - oldest > patience
        return (is_late, state.broken, *self._rank(state))

    def _abandon(self, envelope_id: bytes, pull: _Pull) -> None:
        del self._pulls[envelope_id]
        self._in_flight.pop(envelope_id, None)
        self._close(pull)

    def pump(self, state: LinkGossip) -> None:
        """Want more of what anti-entropy showed, as far as the window allows.

        Of a link that has given nothing yet the proof is asked for at once: no timer follows these ids, and nobody else
        is asked for them until then.
        """
        if not state.backlog:
            return
        ids: list[bytes] = []
        room = min(self._room(state), WANT_BATCH)
        looked_at = 0
        for envelope_id in state.backlog:
            if len(ids) >= room:
                break
            looked_at += 1
            if envelope_id not in self._in_flight and not self._holdings.is_known(envelope_id):
                ids.append(envelope_id)
        del state.backlog[:looked_at]
        if ids:
            self._want(state, ids)
            if state.owed == FIRST_OWED:
                self._verify_promise(state.link.number)

    def _want(self, state: LinkGossip, ids: list[bytes]) -> None:
        now = self._context.now
        for envelope_id in ids:
            state.wanted[envelope_id] = now
            self._in_flight[envelope_id] = state.link.number
        self._context.send(state.link, messages.Want(b"".join(ids)))
        self._check_due = min(self._check_due, now + UNANSWERED_CHECK)
        self.deadline = min(self.deadline, self._check_due)

    # ---------------------------------------------------------------------------------------------- promises

    def _verify_promise(self, number: int) -> None:
        """Ask the link for a PONG: by then every earlier WANT must have been answered."""
        state = self._states.get(number)
        if state is None or state.checks or not state.wanted:
            return
        nonce = self._context.ping(state.link)
        state.checks[nonce] = list(state.wanted)

    def _check_unanswered(self) -> None:
        now = self._context.now
        self._check_due = float("inf")
        for number, state in self._states.items():
            if not state.wanted:
                continue
            if next(iter(state.wanted.values())) <= now - UNANSWERED_CHECK:
                self._verify_promise(number)
            self._check_due = now + UNANSWERED_CHECK

    def pong(self, state: LinkGossip, nonce: int) -> None:
        """A PONG came: whatever was wanted before its PING and was not answered is a broken promise."""
        broken = [key for key in state.checks.pop(nonce, ()) if key in state.wanted]
        for envelope_id in broken:
            self._unanswered(state, envelope_id)
        if broken:
            self._broke(state, len(broken))
            self.pump(state)

    def missed(self, state: LinkGossip, envelope_id: bytes) -> None:
        """The link says that it does not hold an id: the next announcer is asked at once."""
        if not state.answered(envelope_id):
            return
        pull = self._pulls.get(envelope_id)
        if pull is None:
            state.miss(envelope_id, self._context.now)
        said = pull.announced.get(state.link.number) if pull else None
        self._unanswered(state, envelope_id)
        if said is not None and self._context.now - said <= MISS_OFFENDS_WITHIN:
            self._broke(state, 1)

    def _broke(self, state: LinkGossip, promises: int) -> None:
        state.broken = min(state.broken + promises, BROKEN_MAX)
        state.owed = FIRST_OWED
        if state.broken >= BROKEN_MAX:
            state.ignored_until = self._context.now + IGNORED_SECONDS
            state.backlog.clear()
        self._broken_promise(state)

    def _unanswered(self, state: LinkGossip, envelope_id: bytes) -> None:
        state.wanted.pop(envelope_id, None)
        if self._in_flight.get(envelope_id) == state.link.number:
            del self._in_flight[envelope_id]
        if envelope_id in self._pulls:
            self._wake(envelope_id, self._context.now)

    def link_up(self, state: LinkGossip) -> None:
        """A link is up: what its node broke on an earlier one still counts."""
        state.broken, state.ignored_until = self._remembered.pop(state.link.node_id, (0, 0.0))

    def link_down(self, state: LinkGossip) -> None:
        """Nothing of what this link was asked will come; ask others."""
        if state.broken:
            self._remembered[state.link.node_id] = state.broken, state.ignored_until
            if len(self._remembered) > MAX_REMEMBERED:
                del self._remembered[next(iter(self._remembered))]
        state.backlog.clear()  # a link that is cut for its MISS goes on to be pumped
        for envelope_id in list(state.wanted):
            self._unanswered(state, envelope_id)
        for pull in self._pulls.values():
            pull.announced.pop(state.link.number, None)
