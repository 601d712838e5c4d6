"""What came in on the links and waits for its turn.

A turn of the reactor handles about `TURN` of frames, whatever came, so that timers and other links have theirs soon;
the rest waits, and lanes verify signatures in it meanwhile. A link of which too much waits is not read, so no link can
have the others wait for long. Where little comes, nothing ever waits: a frame is handled where it is read.

Rule: frames are given in the order in which they were read, whatever link they are of, and before its end. In a mesh an
author's envelopes come over several links; one that got ahead of another would tear holes in its sequence.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from heapq import merge
from itertools import count
from operator import attrgetter
from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from positron.services.lanes import CHECKING, NOTHING, WAITING, Lanes, Slice
from positron.transport import Connection

FRAME = 128
"""What a frame weighs besides its bytes: a small one is as much work as this much more."""
TURN = 16 * 1024
"""The weight of a slice, after which a turn ends: about 32 envelopes of one message, 1 to 3 ms."""
MAX_FRAMES, LOW_FRAMES = 256, 64
"""A link is not read while more frames of it wait, until only so many do."""
MAX_LINK, LOW_LINK = 1024 * 1024, 256 * 1024
"""The same in bytes, so that one link cannot fill all of `MAX_SIZE`."""
MAX_SIZE, LOW_SIZE = 8 * 1024 * 1024, 4 * 1024 * 1024
"""Links that bring more are not read while so many bytes wait in all, until only so many do."""
BY = "inbox"
"""As who it pauses links."""


@define(eq=False)
class _Queue:
    """What waits of one link."""

    slices: deque[Slice] = field(factory=deque)
    frames: int = 0
    size: int = 0


class Inbox:
    """See the module. `give(connection, frames)` hands frames to the core, at once."""

    _log = Logger()

    def __init__(self, reactor: Any, give: Callable[[Connection, list[bytes]], None], lanes: Lanes) -> None:
        self._reactor = reactor
        self._give = give
        self._lanes = lanes
        self._queues: dict[Connection, _Queue] = {}
        self._held: set[Connection] = set()
        self._size = 0
        self._numbers = count()
        self._room = TURN
        self._next_turn: IDelayedCall | None = None

    def add(self, connection: Connection, frames: list[bytes]) -> None:
        """These came. They are given now if this turn has room for them and nothing waits."""
        weight = sum(map(len, frames)) + FRAME * len(frames)
        if weight <= self._room and not self._queues:
            self._spend(weight)
            self._give(connection, frames)
            return
        queue = self._queues.setdefault(connection, _Queue())
        for slice in _cut(frames):
            slice.number = next(self._numbers)
            queue.slices.append(slice)
            queue.size += slice.size
            self._size += slice.size
        queue.frames += len(frames)
        if queue.frames > MAX_FRAMES or queue.size > MAX_LINK or self._size > MAX_SIZE:
            self._held.add(connection)
            connection.pause(BY)
        self._serve()

    def end(self, connection: Connection) -> None:
        """The link is gone: what waits of it is given now."""
        queue = self._remove(connection)
        for slice in queue.slices:
            self._hand_over(connection, slice)

    def drop(self, connection: Connection) -> None:
        """Forget what waits of this link."""
        self._remove(connection)

    def close(self) -> None:
        """Forget all that waits."""
        for connection in tuple(self._queues):
            self.drop(connection)
        self._held.clear()
        self._room = TURN
        if self._next_turn is not None:
            self._next_turn.cancel()
            self._next_turn = None

    # ---------------------------------------------------------------------------------------------- its inside

    def _remove(self, connection: Connection) -> _Queue:
        self._held.discard(connection)
        queue = self._queues.pop(connection, None) or _Queue()
        self._size -= queue.size
        for slice in queue.slices:
            self._lanes.leave(slice)
        if self._held:
            self._wake()  # there is room for others
        return queue

    def _spend(self, weight: int) -> None:
        """Account for work of this turn. A lone frame now and then is not worth a turn that begins a new account."""
        self._room -= weight
        if self._room <= TURN // 2:
            self._wake()

    def _wake(self) -> None:
        if self._next_turn is None:
            self._next_turn = self._reactor.callLater(0, self._turn)

    def _turn(self) -> None:
        self._next_turn = None
        self._room = TURN
        self._serve()

    def _serve(self) -> None:
        """Give what this turn has room for, have lanes go ahead, and come back next turn if there is more."""
        while self._room > 0:
            connection = self._whose_turn()
            if connection is None:
                break
            queue = self._queues[connection]
            slice = queue.slices.popleft()
            queue.frames -= len(slice.frames)
            queue.size -= slice.size
            self._size -= slice.size
            if not queue.slices:
                del self._queues[connection]
            self._spend(slice.size + FRAME * len(slice.frames))
            self._lanes.leave(slice)
            self._hand_over(connection, slice)
        if self._held:
            self._let_go()
        self._lanes.go_ahead(self._ahead(), self._serve)
        if self._whose_turn() is not None:
            self._wake()

    def _whose_turn(self) -> Connection | None:
        """Whose slice waits longest; None too while a lane is at it."""
        if not self._queues:
            return None
        first = min(self._queues, key=lambda connection: self._queues[connection].slices[0].number)
        return None if self._queues[first].slices[0].state == CHECKING else first

    def _ahead(self) -> Iterator[Slice]:
        """What lanes may take: all but what the next turn begins with."""
        slices = merge(*(queue.slices for queue in self._queues.values()), key=attrgetter("number"))
        next(slices, None)
        yield from (slice for slice in slices if slice.state == WAITING)

    def _hand_over(self, connection: Connection, slice: Slice) -> None:
        """A mistake of ours ends the link, as it would while reading, and is logged."""
        self._lanes.at_hand = slice.found
        try:
            self._give(connection, slice.frames)
        except Exception:
            self._log.failure("Frames of a link could not be handled")
            connection.hang_up("internal error", abort=True)
        finally:
            self._lanes.at_hand = NOTHING

    def _let_go(self) -> None:
        """Read again what is held back without need."""
        if self._size > LOW_SIZE:
            return
        for connection in tuple(self._held):
            queue = self._queues.get(connection)
            if queue is None or (queue.frames <= LOW_FRAMES and queue.size <= LOW_LINK):
                self._held.remove(connection)
                connection.resume(BY)


def _cut(frames: list[bytes]) -> Iterator[Slice]:
    """The frames in slices of about the weight of a turn."""
    part: list[bytes] = []
    size = 0
    for frame in frames:
        part.append(frame)
        size += len(frame)
        if size + FRAME * len(part) >= TURN:
            yield Slice(part, size)
            part, size = [], 0
    if part:
        yield Slice(part, size)
