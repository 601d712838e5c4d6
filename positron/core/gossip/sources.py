"""Receiver-chosen eager push: each node asks `fanout` of its links to push to it, the ones that are first lately.

So every node has exactly that many sources instead of a random number, which is why everyone is reached at a third
of the copies of a mesh (docs/design.rst, Figures). A link's lag is how long after the first evidence of an envelope it
showed the id, as an EWMA; the worst source is swapped for a clearly better link, one a heartbeat.

GRAFT means "push to me". PRUNE with backoff 0 means "push to me no longer", with a backoff "I will not push to you".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from positron.core import messages
from positron.core.context import Context
from positron.core.gossip.recents import Spread
from positron.core.gossip.state import LinkGossip

MAX_PUSHED = 12
"""Links that may graft us; above it only one that has no other link."""

BACKOFF_SECONDS = 30
LAG_CAP = 0.8
LAG_WEIGHT = 0.2
SETTLE_SECONDS = 2.0
SILENT, SILENT_KNOWING = 0.8, 0.15
"""What counts as the lag of a source that never showed an envelope; less if we had told it that we have it."""

SILENT_WEIGHT = 0.1
WASTE_WEIGHT = 0.05
WASTEFUL = 0.9
ALL_WASTE = 0.98
"""Above this the heartbeat is not waited for: 77 envelopes in a row were waste, so it is a small network, and at a
thousand a second two copies too many are dear."""

QUIET_SECONDS = 30.0
GOOD_ENOUGH = 0.3
"""A first-hand score below this is no eager source."""


class Sources:
    """Owns who pushes to us and to whom we push; the owner calls `tick` at `deadline`."""

    def __init__(
        self,
        context: Context,
        states: dict[int, LinkGossip],
        *,
        first_hand: Callable[[bytes], float],
        last_pull: Callable[[], float],
    ) -> None:
        """`first_hand` is the score of a node id; `last_pull` says when an envelope last had to be asked for."""
        self._context = context
        self._states = states
        self._first_hand = first_hand
        self._last_pull = last_pull
        self._wanted = context.parameters.fanout
        self._unsettled: deque[Spread] = deque()
        self.deadline = 0.0
        """When the next heartbeat is due."""

    # ------------------------------------------------------------------------------------------- what we hear

    def graft(self, state: LinkGossip, message: messages.Graft) -> None:
        """The link asks us to push to it."""
        pushed = sum(1 for other in self._states.values() if other.pushes)
        if pushed >= MAX_PUSHED and not state.pushes and not message.only:
            self._context.send(state.link, messages.Prune(BACKOFF_SECONDS))
            return
        state.pushes = True
        state.rank = message.rank

    def prune(self, state: LinkGossip, message: messages.Prune) -> None:
        """The link wants no more pushes, or will give none."""
        if message.backoff == 0:
            state.pushes = False
            return
        state.source = False
        state.told_rank = 0
        state.backoff_until = self._context.now + max(BACKOFF_SECONDS, message.backoff)
        self.fill()

    def showed(self, state: LinkGossip, delay: float) -> None:
        """The link showed an id `delay` seconds after its first evidence."""
        state.lag += (min(LAG_CAP, max(0.0, delay)) - state.lag) * LAG_WEIGHT

    def watch(self, spread: Spread) -> None:
        """An envelope is spreading: at a heartbeat 2 s later we look which sources never showed it."""
        self._unsettled.append(spread)

    def _settle(self) -> None:
        edge = self._context.now - SETTLE_SECONDS
        sources = [state for state in self._states.values() if state.source]
        while self._unsettled and self._unsettled[0].first < edge:
            spread = self._unsettled.popleft()
            for state in sources:
                number = state.link.number
                if number not in spread.shown and state.link.up_since < spread.first:
                    silent = SILENT_KNOWING if number in spread.told else SILENT
                    state.lag += (silent - state.lag) * SILENT_WEIGHT

    def pushed(self, state: LinkGossip, duplicate: bool) -> None:
        """The link pushed an envelope of somebody else's unasked; whether we had it already.

        Its own do not count: an author pushes to all its links, sources or not.
        """
        state.waste += ((1.0 if duplicate else 0.0) - state.waste) * WASTE_WEIGHT
        self._look_at(state)

    def pushed_in_vain(self, state: LinkGossip) -> None:
        """What the link pushed a moment ago was new, and yet waste: its author pushed it to us, too."""
        state.waste = min(1.0, state.waste + WASTE_WEIGHT)
        self._look_at(state)

    def _look_at(self, state: LinkGossip) -> None:
        if state.waste > ALL_WASTE and self._wanted > 1:
            self._economise()
            self._trim()

    def pulled(self, state: LinkGossip) -> None:
        """An envelope had to be asked for and this link gave it: it is a source from now on."""
        for other in self._states.values():
            if other.source:
                self.showed(other, 0.5)
        self._wanted = self._context.parameters.fanout
        if not state.source and self._count() < self._context.parameters.fanout + 2:
            self._graft(state)

    def link_up(self, state: LinkGossip) -> None:
        """A link came up; its lag starts at three quarters of its round trip."""
        if state.link.rtt is not None:
            state.lag = min(LAG_CAP, 0.75 * state.link.rtt)
        if self._count() < self._wanted:
            self._graft(state)

    @property
    def is_one_enough(self) -> bool:
        """Whether all but one source were let go because what they pushed was waste, so that whatever else is pushed
        here unasked would be, too."""
        return self._wanted == 1 < self._context.parameters.fanout

    def link_down(self) -> None:
        """A link is gone: choose another source at once if it was one."""
        self.fill()

    # ------------------------------------------------------------------------------------------------ choice

    def fill(self) -> None:
        """Graft the best candidates until there are `fanout` sources."""
        while self._count() < self._wanted:
            best = self._candidate()
            if best is None:
                break
            self._graft(best)

    def tick(self) -> None:
        """One heartbeat, jittered: trim, swap the worst, keep an outbound source, and save in small networks."""
        interval = self._context.parameters.heartbeat_interval
        self.deadline = self._context.now + interval * (0.9 + 0.2 * self._context.rng.random())
        self._settle()
        self._economise()
        for state in [state for state in self._states.values() if state.source and not self._good(state)]:
            if self._count() > 1:
                self._release(state)
        self.fill()
        self._trim()
        self._swap()
        if not self.is_one_enough:  # else it is the author, whoever dialled; what others say is asked for
            self._keep_one(lambda state: not state.link.on_probation(self._context.now))
            self._keep_one(lambda state: state.link.outbound)
        self._tell_ranks()

    def _trim(self) -> None:
        while self._count() > self._wanted:
            self._release(self._worst())

    def _tell_ranks(self) -> None:
        """Only the best source pushes large envelopes: tell it so, and the one that was best before."""
        sources = sorted((state for state in self._states.values() if state.source), key=lambda s: s.lag)
        for rank, state in enumerate(sources, 1):
            if (rank == 1) != (state.told_rank == 1):
                self._tell(state, rank)

    def _tell(self, state: LinkGossip, rank: int) -> None:
        state.told_rank = min(rank, 255)
        self._context.send(state.link, messages.Graft(state.told_rank, len(self._states) == 1))

    def _swap(self) -> None:
        if not self._count():
            return
        worst = self._worst()
        if self.is_one_enough and worst.waste > ALL_WASTE:
            # All that the only source pushes comes from the author, too: it is better to have him.
            lately = self._context.now - QUIET_SECONDS
            best = self._candidate(lambda state: state.spoke > lately)
        else:
            best = self._candidate()
            if best is not None and best.lag >= 0.7 * worst.lag - 0.010:
                return
        if best is not None:
            self._release(worst)
            self._graft(best)

    def _keep_one(self, wanted: Callable[[LinkGossip], bool]) -> None:
        """At least one source is such a link, if there is one: dialled by us, for inbound links are an attacker's to
        make; and not on probation, for so are new ones."""
        sources = [state for state in self._states.values() if state.source]
        if not sources or any(wanted(state) for state in sources):
            return
        best = self._candidate(wanted)
        if best is not None:
            if len(sources) >= self._wanted:
                self._release(self._worst())
            self._graft(best)

    def _economise(self) -> None:
        """In a small network: fewer sources while nearly all that the last one pushes is waste and nobody pulls."""
        now = self._context.now
        if now - self._last_pull() < QUIET_SECONDS:
            self._wanted = self._context.parameters.fanout
            return
        sources = sorted((state for state in self._states.values() if state.source), key=lambda s: s.lag)
        if len(sources) > 1 and sources[-1].waste > WASTEFUL:
            self._wanted = max(1, len(sources) - 1)

    def _candidate(self, wanted: Callable[[LinkGossip], bool] = lambda _: True) -> LinkGossip | None:
        """The best link that may become a source, of those that are `wanted`."""
        now = self._context.now
        states = [state for state in self._states.values() if not state.source and state.backoff_until <= now]
        states.sort(key=lambda state: state.lag)
        return next((state for state in states if self._good(state) and wanted(state)), None)

    def _good(self, state: LinkGossip) -> bool:
        return not state.broken and self._first_hand(state.link.node_id) >= GOOD_ENOUGH

    def _count(self) -> int:
        return sum(1 for state in self._states.values() if state.source)

    def _worst(self) -> LinkGossip:
        return max((state for state in self._states.values() if state.source), key=lambda state: state.lag)

    def _graft(self, state: LinkGossip) -> None:
        state.source = True
        state.waste = 0.0
        self._tell(
            state, sum(1 for other in self._states.values() if other.source and other.lag <= state.lag)
        )

    def _release(self, state: LinkGossip) -> None:
        state.source = False
        state.told_rank = 0
        self._context.send(state.link, messages.Prune(0))
