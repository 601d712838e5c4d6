"""A node's two clocks: `now`, which only goes forward and measures, and the wall clock, which people set.

Rule: a reactor's `seconds` is the wall clock (Twisted's is `time.time`), except for a virtual one, which is both.
"""

from __future__ import annotations

import time
from typing import Any

from twisted.internet.task import Clock


class Clocks:
    """`ahead` shifts this node's wall clock, in seconds: for tests, and for virtual time that starts at 0."""

    def __init__(self, reactor: Any, ahead: float = 0.0) -> None:
        self.ahead = ahead
        self._reactor = reactor
        self._virtual = isinstance(reactor, Clock)

    def now(self) -> float:
        """Seconds that never go back."""
        return float(self._reactor.seconds()) if self._virtual else time.monotonic()

    def wall(self) -> float:
        """Unix seconds."""
        return float(self._reactor.seconds()) + self.ahead
