"""What waits to be written, in order, and how it is cut into batches.

Rule: memory stays bounded and a batch stays short. While the disk refuses, only what replaces itself, or is small,
waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from typing import NamedTuple

from attrs import define

from positron.core.records import (
    EnvelopeKept,
    EnvelopesDropped,
    PeerForgotten,
    PeerKept,
    Record,
    SequencesDropped,
    SequencesKept,
    StateKept,
    StubKept,
    TrustKept,
)

MAX_ROWS = 500
"""Rows in one interaction: 7 to 9 ms (docs/design.rst, Figures), which is what a read may have to wait."""

MAX_BYTES = 4 * 1024 * 1024
"""Bytes in one interaction, unless a single record is longer."""

MAX_WAITING = 50_000
"""Records that wait while the disk refuses; the oldest go."""

ROW_BYTES = 256
"""What a row costs on disk beside its blob, with its share of the indexes (measured: 230)."""


class Entry(NamedTuple):
    """One remembered record. `number` counts them from the start and is an envelope's cursor; `mark` may be 0."""

    number: int
    record: Record
    mark: int


@define
class Batch:
    """What goes to disk in one transaction. `durable`: it must survive a power loss from when it is reported. `cut`:
    more was waiting."""

    entries: list[Entry]
    last: int
    mark: int
    size: int
    durable: bool
    cut: bool = False


class Backlog:
    """A queue of records. `rows` is what writing it all would take; `last` is the number of the newest."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._size = 0
        self.rows = 0
        self.last = 0

    def __bool__(self) -> bool:
        return bool(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def add(self, record: Record, mark: int) -> None:
        """Queue a record."""
        self.last += 1
        self._entries.append(Entry(self.last, record, mark))
        rows, size = cost_of(record)
        self.rows += rows
        self._size += size

    def take(self, room: float = MAX_BYTES) -> Batch:
        """The next batch, in order: up to 500 rows, 4 MiB and `room` bytes, but at least one record.

        What a later one replaces is left out. The backlog must not be empty.
        """
        most = min(room, MAX_BYTES)
        if self.rows <= MAX_ROWS and self._size <= most:
            taken, rows, size = list(self._entries), self.rows, self._size
            self._entries.clear()
        else:
            taken, rows, size = self._cut(most)
        self.rows -= rows
        self._size -= size
        mark, bans = 0, False
        for entry in taken:
            if entry.mark > mark:
                mark = entry.mark
            record = entry.record
            bans = bans or (type(record) is TrustKept and record.banned_until > 0)
        return Batch(newest(taken), taken[-1].number, mark, size, mark > 0 or bans, bool(self._entries))

    def _cut(self, most: float) -> tuple[list[Entry], int, int]:
        """The first records, up to 500 rows and `most` bytes but at least one; with their rows and bytes."""
        taken: list[Entry] = []
        rows = size = 0
        while self._entries:
            more_rows, more_bytes = cost_of(self._entries[0].record)
            if taken and (rows + more_rows > MAX_ROWS or size + more_bytes > most):
                break
            taken.append(self._entries.popleft())
            rows += more_rows
            size += more_bytes
        return taken, rows, size

    def put_back(self, batch: Batch) -> None:
        """A batch that was not written waits again, before all others; see `compact`."""
        self._entries.extendleft(reversed(batch.entries))
        self.compact()

    def bound(self) -> None:
        """Compact it if it grew to twice what may wait."""
        if len(self._entries) >= 2 * MAX_WAITING:
            self.compact()

    def compact(self) -> None:
        """Keep only what may wait for a disk that refuses: the newest of each key, no envelope, no stub, no mark."""
        kept = newest(Entry(number, for_a_full_disk(record), 0) for number, record, _ in self._entries)
        self._entries = deque(kept[-MAX_WAITING:])
        costs = [cost_of(entry.record) for entry in self._entries]
        self.rows, self._size = (sum(column) for column in zip((0, 0), *costs, strict=True))


def cost_of(record: Record) -> tuple[int, int]:
    """About how many rows writing this record touches (an envelope and its first topic are one), and its bytes."""
    if type(record) is EnvelopeKept:
        size = len(record.raw) + ROW_BYTES
        for topic in record.topics:
            size += len(topic) + 16
        return len(record.topics) or 1, size
    if type(record) is EnvelopesDropped:
        return max(1, len(record.ids)), 0
    return 1, ROW_BYTES


def for_a_full_disk(record: Record) -> Record:
    """What is kept of a record that comes while there is no room: an envelope or stub only makes way.

    That its id is known is then forgotten with the process; the next one may fetch it again.
    """
    if type(record) is EnvelopeKept or type(record) is StubKept:
        return EnvelopesDropped([record.id])
    return record


def newest(entries: Iterable[Entry]) -> list[Entry]:
    """The entries without those that a later one of the same key replaces. Order is kept."""
    kept: dict[Hashable, Entry] = {}
    for entry in entries:
        # An envelope has its own number for a key, as `_key` would say; most records are one.
        key = entry.number if type(entry.record) is EnvelopeKept else _key(entry)
        kept.pop(key, None)
        kept[key] = entry
    return list(kept.values())


def _key(entry: Entry) -> Hashable:
    match entry.record:
        case SequencesKept() as record:
            return "sequences", record.author, record.kind, record.recipient, record.epoch
        case SequencesDropped() as record:
            return "floor", record.author, record.kind, record.recipient
        case PeerKept() | PeerForgotten() as record:
            return "peer", record.node_id
        case TrustKept() as record:
            return "trust", record.node_id
        case StateKept() as record:
            return "state", record.key
    return entry.number
