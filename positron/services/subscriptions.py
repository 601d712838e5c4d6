"""What stands between a delivery and one subscriber: order, patience, memory, and its exceptions.

Rules:

- A subscriber has one message at a time: what it returns (a Deferred, or a coroutine) is awaited before its next.
- 1,024 messages wait in memory. What comes on top is kept as numbers alone and read from the store when its turn
  comes; `Lagged` is told once each time that begins, and again for what was not in the store any more.
- An exception of a subscriber is its own: the first is logged with its traceback, all are counted, and the next
  message follows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from inspect import iscoroutine
from typing import Any, Protocol

from attrs import define
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from positron.services.values import Message
from positron.store.topics import matches

MAX_WAITING = 1024
"""Messages that wait in memory for one subscriber."""
MAX_SPANS = 65_536
"""Stretches of sequence numbers kept for one subscriber that fell behind."""

Got = Callable[[Message], Any]


@define
class Span:
    """Consecutive messages of one author that a subscriber has yet to read from the store."""

    author: bytes
    epoch: int
    first: int
    last: int
    late: bool


class Archive(Protocol):
    """What a subscription needs of whoever keeps messages and speaks to the application."""

    def read(self, subscription: Subscription, span: Span) -> Deferred[tuple[list[Message], int]]:
        """What the store holds of the beginning of `span` and `subscription` wants, and how many numbers that was.

        At least one number; a message that is gone, or is for others, makes no message.
        """

    def lagged(self, subscription: Subscription, skipped: int) -> None:
        """The subscriber is too slow: `skipped` messages are no longer in memory."""

    def failed(self, subscription: Subscription, failure: Failure) -> None:
        """The subscriber raised; `subscription.errors` counts this one already."""

    def cancelled(self, subscription: Subscription) -> None:
        """No more deliveries to it."""


class Subscription:
    """One subscriber of a topic, a pattern, or of direct messages. `cancel` ends it."""

    def __init__(
        self, pattern: str, got: Got, archive: Archive, *, history: int = 0, direct: bool = False
    ) -> None:
        self.pattern = pattern
        self.history = history
        self.direct = direct
        self.active = True
        self.held = False
        self.errors = 0
        self._got = got
        self._archive = archive
        self._waiting: deque[Message] = deque()
        self._behind: deque[Span] = deque()
        self._replayed: set[str] = set()
        self._lost = 0
        self._busy = False
        self._running = False

    def cancel(self) -> None:
        """Deliver nothing more. A message that the subscriber has in hand is not taken away."""
        if self.active:
            self.active = False
            self._waiting.clear()
            self._behind.clear()
            self._replayed.clear()
            self._archive.cancelled(self)

    def end(self) -> list[Message]:
        """Cancel it, and take what waits in memory."""
        waiting = list(self._waiting)
        self.cancel()
        return waiting

    # ----------------------------------------------------------------------------- what the gossip service calls

    def wants(self, topic: str) -> bool:
        """Whether messages of `topic` are for it."""
        return not self.direct and matches(self.pattern, topic)

    def hold(self) -> None:
        """Deliver nothing until `replay`: history comes first."""
        self.held = self._busy = True

    def replay(self, messages: Iterable[Message]) -> None:
        """Deliver these before whatever came in since `hold`, and none of them again."""
        self.held = False
        history = list(messages)
        self._replayed = {message.id for message in history}
        live = [message for message in self._waiting if not self._again(message)]
        self._waiting = deque(history + live)
        self._continue()

    def offer(self, message: Message, author: bytes, epoch: int) -> None:
        """Deliver `message` now, or when its turn comes."""
        if self._busy or self._waiting or self._behind or self._replayed or not self.active:
            self._queue(message, author, epoch)
            return
        # The usual case: nothing waits, so it need not either.
        self._busy = True
        self._hand_over(message)
        if self._waiting or self._behind:
            self._run()

    # ----------------------------------------------------------------------------------------------- its inside

    def _queue(self, message: Message, author: bytes, epoch: int) -> None:
        if not self.active or (self._replayed and self._again(message)):
            return
        if self._behind or len(self._waiting) >= MAX_WAITING:
            self._fall_behind(author, epoch, message.seq, message.late)
        else:
            self._waiting.append(message)
            self._run()

    def _again(self, message: Message) -> bool:
        """Whether this one was replayed; said once."""
        if message.id in self._replayed:
            self._replayed.remove(message.id)
            return True
        return False

    def _run(self) -> None:
        if self._running:
            return
        self._running = True
        try:
            while self.active and not self._busy and (self._waiting or self._behind):
                self._busy = True
                if self._waiting:
                    self._hand_over(self._waiting.popleft())
                else:
                    self._read_back()
        finally:
            self._running = False

    def _continue(self, _result: object = None) -> None:
        self._busy = False
        self._run()

    def _hand_over(self, message: Message) -> None:
        try:
            result = self._got(message)
        except BaseException:
            # Application code: whatever it raises, sys.exit() included, concerns this subscriber alone.
            self._failed(Failure())
            self._busy = False
            return
        if result is None:
            self._busy = False
            return
        if iscoroutine(result):
            result = Deferred.fromCoroutine(result)
        if isinstance(result, Deferred):
            result.addErrback(self._failed)
            result.addBoth(self._continue)
        else:
            self._busy = False

    def _failed(self, failure: Failure) -> None:
        self.errors += 1
        self._archive.failed(self, failure)

    def _fall_behind(self, author: bytes, epoch: int, seq: int, late: bool) -> None:
        if not self._behind:
            self._archive.lagged(self, 1)
        last = self._behind[-1] if self._behind else None
        if (
            last is not None
            and (last.author, last.epoch, last.late) == (author, epoch, late)
            and 0 <= seq - last.last <= 1
        ):
            last.last = seq
            return
        self._behind.append(Span(author, epoch, seq, seq, late))
        if len(self._behind) > MAX_SPANS:
            dropped = self._behind.popleft()
            self._lost += dropped.last - dropped.first + 1

    def _read_back(self) -> None:
        span = self._behind[0]
        reading = self._archive.read(self, span)
        reading.addCallback(self._came, span)
        reading.addBoth(self._continue)

    def _came(self, found: tuple[list[Message], int], span: Span) -> None:
        messages, numbers = found
        self._lost += numbers - len(messages)
        if self._behind and self._behind[0] is span:
            span.first += numbers
            if span.first > span.last:
                self._behind.popleft()
            self._waiting.extend(message for message in messages if not self._again(message))
        if self._lost and not self._behind:
            self._archive.lagged(self, self._lost)
            self._lost = 0
