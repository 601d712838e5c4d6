"""The few timers of one connection by name, so that none outlives it."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Timers:
    """At most one pending call per name, all in `calls`."""

    __slots__ = ("_clock", "calls")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self.calls: dict[str, IDelayedCall] = {}

    def active(self, name: str) -> bool:
        """Whether a call of that name is pending."""
        return name in self.calls

    def start(self, name: str, seconds: float, call: Callable[[], None]) -> None:
        """Call `call` once in `seconds`; if one of that name is pending, it waits that long from now instead."""
        pending = self.calls.get(name)
        if pending is None:
            self.calls[name] = self._clock.callLater(seconds, self._fire, name, call)
        else:
            pending.reset(seconds)

    def stop(self, name: str) -> None:
        """Forget the call of that name, if there is one."""
        pending = self.calls.pop(name, None)
        if pending is not None:
            pending.cancel()

    def stop_all(self) -> None:
        """Forget every call."""
        for name in list(self.calls):
            self.stop(name)

    def _fire(self, name: str, call: Callable[[], None]) -> None:
        del self.calls[name]
        call()
