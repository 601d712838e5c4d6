"""Who is still there: PINGs into silence, and doubt of ourselves before doubt of half the world.

Rule: any frame is a sign of life. A link that we paused ourselves is not silent, nor is anyone while our own loop
stood still.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf

from positron.core.context import Context
from positron.core.links import Link

PING_AFTER = 5.0
PING_EVERY = 3.0
SUSPECT_AFTER = PING_AFTER + PING_EVERY
"""One PING went unanswered until the next was due."""

EARLY = 1.0
"""A tick pings every link that would want it within this time, so that a node of many links wakes once a second at most
for all of them."""

GONE_AFTER = 14.0
DOUBT_SECONDS = 14.0
DOUBT_FACTOR = 2.0
DOUBT_LINKS = 4
DOUBT_SPREAD = 5.0
"""Links whose last words are at most this far apart (seconds) fell silent at once."""

LATE_LOOP = 1.0


class Liveness:
    """Watches every link that is up. `gone(link)` is called for one that has been silent for too long.

    A frame costs nothing here: it sets `link.last_heard` and moves no deadline. A tick comes when the first link may
    have been silent for long enough, looks at all, and so finds what was said since.
    """

    def __init__(self, context: Context, gone: Callable[[Link], None]) -> None:
        self._context = context
        self._gone = gone
        self._watched: dict[int, Link] = {}
        self._pinged: dict[int, float] = {}
        self._doubt_until = -inf
        self._doubted = False
        self.deadline = inf
        """When `tick` is wanted; it may be early, never late."""

    @property
    def self_suspicion(self) -> bool:
        """Whether the fault may be our own: times are doubled and nobody is to be charged for silence."""
        return self._context.now < self._doubt_until

    def is_suspect(self, link: Link) -> bool:
        """Whether this link has left a PING unanswered."""
        return not link.paused and self._context.now >= link.last_heard + SUSPECT_AFTER

    def watch(self, link: Link) -> None:
        """This link is up."""
        self._watched[link.number] = link
        self.deadline = min(self.deadline, link.last_heard + PING_AFTER)

    def forget(self, link: Link) -> None:
        """This link is down."""
        self._watched.pop(link.number, None)
        self._pinged.pop(link.number, None)

    def loop_late(self, seconds: float) -> None:
        """Our own loop stood still for `seconds`: over 1 s, nobody was silent in that time."""
        if seconds <= LATE_LOOP:
            return
        now = self._context.now
        for link in self._context.links:
            link.last_heard = min(now, link.last_heard + seconds)
        self._doubt(now + DOUBT_SECONDS)

    def tick(self) -> None:
        """Ping, suspect and give up who is silent."""
        now = self._context.now
        self.loop_late(now - self.deadline)
        last_heard = now + EARLY - PING_AFTER
        silent = [link for link in self._watched.values() if link.last_heard <= last_heard]
        if self._doubted or any(self.is_suspect(link) for link in silent):
            self._doubt_ourselves()
        for link in silent:
            if link.number in self._watched:
                self._look(link)
        self.deadline = min(self._looks(), default=inf)

    def _look(self, link: Link) -> None:
        """This link is silent: ping it if that is due, give it up if it was for too long."""
        now = self._context.now
        if link.paused:
            link.last_heard = now
        elif now >= link.last_heard + self._patience:
            self._gone(link)
        elif now + EARLY >= self._next_ping(link):
            self._context.ping(link)
            self._pinged[link.number] = now

    @property
    def _patience(self) -> float:
        """Seconds of silence after which a link is given up; twice as many while it may be our own."""
        return GONE_AFTER * (DOUBT_FACTOR if self.self_suspicion else 1.0)

    def _next_ping(self, link: Link) -> float:
        pinged = self._pinged.get(link.number, -inf)
        return link.last_heard + PING_AFTER if pinged < link.last_heard else pinged + PING_EVERY

    def _looks(self) -> Iterator[float]:
        """When what must be done next about each link."""
        now = self._context.now
        for link in self._watched.values():
            silent_at = link.last_heard + PING_AFTER
            if now + EARLY < silent_at:
                yield silent_at
                continue
            yield min(self._next_ping(link), link.last_heard + self._patience)
            if now < link.last_heard + SUSPECT_AFTER:
                yield link.last_heard + SUSPECT_AFTER
        if self.self_suspicion:
            yield self._doubt_until

    def _doubt_ourselves(self) -> None:
        """With four links or more of which half fell silent at once, the fault is more likely ours: for one period."""
        links = [link for link in self._context.links if not link.paused]
        silent = [link.last_heard for link in links if self.is_suspect(link)]
        if len(links) < DOUBT_LINKS or 2 * len(silent) < len(links):
            self._doubted = False
        elif not self._doubted and max(silent) - min(silent) <= DOUBT_SPREAD:
            self._doubted = True
            self._doubt(self._context.now + DOUBT_SECONDS)

    def _doubt(self, until: float) -> None:
        self._doubt_until = until
        self.deadline = min(self.deadline, until)
