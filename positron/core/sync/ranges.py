"""The bytes of one message of a session: floor, ceiling, and ranges that cover what lies between from below.

    message = b"" (nothing more to say) | floor u64 | ceiling u64 | range *
    range   = time varint | mode and length u8 | prefix | content

`floor` and `ceiling` are milliseconds, big-endian. A range reaches from the end of the one before it (the first:
from the floor) up to, not including, its own bound: the time, as the difference to the bound before, and the first
bytes of an id. The high 3 bits of the second field are the mode, the low 5 the length of the prefix (0 to 16).
A varint is base 128, low digits first. What lies between the last range and the ceiling is skipped.

Contents by mode: SKIP none; FINGERPRINT 16 bytes; LIST and HAVE a varint and so many ids of 16 bytes, in order. LIST
is all that its sender holds in the range, and asks for an answer as FINGERPRINT does; HAVE is what the receiver of it
lacks there, and ends the matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from positron.core.sync.index import BOUND_SIZE, ID_SIZE, MAX_CREATED, bound, created_of
from positron.errors import MessageError

MAX_MESSAGE = 64 * 1024
"""The longest message, in bytes."""

MAX_RANGES = 2_048
"""The most ranges in a message."""

SKIP, FINGERPRINT, LIST, HAVE = range(4)

FINGERPRINT_SIZE = 16
_HEADER = 16
_LONGEST_RANGE_HEAD = 9 + 1 + ID_SIZE
_RESERVE = 2 * _LONGEST_RANGE_HEAD + FINGERPRINT_SIZE


class SyncError(MessageError):
    """A message of a session that no correct node would send."""


class Range(NamedTuple):
    """One range as it was received: `content` is a fingerprint, or joined ids."""

    low: bytes
    high: bytes
    mode: int
    content: bytes

    def ids(self) -> list[bytes]:
        """The ids of a LIST or HAVE."""
        return [self.content[start : start + ID_SIZE] for start in range(0, len(self.content), ID_SIZE)]


class Parsed(NamedTuple):
    """A message taken apart. `floor` and `ceiling` are milliseconds."""

    floor: int
    ceiling: int
    ranges: list[Range]


class _Reader:
    """Bytes, read from the front; `SyncError` where they end too early."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def is_done(self) -> bool:
        return self._at == len(self._data)

    def take(self, length: int) -> bytes:
        end = self._at + length
        if end > len(self._data):
            raise SyncError("a sync message that ends too early")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def varint(self) -> int:
        value = 0
        for shift in range(0, 63, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise SyncError("a sync message with an endless number")


def parse(message: bytes) -> Parsed:
    """Take a message (not the empty one) apart. Raises `SyncError`, and nothing else, for whatever is wrong."""
    if len(message) > MAX_MESSAGE:
        raise SyncError("a sync message that is too long")
    reader = _Reader(message)
    floor = int.from_bytes(reader.take(8), "big")
    ceiling = int.from_bytes(reader.take(8), "big")
    if not floor < ceiling <= MAX_CREATED:
        raise SyncError("a sync message about no time at all")
    ranges: list[Range] = []
    low, end = bound(floor), bound(ceiling)
    while not reader.is_done():
        if len(ranges) == MAX_RANGES:
            raise SyncError("a sync message of too many ranges")
        ranges.append(_read_range(reader, low, end))
        low = ranges[-1].high
    return Parsed(floor, ceiling, ranges)


def _read_range(reader: _Reader, low: bytes, end: bytes) -> Range:
    created = created_of(low) + reader.varint()
    head = reader.take(1)[0]
    mode, length = head >> 5, head & 0x1F
    if mode > HAVE or length > ID_SIZE or created > MAX_CREATED:
        raise SyncError("a sync message with a range of no known kind")
    high = bound(created, reader.take(length))
    if not low < high <= end:
        raise SyncError("a sync message whose ranges are not in order")
    if mode == SKIP:
        return Range(low, high, mode, b"")
    if mode == FINGERPRINT:
        return Range(low, high, mode, reader.take(FINGERPRINT_SIZE))
    return Range(low, high, mode, reader.take(reader.varint() * ID_SIZE))


class Writer:
    """A message in the making: ranges in ascending order, what is left out between them is skipped."""

    def __init__(self, floor: int, ceiling: int, limit: int) -> None:
        self._end = bound(ceiling)
        self._out = bytearray(floor.to_bytes(8, "big") + ceiling.to_bytes(8, "big"))
        self._at = bound(floor)
        self._limit = limit
        self._ranges = 0

    def room(self) -> int:
        """How many ids a LIST or HAVE may still have; 0 or less: not even an empty one fits."""
        if self._ranges + 4 > MAX_RANGES:
            return 0
        free = self._limit - len(self._out) - _RESERVE - 2 * _LONGEST_RANGE_HEAD - 3
        return free // ID_SIZE

    def fingerprint(self, low: bytes, high: bytes, fingerprint: bytes) -> bool:
        """Add a FINGERPRINT; False, and nothing added, if it does not fit."""
        if self.room() < 1:
            return False
        self._put(low, high, FINGERPRINT, fingerprint)
        return True

    def listing(self, low: bytes, high: bytes, mode: int, ids: Sequence[bytes]) -> bool:
        """Add a LIST or HAVE; False, and nothing added, if it does not fit."""
        if self.room() < max(len(ids), 1):
            return False
        self._put(low, high, mode, _varint(len(ids)) + b"".join(ids))
        return True

    def rest(self, low: bytes, fingerprint: bytes) -> None:
        """Add the fingerprint of all from `low` to the ceiling, for which room is always left."""
        self._put(low, self._end, FINGERPRINT, fingerprint)

    def finish(self) -> bytes:
        """The message; empty if nothing was added."""
        return bytes(self._out) if self._ranges else b""

    def _put(self, low: bytes, high: bytes, mode: int, content: bytes) -> None:
        if low > self._at:
            self._put_head(low, SKIP)
        self._put_head(high, mode)
        self._out += content

    def _put_head(self, high: bytes, mode: int) -> None:
        prefix = high[8:BOUND_SIZE].rstrip(b"\0")
        self._out += _varint(created_of(high) - created_of(self._at))
        self._out.append(mode << 5 | len(prefix))
        self._out += prefix
        self._at = high
        self._ranges += 1


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
