"""Whether our wall clock is wrong: compared with the median of what our peers say theirs is.

Rule: one peer, or the peers of few network groups, can warn us at most; only the median of three groups that *we*
dialled keeps us from publishing.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from statistics import median

from positron.core.context import Context
from positron.core.links import Link
from positron.core.notices import ClockSkewed

WARN_SECONDS = 10.0
OUT_SECONDS = 20.0
OUT_GROUPS = 3


class Clocks:
    """The peers' wall clocks, each as its offset to our `now`, so that setting our own clock shows at once."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._greeting: dict[int, float] = {}
        """What links said that are not up yet."""
        self._offsets: dict[int, float] = {}
        """What links said that are up, and the same in order: every PONG asks for the median."""
        self._sorted: list[float] = []
        self._outbound: float | None = None
        self._outbound_known = True
        self._warned: float | None = None

    @property
    def skew(self) -> float:
        """Seconds that our clock is ahead of the median of the peers that are up (negative: behind); 0 without."""
        count = len(self._sorted)
        if not count:
            return 0.0
        middle = count // 2
        if count % 2:
            return self._context.wall_offset - self._sorted[middle]
        return self._context.wall_offset - (self._sorted[middle - 1] + self._sorted[middle]) / 2

    @property
    def skewed_out(self) -> bool:
        """Over 20 s away from the median of outbound peers of three groups or more: nobody would accept us."""
        if not self._outbound_known:
            self._outbound = self._outbound_median()
            self._outbound_known = True
        return self._outbound is not None and abs(self._context.wall_offset - self._outbound) > OUT_SECONDS

    def _outbound_median(self) -> float | None:
        groups: dict[str, list[float]] = {}
        for link in self._context.links:
            if link.outbound and link.number in self._offsets:
                groups.setdefault(link.group, []).append(self._offsets[link.number])
        enough = len(groups) >= OUT_GROUPS
        return median(median(offsets) for offsets in groups.values()) if enough else None

    def heard(self, link: Link, wall_ms: int) -> None:
        """This peer's wall clock shows `wall_ms` now; warn if the median is too far away by that."""
        offset = wall_ms / 1000 - self._context.now
        if self._context.links.up.get(link.node_id) is link:
            self._remove(link.number)
            self._add(link.number, offset)
            self.warn()
        else:
            self._greeting[link.number] = offset

    def link_up(self, link: Link) -> None:
        """This link is up: what it said while greeting counts."""
        offset = self._greeting.pop(link.number, None)
        if offset is not None:
            self._add(link.number, offset)
        self.warn()

    def forget(self, link: Link) -> None:
        """This link is down."""
        self._greeting.pop(link.number, None)
        self._remove(link.number)
        self.warn()

    def _add(self, number: int, offset: float) -> None:
        self._offsets[number] = offset
        insort(self._sorted, offset)
        self._outbound_known = False

    def _remove(self, number: int) -> None:
        offset = self._offsets.pop(number, None)
        if offset is not None:
            del self._sorted[bisect_left(self._sorted, offset)]
            self._outbound_known = False

    def warn(self) -> None:
        """Tell the application when the skew passes 10 s, and when it changes by that much; quiet again below."""
        skew = self.skew
        if abs(skew) <= WARN_SECONDS:
            self._warned = None
        elif self._warned is None or abs(skew - self._warned) > WARN_SECONDS:
            self._warned = skew
            self._context.emit(ClockSkewed(seconds=skew))
