"""Results that several may wait for, and the table of what the core has yet to answer.

Rule: each wait is a Deferred of its own. Cancelling it ends that wait and nothing else, and a failure that nobody
waits for is nobody's unhandled error.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from positron.core.events import Settle

T = TypeVar("T")


class Outcome(Generic[T]):
    """One result, or one failure, for any number of waits before and after it is known. The first one stays."""

    def __init__(self) -> None:
        self._known: T | Failure | None = None
        self._settled = False
        self._waits: list[Deferred[T]] = []

    @property
    def settled(self) -> bool:
        """Whether it is known."""
        return self._settled

    @property
    def awaited(self) -> bool:
        """Whether anybody waits for it at present."""
        return bool(self._waits)

    def wait(self) -> Deferred[T]:
        """A fresh Deferred of it."""
        waiting: Deferred[T] = Deferred(self._waits_remove)
        if self._settled:
            fire(waiting, self._known)
        else:
            self._waits.append(waiting)
        return waiting

    def succeed(self, result: T) -> None:
        """It is `result`."""
        self._settle(result)

    def fail(self, error: Exception) -> None:
        """It is the failure `error`."""
        self._settle(Failure(error))

    def _settle(self, known: T | Failure) -> None:
        if self._settled:
            return
        self._settled = True
        self._known = known
        waits, self._waits = self._waits, []
        for waiting in waits:
            fire(waiting, known)

    def _waits_remove(self, waiting: Deferred[T]) -> None:
        if waiting in self._waits:
            self._waits.remove(waiting)


def fire(waiting: Deferred[Any], known: object) -> None:
    """End a wait with a result or a `Failure`, unless whoever was told before has cancelled it meanwhile."""
    if waiting.called:
        return
    if isinstance(known, Failure):
        waiting.errback(known)
    else:
        waiting.callback(known)


class Tokens:
    """What was asked of the core and not answered yet, by the number that its `Settle` will carry."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._open: dict[int, tuple[Deferred[Any], Callable[[Any], Any]]] = {}

    def __len__(self) -> int:
        return len(self._open)

    def ask(self, convert: Callable[[Any], T]) -> tuple[int, Deferred[T]]:
        """A new number, and the Deferred that fires with `convert(result)` or fails with the answer's error."""
        number = next(self._numbers)
        asked: Deferred[T] = Deferred(lambda _: self._open.pop(number, None) and None)
        self._open[number] = (asked, convert)
        return number, asked

    def settle(self, action: Settle) -> None:
        """Perform a `Settle`. One that nobody waits for any more is forgotten."""
        waiting = self._open.pop(action.token, None)
        if waiting is None:
            return
        asked, convert = waiting
        if action.error is not None:
            asked.errback(Failure(action.error))
        else:
            asked.callback(convert(action.result))

    def fail_all(self, error: Exception) -> None:
        """The core is gone: everything open fails with `error`."""
        waiting, self._open = list(self._open.values()), {}
        for asked, _ in waiting:
            fire(asked, Failure(error))
