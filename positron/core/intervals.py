"""Sets of numbers, kept as intervals `(low, high)` that are apart and in order."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from operator import itemgetter

from positron.core.records import Intervals

_first, _last = itemgetter(0), itemgetter(1)


def overlaps(intervals: Intervals, low: int, high: int) -> bool:
    """Whether any number of `low .. high` is in `intervals`, which are apart and in order. Mostly it is newer."""
    if not intervals or intervals[-1][1] < low:
        return False
    place = bisect_right(intervals, high, key=_first)
    return place > 0 and intervals[place - 1][1] >= low


def insert(intervals: Intervals, low: int, high: int) -> None:
    """Add `low .. high`, merging what touches. The newest numbers are the common case and cost O(1)."""
    if intervals and intervals[-1][1] + 1 == low:
        intervals[-1] = (intervals[-1][0], high)
        return
    start = bisect_left(intervals, low - 1, key=_last)
    end = bisect_right(intervals, high + 1, key=_first)
    if start < end:
        low, high = min(low, intervals[start][0]), max(high, intervals[end - 1][1])
    intervals[start:end] = [(low, high)]
