"""The sorted set of (created, id) that is compared with other nodes'.

Kept in blocks of at most 512 entries: an array of times and one `bytearray` of joined ids each. So an insertion moves
at most 8 KiB, an entry costs about 26 bytes and no object that the garbage collector would visit, and a fingerprint is
one hash over the blocks as they lie in memory: 0.25 ms for 10,000 entries, 1.6 ms for 65,536, without any cache that
could go stale.

Entries come one at a time, thousands a second, and questions every few seconds: so what is added is only noted, and
sorted in, many at once, by the next question. What is newest of all, as it mostly is, is appended then.

A place in the order is a **bound**: 24 bytes, the time in milliseconds (8, big-endian) and an id or the beginning of
one, padded with zeros. Ranges are half open: `low <= entry < high`.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from struct import Struct

ID_SIZE = 16
BOUND_SIZE = 8 + ID_SIZE
MAX_CREATED = (1 << 63) - 1

MAX_ENTRIES = 65_536
"""Entries in an index; one more drops the oldest millisecond and raises the floor above it (docs/design.rst)."""

BLOCK_SIZE = 512
"""Entries in a block; a fuller one is split."""

MAX_FRESH = 512
"""Entries noted and not sorted in: so many take 0.2 ms, or 2 ms if they all belong somewhere in the middle."""

_NO_ID = bytes(ID_SIZE)
_ONE_ID = Struct(f"{ID_SIZE}s")


def bound(created_ms: int, prefix: bytes = b"") -> bytes:
    """The place of the first entry that can be at `created_ms` (0 to 2^63 - 1) with an id beginning with `prefix`."""
    return created_ms.to_bytes(8, "big") + prefix.ljust(ID_SIZE, b"\0")


def created_of(place: bytes) -> int:
    """The time of a bound, in milliseconds."""
    return int.from_bytes(place[:8], "big")


def separator(before: bytes, after: bytes) -> bytes:
    """The shortest bound with `before < bound <= after`, of two places in that order."""
    if before[:8] != after[:8]:
        return after[:8] + _NO_ID
    same = 9
    while before[:same] == after[:same]:
        same += 1
    return after[:same].ljust(BOUND_SIZE, b"\0")


class Block:
    """A run of entries in order: `created[i]` and the i-th 16 bytes of `ids` are one."""

    __slots__ = ("created", "ids")

    def __init__(self, created: array[int], ids: bytearray) -> None:
        self.created = created
        self.ids = ids

    def place(self, position: int) -> bytes:
        """The bound of the entry at `position` (not negative)."""
        start = position * ID_SIZE
        return self.created[position].to_bytes(8, "big") + self.ids[start : start + ID_SIZE]

    def rank(self, place: bytes) -> int:
        """How many entries lie below `place`."""
        times, created, wanted = self.created, created_of(place), place[8:]
        low = bisect_left(times, created)
        if low == len(times) or times[low] != created:
            return low
        high = bisect_right(times, created, low)
        ids = self.ids
        while low < high:
            middle = (low + high) // 2
            if ids[middle * ID_SIZE : (middle + 1) * ID_SIZE] < wanted:
                low = middle + 1
            else:
                high = middle
        return low

    def last(self) -> tuple[int, bytes]:
        """The last entry; there must be one."""
        return self.created[-1], bytes(self.ids[-ID_SIZE:])

    def extend(self, entries: Sequence[tuple[int, bytes]]) -> None:
        """Put these entries in after the last one."""
        self.created.extend([created for created, _ in entries])
        self.ids += b"".join([id for _, id in entries])

    def insert(self, position: int, created: int, id: bytes) -> None:
        """Put an entry in at `position`."""
        self.created.insert(position, created)
        self.ids[position * ID_SIZE : position * ID_SIZE] = id

    def cut(self, start: int, stop: int) -> Block:
        """Take the entries `start .. stop` out; they are a block of their own."""
        part = Block(self.created[start:stop], self.ids[start * ID_SIZE : stop * ID_SIZE])
        del self.created[start:stop]
        del self.ids[start * ID_SIZE : stop * ID_SIZE]
        return part

    def __len__(self) -> int:
        return len(self.created)


class Index:
    """The entries at or above `floor` (milliseconds), at most 65,536.

    The floor only rises: by `raise_floor`, or by itself when there are too many entries.
    """

    def __init__(self, floor: int = 0) -> None:
        self.floor = floor
        """Nothing created before this (milliseconds) is in the index, whether it was once or not. To be persisted."""
        self._blocks: list[Block] = []
        self._firsts: list[bytes] = []
        self._count = 0
        self._fresh: list[tuple[int, bytes]] = []

    def __len__(self) -> int:
        self._sort_in()
        return self._count

    def add(self, created: int, id: bytes) -> None:
        """Add an entry, unless it is there or lies below the floor. ValueError for no entry at all."""
        if len(id) != ID_SIZE or not 0 <= created <= MAX_CREATED:
            raise ValueError(f"an entry is a time from 0 to 2^63 - 1 and {ID_SIZE} bytes")
        if created < self.floor:
            return
        fresh = self._fresh
        fresh.append((created, id))
        if len(fresh) >= MAX_FRESH or self._count + len(fresh) > MAX_ENTRIES:
            self._sort_in()

    def discard(self, created: int, id: bytes) -> bool:
        """Remove an entry; whether it was there."""
        found = self._find(created, id)
        if found is None:
            return False
        number, position = found
        self._blocks[number].cut(position, position + 1)
        self._count -= 1
        self._mend(number)
        return True

    def contains(self, created: int, id: bytes) -> bool:
        """Whether this entry is in the index."""
        return self._find(created, id) is not None

    def raise_floor(self, floor: int) -> int:
        """Drop what was created before `floor` (milliseconds), for good; how many entries that was.

        A floor below the present one changes nothing.
        """
        if floor <= self.floor:
            return 0
        self._sort_in()
        self.floor = floor = max(floor, self.floor)
        before, place = self._count, bound(floor)
        whole = bisect_right(self._firsts, place) - 1
        for block in self._blocks[: max(whole, 0)]:
            self._count -= len(block)
        del self._blocks[: max(whole, 0)], self._firsts[: max(whole, 0)]
        if whole >= 0:
            self._count -= len(self._blocks[0].cut(0, self._blocks[0].rank(place)))
            self._mend(0)
        return before - self._count

    # -------------------------------------------------------------------------------------- ranges

    def count(self, low: bytes, high: bytes) -> int:
        """How many entries lie in the range."""
        return sum(stop - start for _, start, stop in self._pieces(low, high))

    def fingerprint(self, low: bytes, high: bytes) -> bytes:
        """BLAKE2b-128 of the joined ids of the range, in order. 16 bytes.

        An id is a hash over its envelope, `created` included, so the ids alone say it all.
        """
        digest = blake2b(digest_size=16)
        for block, start, stop in self._pieces(low, high):
            digest.update(memoryview(block.ids)[start * ID_SIZE : stop * ID_SIZE])
        return digest.digest()

    def ids(self, low: bytes, high: bytes) -> list[bytes]:
        """The ids of the range, in order."""
        found: list[bytes] = []
        for block, start, stop in self._pieces(low, high):
            piece = block.ids[start * ID_SIZE : stop * ID_SIZE]
            found += [id for (id,) in _ONE_ID.iter_unpack(piece)]
        return found

    def items(self, low: bytes, high: bytes) -> list[tuple[int, bytes]]:
        """(created, id) of the range, in order."""
        times = [t for block, start, stop in self._pieces(low, high) for t in block.created[start:stop]]
        return list(zip(times, self.ids(low, high), strict=True))

    def cuts(self, low: bytes, high: bytes, ranks: Sequence[int]) -> list[bytes]:
        """For each of `ranks` (ascending, 0 < rank < count) a bound with so many entries of the range below it."""
        bounds: list[bytes] = []
        passed, last = 0, low
        for block, start, stop in self._pieces(low, high):
            while len(bounds) < len(ranks) and ranks[len(bounds)] < passed + stop - start:
                position = start + ranks[len(bounds)] - passed
                before = block.place(position - 1) if position > start else last
                bounds.append(separator(before, block.place(position)))
            passed += stop - start
            last = block.place(stop - 1)
        return bounds

    # -------------------------------------------------------------------------------------- inside

    def _sort_in(self) -> None:
        """Put what was noted where it belongs; if there are too many entries then, the oldest go."""
        if not self._fresh:
            return
        fresh, self._fresh = sorted(set(self._fresh)), []
        older = bisect_right(fresh, self._blocks[-1].last()) if self._blocks else 0
        for created, id in fresh[:older]:
            self._insert(created, id)
        self._append(fresh[older:])
        if self._count > MAX_ENTRIES:
            self.raise_floor(self._blocks[0].created[0] + 1)

    def _insert(self, created: int, id: bytes) -> None:
        """Put an entry in its place in a block, unless it is there. There must be one, and its end lie above."""
        place = bound(created, id)
        number = max(bisect_right(self._firsts, place) - 1, 0)
        block = self._blocks[number]
        position = block.rank(place)
        if position < len(block) and block.place(position) == place:
            return
        block.insert(position, created, id)
        if position == 0:
            self._firsts[number] = place
        self._count += 1
        if len(block) > BLOCK_SIZE:
            self._split(number)

    def _append(self, entries: list[tuple[int, bytes]]) -> None:
        """Put entries, in order, above all others."""
        room = BLOCK_SIZE - len(self._blocks[-1]) if self._blocks else 0
        if room > 0:
            self._blocks[-1].extend(entries[:room])
        for start in range(room, len(entries), BLOCK_SIZE):
            block = Block(array("Q"), bytearray())
            block.extend(entries[start : start + BLOCK_SIZE])
            self._blocks.append(block)
            self._firsts.append(block.place(0))
        self._count += len(entries)

    def _pieces(self, low: bytes, high: bytes) -> Iterator[tuple[Block, int, int]]:
        """The blocks of the range with the positions where it begins and ends in each; no empty ones."""
        self._sort_in()
        number = max(bisect_right(self._firsts, low) - 1, 0)
        end = bisect_left(self._firsts, high)
        for index in range(number, end):
            block = self._blocks[index]
            start = block.rank(low) if index == number else 0
            stop = block.rank(high) if index == end - 1 else len(block)
            if start < stop:
                yield block, start, stop

    def _find(self, created: int, id: bytes) -> tuple[int, int] | None:
        """Block and position of an entry."""
        if not 0 <= created <= MAX_CREATED:
            return None
        self._sort_in()
        place = bound(created, id)
        number = bisect_right(self._firsts, place) - 1
        if number < 0:
            return None
        position = self._blocks[number].rank(place)
        if position == len(self._blocks[number]) or self._blocks[number].place(position) != place:
            return None
        return number, position

    def _split(self, number: int) -> None:
        """Split a block that is too full in the middle."""
        block = self._blocks[number]
        second = block.cut(len(block) // 2, len(block))
        self._blocks.insert(number + 1, second)
        self._firsts.insert(number + 1, second.place(0))

    def _mend(self, number: int) -> None:
        """After a removal: drop an empty block, join two that became small, note the first entry."""
        block = self._blocks[number]
        if number + 1 < len(self._blocks) and len(block) + len(self._blocks[number + 1]) <= BLOCK_SIZE // 2:
            following = self._blocks.pop(number + 1)
            del self._firsts[number + 1]
            block.created.extend(following.created)
            block.ids.extend(following.ids)
        if block:
            self._firsts[number] = block.place(0)
        else:
            del self._blocks[number], self._firsts[number]
