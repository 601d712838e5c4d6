"""Who is still there: PINGs into silence, and doubt of ourselves before doubt of half the world.

Rule: any frame is a sign of life. A link that we paused ourselves is not silent, nor is anyone while our own loop
stood still.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from positron.core.context import Context
from positron.core.links import Link

PING_AFTER = 5.0
PING_EVERY = 3.0
SUSPECT_AFTER = PING_AFTER + PING_EVERY
"""One PING went unanswered until the next was due."""

GONE_AFTER = 14.0
DOUBT_SECONDS = 14.0
DOUBT_FACTOR = 2.0
DOUBT_LINKS = 4
DOUBT_SPREAD = 5.0
"""Links whose last words are at most this far apart (seconds) fell silent at once."""

LATE_LOOP = 1.0


class Liveness:
    """Watches every link that is up. `gone(link)` is called for one that has been silent for too long."""

    def __init__(self, context: Context, gone: Callable[[Link], None]) -> None:
        self._context = context
        self._gone = gone
        self._pinged: dict[int, float] = {}
        self._doubt_until = -inf
        self._doubted = False
        self._due = inf

    @property
    def self_suspicion(self) -> bool:
        """Whether the fault may be our own: times are doubled and nobody is to be charged for silence."""
        return self._context.now < self._doubt_until

    def is_suspect(self, link: Link) -> bool:
        """Whether this link has left a PING unanswered."""
        return not link.paused and self._context.now >= link.last_heard + SUSPECT_AFTER

    def forget(self, link: Link) -> None:
        """This link is down."""
        self._pinged.pop(link.number, None)

    def loop_late(self, seconds: float) -> None:
        """Our own loop stood still for `seconds`: over 1 s, nobody was silent in that time."""
        if seconds <= LATE_LOOP:
            return
        now = self._context.now
        for link in self._context.links:
            link.last_heard = min(now, link.last_heard + seconds)
        self._doubt_until = now + DOUBT_SECONDS

    def tick(self) -> float:
        """Ping, suspect and give up; the time of the next look."""
        now = self._context.now
        self.loop_late(now - self._due)
        self._doubt_ourselves()
        factor = DOUBT_FACTOR if self.self_suspicion else 1.0
        due = self._doubt_until if self.self_suspicion else inf
        for link in list(self._context.links):
            due = min(due, self._look(link, factor))
        self._due = due
        return due

    def _look(self, link: Link, factor: float) -> float:
        now = self._context.now
        if link.paused:
            link.last_heard = now
        gone_at = link.last_heard + GONE_AFTER * factor
        if now >= gone_at:
            self._gone(link)
            return inf
        ping_at = link.last_heard + PING_AFTER
        if now < ping_at:
            return ping_at
        pinged = self._pinged.get(link.number, -inf)
        if pinged < link.last_heard or now >= pinged + PING_EVERY:
            self._context.ping(link)
            self._pinged[link.number] = pinged = now
        return min(pinged + PING_EVERY, gone_at)

    def _doubt_ourselves(self) -> None:
        """With four links or more of which half fell silent at once, the fault is more likely ours: for one period."""
        links = [link for link in self._context.links if not link.paused]
        silent = [link.last_heard for link in links if self.is_suspect(link)]
        if len(links) < DOUBT_LINKS or 2 * len(silent) < len(links):
            self._doubted = False
        elif not self._doubted and max(silent) - min(silent) <= DOUBT_SPREAD:
            self._doubted = True
            self._doubt_until = self._context.now + DOUBT_SECONDS
