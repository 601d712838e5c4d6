"""Whether our wall clock is wrong: compared with the median of what our peers say theirs is.

Rule: one peer, or the peers of few network groups, can warn us at most; only the median of three groups that *we*
dialled keeps us from publishing.
"""

from __future__ import annotations

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
        self._offsets: dict[int, float] = {}
        self._all: float | None = None
        self._outbound: float | None = None
        self._warned: float | None = None

    @property
    def skew(self) -> float:
        """Seconds that our clock is ahead of the median of the peers that are up (negative: behind); 0 without."""
        return 0.0 if self._all is None else self._context.wall_offset - self._all

    @property
    def skewed_out(self) -> bool:
        """Over 20 s away from the median of outbound peers of three groups or more: nobody would accept us."""
        return self._outbound is not None and abs(self._context.wall_offset - self._outbound) > OUT_SECONDS

    def heard(self, link: Link, wall_ms: int) -> None:
        """This peer's wall clock shows `wall_ms` now."""
        self._offsets[link.number] = wall_ms / 1000 - self._context.now
        if self._context.links.up.get(link.node_id) is link:
            self.compare()

    def forget(self, link: Link) -> None:
        """This link is down."""
        if self._offsets.pop(link.number, None) is not None:
            self.compare()

    def compare(self) -> None:
        """Take the medians anew, over the links that are up; warn above 10 s, and again when it moved as far."""
        up = [link for link in self._context.links if link.number in self._offsets]
        self._all = median(self._offsets[link.number] for link in up) if up else None
        groups: dict[str, list[float]] = {}
        for link in up:
            if link.outbound:
                groups.setdefault(link.group, []).append(self._offsets[link.number])
        enough = len(groups) >= OUT_GROUPS
        self._outbound = median(median(offsets) for offsets in groups.values()) if enough else None
        self.warn()

    def warn(self) -> None:
        """Tell the application when the skew passes 10 s, and when it changes by that much; quiet again below."""
        skew = self.skew
        if abs(skew) <= WARN_SECONDS:
            self._warned = None
        elif self._warned is None or abs(skew - self._warned) > WARN_SECONDS:
            self._warned = skew
            self._context.emit(ClockSkewed(seconds=skew))
