"""What one receiver heard of a run: which messages, how late, how often twice. And how late its loop was.

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
LOOK_EVERY = 0.005
"""Seconds between two looks at how late a loop is."""


class Heard:
    """One run of `total` messages, as one receiver heard it."""

    def __init__(self, total: int) -> None:
        self.count = 0
        self.repeated = 0
        self._seen = bytearray(total)
        self._delays = array("f")
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


class Lateness:
    """How late `reactor` comes to what is due, looked at again and again until `end`."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._late: list[float] = []
        self._wait()

    def _wait(self) -> None:
        self._due = self._reactor.seconds() + LOOK_EVERY
        self._call = self._reactor.callLater(LOOK_EVERY, self._look)

    def _look(self) -> None:
        self._late.append(max(0.0, self._reactor.seconds() - self._due))
        self._wait()

    def end(self) -> float | None:
        """The seconds that 99 of 100 looks were not above."""
        self._call.cancel()
        return quantile(sorted(self._late), 0.99)


def quantile(ordered: list[float], share: float) -> float | None:
    """The value that `share` of them are not above; None of nothing."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None
