"""`async for` over messages and notices.

Rule: an iterator has one reader and holds back its source (messages) or forgets the oldest and says so (notices), so
that a slow reader costs bounded memory. Cancelling a read ends that read and loses nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, Self, TypeVar

from twisted.internet.defer import Deferred, fail, succeed

from positron.core.notices import Lagged, Notice
from positron.services.subscriptions import MAX_WAITING, Subscription
from positron.services.values import Message

T = TypeVar("T")


class Stream(Generic[T]):
    """An async iterator and async context manager. It ends when it is closed or the node stops."""

    def __init__(self) -> None:
        self.closed = False
        self._items: deque[T] = deque()
        self._asking: Deferred[T] | None = None

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Deferred[T]:
        """The next item; `StopAsyncIteration` after the last. RuntimeError if another read is waiting."""
        if self._items:
            return succeed(self._take())
        if self.closed:
            return fail(StopAsyncIteration())
        if self._asking is not None:
            raise RuntimeError("this stream is being read already")
        self._asking = Deferred(self._forget_asking)
        return self._asking

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it. What was not read is dropped; a read that waits is told of the end."""
        self.finish()
        self._items.clear()

    def finish(self) -> None:
        """Nothing more will come; what waits can still be read."""
        if not self.closed:
            self.closed = True
            self._ended()
            if self._asking is not None:
                asking, self._asking = self._asking, None
                asking.errback(StopAsyncIteration())

    def _put(self, item: T) -> bool:
        """Give it to the reader that waits. Whether there was one; if not, the item waits."""
        if self._asking is None:
            self._items.append(item)
            return False
        asking, self._asking = self._asking, None
        asking.callback(item)
        return True

    def _take(self) -> T:
        return self._items.popleft()

    def _ended(self) -> None:
        """What a kind of stream does when it ends."""

    def _forget_asking(self, _: object) -> None:
        self._asking = None


class MessageStream(Stream[Message]):
    """The messages of one subscription. While its reader is busy, they wait as any subscriber's do."""

    def __init__(
        self,
        subscribe: Callable[[Callable[[Message], object]], Subscription],
        ended: Callable[[MessageStream], None],
    ) -> None:
        super().__init__()
        self._room: Deferred[None] | None = None
        self._on_end = ended
        self._subscription = subscribe(self._got)

    def _got(self, message: Message) -> Deferred[None] | None:
        if self._put(message):
            return None
        self._room = Deferred()
        return self._room

    def _take(self) -> Message:
        message = super()._take()
        room, self._room = self._room, None
        if room is not None:
            room.callback(None)
        return message

    def _ended(self) -> None:
        self._items.extend(self._subscription.end())
        self._on_end(self)


class NoticeStream(Stream[Notice]):
    """What the node tells: at most 1,024 wait, then the oldest go and a `Lagged` stands in their place."""

    def __init__(self, ended: Callable[[NoticeStream], None]) -> None:
        super().__init__()
        self._skipped = 0
        self._on_end = ended

    def give(self, notice: Notice) -> None:
        """One more notice."""
        if self.closed:
            return
        if len(self._items) >= MAX_WAITING:
            self._items.popleft()
            self._skipped += 1
        self._put(notice)

    def _take(self) -> Notice:
        if self._skipped:
            skipped, self._skipped = self._skipped, 0
            return Lagged(topic="", skipped=skipped)
        return super()._take()

    def _ended(self) -> None:
        self._on_end(self)
