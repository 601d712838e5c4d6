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
LOOK_AHEAD = 1.0
"""Seconds: a link whose look is due so soon is looked at with those that are due, for most have spoken since."""


class Liveness:
    """Watches every link that is up. `gone(link)` is called for one that has been silent for too long.

    Each link has a time of its next look, and a frame does not move it: a look finds what was said since, and sets
    the next. So a frame costs nothing here, and a tick little. A look that comes early does nothing else.
    """

    def __init__(self, context: Context, gone: Callable[[Link], None]) -> None:
        self._context = context
        self._gone = gone
        self._looks: dict[int, float] = {}
        self._pinged: dict[int, float] = {}
        self._suspects: set[int] = set()
        """Those that were suspect when they were last looked at."""
        self._factor = 1.0
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
        self._looks[link.number] = at = link.last_heard + PING_AFTER
        self.deadline = min(self.deadline, at)

    def forget(self, link: Link) -> None:
        """This link is down."""
        self._looks.pop(link.number, None)
        self._pinged.pop(link.number, None)
        self._suspects.discard(link.number)

    def loop_late(self, seconds: float) -> None:
        """Our own loop stood still for `seconds`: over 1 s, nobody was silent in that time."""
        if seconds <= LATE_LOOP:
            return
        now = self._context.now
        for link in self._context.links:
            link.last_heard = min(now, link.last_heard + seconds)
        self._doubt(now + DOUBT_SECONDS)

    def tick(self) -> None:
        """Ping, suspect and give up, where a look is due."""
        now = self._context.now
        self.loop_late(now - self.deadline)
        due = [number for number, at in self._looks.items() if at - now <= LOOK_AHEAD]
        self._find_suspects([number for number in due if self._looks[number] <= now])
        if self._suspects or self._doubted:
            self._doubt_ourselves()
        factor = DOUBT_FACTOR if self.self_suspicion else 1.0
        if factor < self._factor:  # who had twice the time has it no longer
            due = list(self._looks)
        self._factor = factor
        for number in due:
            if number in self._looks:
                self._look(self._context.links.all[number])
        self.deadline = min(self._looks.values(), default=inf)
        if self.self_suspicion:
            self.deadline = min(self.deadline, self._doubt_until)

    def _look(self, link: Link) -> None:
        now = self._context.now
        if link.paused:
            link.last_heard = now
        gone_at = link.last_heard + GONE_AFTER * self._factor
        if now >= gone_at:
            self._gone(link)
            return
        next_at = link.last_heard + PING_AFTER
        if now >= next_at:
            pinged = self._pinged.get(link.number, -inf)
            if pinged < link.last_heard or now >= pinged + PING_EVERY:
                self._context.ping(link)
                self._pinged[link.number] = pinged = now
            next_at = min(pinged + PING_EVERY, gone_at)
            suspect_at = link.last_heard + SUSPECT_AFTER
            if now < suspect_at < next_at:
                next_at = suspect_at
        self._looks[link.number] = next_at

    def _find_suspects(self, numbers: list[int]) -> None:
        for number in numbers:
            if self.is_suspect(self._context.links.all[number]):
                self._suspects.add(number)
            else:
                self._suspects.discard(number)

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
