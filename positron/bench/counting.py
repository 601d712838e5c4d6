"""What one receiver heard of a run: which messages, how late, how often twice.

A payload begins with `HEADER`: when it was published (the clock that all processes of a computer share), the number of
its run, and its own number in that run. The rest is zeros.
"""

from __future__ import annotations

import struct
from array import array
from typing import Any

HEADER = struct.Struct(">dII")
MIN_SIZE = HEADER.size
"""Bytes that a payload needs at least."""


class Heard:
    """One run of `total` messages, as one receiver heard it."""

    def __init__(self, total: int) -> None:
        self.count = 0
        self.repeated = 0
        self._seen = bytearray(total)
        self._delays = array("d")
        self._published = float("inf")
        self._last = 0.0

    def add(self, number: int, published: float, now: float) -> None:
        """Message `number`, which was published then, is here now. IndexError if there is no such message."""
        if self._seen[number]:
            self.repeated += 1
            return
        self._seen[number] = 1
        self.count += 1
        self._delays.append(now - published)
        self._published = min(self._published, published)
        self._last = now

    def report(self) -> dict[str, Any]:
        """Figures of it: `seconds` are from the first publication to the last arrival."""
        delays = sorted(self._delays)
        return {
            "messages": self.count,
            "repeated": self.repeated,
            "seconds": max(0.0, self._last - self._published) if delays else 0.0,
            "latency_seconds": {
                name: quantile(delays, share)
                for name, share in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999))
            },
        }


def quantile(ordered: list[float], share: float) -> float | None:
    """The value that `share` of them are not above; None of nothing."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None
