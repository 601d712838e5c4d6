"""The frames of the wire: u32 big-endian length of what follows, then u8 tag, then body.

Rule: a length that no frame may have is refused on its fourth byte, before anything is kept for it. What is kept
grows in one buffer, whatever pieces it comes in, so that a peer that drips single bytes costs no more than its bytes.
"""

from __future__ import annotations

from struct import Struct

MAX_FRAME = 256 * 1024
"""The longest frame, tag and body, in bytes; the shortest is a tag alone."""
OVERSIZE = "oversize frame"
EMPTY = "empty frame"

_LENGTH = Struct("!I")
LENGTH_SIZE = _LENGTH.size
pack_length = _LENGTH.pack


class FrameReader:
    """Bytes in any pieces in, lists of whole frames out, the length prefix stripped.

    `partial` is the beginning of a frame whose end is still to come. Once `fault` is set (a reason), the stream cannot
    be read on and `feed` returns nothing more.
    """

    __slots__ = ("_needed", "fault", "partial")

    def __init__(self) -> None:
        self.fault: str | None = None
        self.partial = bytearray()
        self._needed = 0

    def hold(self, data: bytes) -> None:
        """Keep `data` for the next `feed`."""
        self.partial += data
        self._needed = 0

    def clear(self) -> None:
        """Forget what is held."""
        self.partial.clear()
        self._needed = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that `data` completes, in order. Those before a fault are still returned."""
        if self.fault is not None:
            return []
        if self.partial:
            data = self._joined(data)
        frames: list[bytes] = []
        unpack = _LENGTH.unpack_from
        start, end, needed = 0, len(data), LENGTH_SIZE
        while end - start >= LENGTH_SIZE:
            body = start + LENGTH_SIZE
            (length,) = unpack(data, start)
            if not 0 < length <= MAX_FRAME:
                self.fault = OVERSIZE if length else EMPTY
                return frames
            stop = body + length
            if stop > end:
                needed = LENGTH_SIZE + length
                break
            frames.append(data[body:stop])
            start = stop
        if start < end:
            self.partial += data[start:]
            self._needed = needed
        return frames

    def _joined(self, data: bytes) -> bytes:
        """What is held and `data`, and neither is held any more. Nothing if it is not enough yet: both are then."""
        self.partial += data
        if len(self.partial) < self._needed:
            return b""
        data = bytes(self.partial)
        self.partial.clear()
        return data
