"""When and with whom sets are reconciled: sessions of `positron.core.sync` over links.

On link-up the dialler starts; every `sync_interval` one random link; 1 s after a session that brought something new
the same link again, so a session that ended short of all is continued. Whoever holds something at link-up that is too
young for an exchange asks again after 1 s, too: it came before the channel stood, so nobody pushed or announced it.
Four sessions are open at once at most, three opened by others, one on a link; more are answered busy. A link may open
0.5 a second (burst 4).

In sync a session is one message of about 40 bytes and an empty one that ends it, so that it holds no place until it
times out. What we lack is asked for by the caller under every normal check; what the other lacks is only offered: it
learns of it in the same exchange and asks.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define

from positron.core import messages
from positron.core.context import Context
from positron.core.limits import Bucket
from positron.core.links import Link
from positron.core.sync import Index, Session, bound
from positron.errors import MessageError

MAX_SESSIONS = 4
MAX_THEIRS = 3
"""Of them opened by others, one of a link: so one place is always ours, with a link of our choice."""

SESSION_SECONDS = 15.0
"""A session without an answer for so long is over."""

AGAIN_SECONDS = 1.0
BUSY_SECONDS = 2.0
CEILING_MS = 1000
"""What is younger than this is left to live traffic."""
_NEVER_MS = (1 << 63) - 1

SESSION_RATE, SESSION_BURST = 0.5, 4
BYTES_RATE, BYTES_BURST = 64 * 1024, 256 * 1024


@define(eq=False)
class _Open:
    link: Link
    number: int
    ours: bool
    session: Session
    heard: float
    round: int = 0
    news: bool = False
    agrees: bool = True


class AntiEntropy:
    """Owns the sessions; the owner calls `tick` at `deadline`."""

    def __init__(
        self,
        context: Context,
        index: Index,
        *,
        known: Callable[[bytes], bool],
        ignored: Callable[[Link], bool],
        lacking: Callable[[Link, list[bytes]], bool],
        offered: Callable[[Link, list[bytes]], None],
    ) -> None:
        """`lacking` is told what a link has and we do not know (`known`), and says whether that will be asked for;
        `offered` is told what we showed the link. One that is `ignored` is asked only if all are."""
        self._context = context
        self._index = index
        self._known = known
        self._ignored = ignored
        self._lacking = lacking
        self._offered = offered
        self._sessions: dict[tuple[int, int, bool], _Open] = {}
        self._rates: dict[int, tuple[Bucket, Bucket]] = {}
        self._due: dict[int, float] = {}
        self._young: set[int] = set()
        self._next_random = context.now + context.parameters.sync_interval
        self._numbers = 0
        self.deadline = self._next_random
        """When the next session is to be opened or given up; it may be early, never late."""

    def link_up(self, link: Link) -> None:
        """A link is up: whoever dialled starts."""
        self._rates[link.number] = (Bucket(SESSION_RATE, SESSION_BURST), Bucket(BYTES_RATE, BYTES_BURST))
        # Twice as old as is too young: clocks differ.
        if self._index.count(bound(self._context.wall_ms - 2 * CEILING_MS), bound(_NEVER_MS)):
            self._young.add(link.number)
        if link.outbound:
            self._later(link.number, 0.0)

    def link_down(self, link: Link) -> None:
        """Forget the link."""
        self._rates.pop(link.number, None)
        self._due.pop(link.number, None)
        self._young.discard(link.number)
        for key in [key for key in self._sessions if key[0] == link.number]:
            del self._sessions[key]

    def tick(self) -> None:
        """Open what is due, give up what is stale."""
        now = self._context.now
        for key in [key for key, each in self._sessions.items() if each.heard + SESSION_SECONDS <= now]:
            del self._sessions[key]
        if now >= self._next_random:
            interval = self._context.parameters.sync_interval
            self._next_random = now + interval * (0.8 + 0.4 * self._context.rng.random())
            links = list(self._context.links)
            links = [link for link in links if not self._ignored(link)] or links
            if links:
                self._due.setdefault(self._context.rng.choice(links).number, now)
        for number in [number for number, due in self._due.items() if due <= now]:
            self._open(number)
        stale = [each.heard + SESSION_SECONDS for each in self._sessions.values()]
        self.deadline = min([self._next_random, *stale, *self._due.values()])

    def _later(self, number: int, seconds: float) -> None:
        """Open a session with that link so much later, if none is to be opened earlier."""
        due = self._due.setdefault(number, self._context.now + seconds)
        self.deadline = min(self.deadline, due)

    def _busy(self, number: int) -> None:
        self._later(number, BUSY_SECONDS * (0.5 + self._context.rng.random()))

    def _hold(self, session: _Open) -> None:
        self._sessions[session.link.number, session.number, session.ours] = session
        self.deadline = min(self.deadline, session.heard + SESSION_SECONDS)

    def _open(self, number: int) -> None:
        del self._due[number]
        link = self._context.links.get(number)
        if link is None or number not in self._rates:
            return
        if any(each.ours and each.link is link for each in self._sessions.values()):
            return
        if len(self._sessions) >= MAX_SESSIONS:
            self._busy(number)
            return
        self._numbers = (self._numbers + 1) & 0xFFFFFFFF
        session = _Open(link, self._numbers, True, Session(self._index, self._ceiling()), self._context.now)
        first = session.session.start()
        if first.message:
            self._hold(session)
            self._offered(link, first.extra)
            self._send(session, first.message)

    def _ceiling(self) -> int:
        return self._context.wall_ms - CEILING_MS

    def _send(self, session: _Open, ranges: bytes, busy: bool = False) -> None:
        message = messages.Sync(session.number, session.round, ranges, busy)
        self._context.send(session.link, message)

    def received(self, link: Link, message: messages.Sync) -> None:
        """One round of a session came; even rounds are its opener's. Raises `MessageError` for a hostile one."""
        rates = self._rates[link.number]
        rates[1].debit(len(message.ranges), self._context.now)
        ours = message.round % 2 == 1
        key = (link.number, message.session, ours)
        session = self._sessions.get(key)
        if message.busy:
            self._ended_busy(link, key)
        elif session is not None:
            self._round(session, message)
        elif message.round == 0:
            self._accept(link, message, rates)

    def _ended_busy(self, link: Link, key: tuple[int, int, bool]) -> None:
        if self._sessions.pop(key, None) is not None:
            self._busy(link.number)

    def _accept(self, link: Link, message: messages.Sync, rates: tuple[Bucket, Bucket]) -> None:
        session = _Open(
            link, message.session, False, Session(self._index, self._ceiling()), self._context.now
        )
        # A link has one session, the newest: else it could hold all places, and nobody would reconcile with us.
        for key in [key for key, each in self._sessions.items() if each.link is link and not each.ours]:
            del self._sessions[key]
        theirs = sum(1 for each in self._sessions.values() if not each.ours)
        over = len(self._sessions) >= MAX_SESSIONS or theirs >= MAX_THEIRS
        over = over or rates[1].wait(self._context.now) > 0
        if over or not rates[0].take(1, self._context.now):
            session.round = 1
            self._send(session, b"", busy=True)
            return
        self._hold(session)
        self._round(session, message)

    def _round(self, session: _Open, message: messages.Sync) -> None:
        session.heard = self._context.now
        if message.round >= 255:
            raise MessageError("an exchange without end")
        answer = session.session.answer(message.ranges)
        self._offered(session.link, answer.extra)
        lacking = [envelope_id for envelope_id in answer.lack if not self._known(envelope_id)]
        if lacking:
            session.agrees = False
            session.news |= self._lacking(session.link, lacking)
        if answer.message is not None:
            session.round = message.round + 1
            self._send(session, answer.message)
        if not answer.waits:
            self._end(session)

    def _end(self, session: _Open) -> None:
        self._sessions.pop((session.link.number, session.number, session.ours), None)
        if session.agrees:
            session.link.agreed_at = self._context.now
        if session.news or session.link.number in self._young:
            self._young.discard(session.link.number)
            self._later(session.link.number, AGAIN_SECONDS)
