"""What waits to be written on one link, and what goes first when it is too much.

Rule: the queue is bounded. Announcements (`ANNOUNCEMENT`) are dropped before payloads nobody asked for (`PAYLOAD`);
both come back by anti-entropy. Control, and what the peer asked for (`CONTROL`), is never dropped: when that alone is
more than the bound allows, the link is past saving and `add` says so.
"""

from __future__ import annotations

from collections import deque

from positron.transport.frames import LENGTH_SIZE, pack_length

CONTROL, ANNOUNCEMENT, PAYLOAD = 0, 1, 2
"""Kinds of frames. `True` as a kind is an announcement, `False` is control."""

QUEUE_LIMIT = 1024 * 1024
"""Bytes that may wait on one link while anything in them can be dropped (docs/security.rst)."""
CONTROL_LIMIT = 4 * QUEUE_LIMIT
"""Bytes that may wait on one link when none can be dropped: far above what one turn of an honest node sends."""


class SendQueue:
    """Frames in the order they are to be written. `size` is in bytes on the wire, `dropped` counts frames."""

    __slots__ = ("_frames", "_of_kind", "dropped", "size")

    def __init__(self) -> None:
        self.size = 0
        self.dropped = 0
        self._frames: deque[tuple[bytes, int]] = deque()
        self._of_kind = [0, 0, 0]

    def add(self, frame: bytes, kind: int) -> bool:
        """Queue `frame`, or drop it or others by the rule of this module. False if the queue is past its bound."""
        cost = len(frame) + LENGTH_SIZE
        if self.size + cost > QUEUE_LIMIT and not self._make_room(cost, kind):
            self.dropped += 1
            return True
        self._frames.append((frame, kind))
        self._of_kind[kind] += cost
        self.size += cost
        return self.size <= CONTROL_LIMIT

    def take(self, limit: int) -> bytes:
        """The next frames joined, with their lengths, until they are `limit` bytes or more, or all."""
        parts: list[bytes] = []
        taken = 0
        while self._frames and taken < limit:
            frame, kind = self._frames.popleft()
            cost = len(frame) + LENGTH_SIZE
            self._of_kind[kind] -= cost
            taken += cost
            parts += (pack_length(len(frame)), frame)
        self.size -= taken
        return b"".join(parts)

    def clear(self) -> None:
        """Forget everything that waits."""
        self._frames.clear()
        self._of_kind = [0, 0, 0]
        self.size = 0

    def _make_room(self, cost: int, kind: int) -> bool:
        """Drop what matters less than a frame of `kind`. Whether that frame may be queued now.

        All of a kind goes at once: picking frame by frame would cost a walk through the queue for each that comes.
        """
        if kind != ANNOUNCEMENT:
            self._drop(ANNOUNCEMENT)
        if kind == CONTROL and self.size + cost > QUEUE_LIMIT:
            self._drop(PAYLOAD)
        return kind == CONTROL or self.size + cost <= QUEUE_LIMIT

    def _drop(self, kind: int) -> None:
        if not self._of_kind[kind]:
            return
        before = len(self._frames)
        self._frames = deque(entry for entry in self._frames if entry[1] != kind)
        self.dropped += before - len(self._frames)
        self.size -= self._of_kind[kind]
        self._of_kind[kind] = 0
