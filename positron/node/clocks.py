"""A node's two clocks: `now`, which only goes forward and measures, and the wall clock, which people set.

Rule: a virtual clock is both; of a reactor's own nothing is asked, for it is the wall clock in one program and not in
another (`positron.tap`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock


class Clocks:
    """`ahead` shifts this node's wall clock, in seconds: for tests, and for virtual time that starts at 0.

    `system` is the wall clock, in Unix seconds, where time is not virtual.
    """

    def __init__(self, reactor: Any, ahead: float = 0.0, *, system: Callable[[], float] = time.time) -> None:
        self.ahead = ahead
        self._system = system
        self._reactor = reactor
        self._virtual = isinstance(reactor, Clock)

    def now(self) -> float:
        """Seconds that never go back."""
        return float(self._reactor.seconds()) if self._virtual else time.monotonic()

    def wall(self) -> float:
        """Unix seconds."""
        return float(self._reactor.seconds() if self._virtual else self._system()) + self.ahead
