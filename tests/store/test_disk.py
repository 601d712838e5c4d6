"""What the store's thread says of the database it wrote to."""

from __future__ import annotations

import os
import sqlite3
import stat
import zlib
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from positron.core.records import EnvelopesDropped, Record, StateKept
from positron.store import MIB, reserve
from positron.store.backlog import Entry
from positron.store.disk import Disk, Written
from tests.store.samples import HOUR_MS, NOW_MS, change, envelope, id_of, stub

QUOTA = 10 * 1024 * 1024


class StepByStep(Disk):
    """Notes of each step of pruning how many rows it removed, and whether the reserve was there before it."""

    def __init__(self, path: str, *arguments: Any) -> None:
        super().__init__(path, *arguments)
        self.reserve = path + ".reserve"
        self.steps: list[tuple[int, bool]] = []

    def prune(self, *arguments: Any) -> Written:
        """See `Disk`."""
        kept = os.path.exists(self.reserve)
        written = super().prune(*arguments)
        self.steps.append((written.removed, kept))
        return written


class DiskTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = self.mktemp()
        os.mkdir(folder, 0o700)
        path = os.path.join(folder, "positron.db")
        self.reserve = path + ".reserve"
        self.disk = StepByStep(path, QUOTA, HOUR_MS, "")
        self.disk.make_file()
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.addCleanup(self.connection.close)
        self.disk.set_up(self.connection)
        self.disk.open(self.connection, NOW_MS)
        self.number = 0

    def write(self, *records: Record) -> Written:
        entries = [Entry(self.number + each, record, 0) for each, record in enumerate(records, 1)]
        self.number += len(entries)
        return self.disk.write(self.connection, entries, False, NOW_MS)

    def used(self) -> int:
        """The bytes in use, as SQLite has it."""
        ask = self.connection.execute
        pages = ask("PRAGMA page_count").fetchone()[0] - ask("PRAGMA freelist_count").fetchone()[0]
        return int(pages * ask("PRAGMA page_size").fetchone()[0])

    def test_the_bytes_in_use_are_known(self) -> None:
        """They are right to two thousandths of the quota whatever is written, and exact once something was deleted."""
        topics = tuple(f"{'x' * 90}{number}" for number in range(16))
        for batch in range(200):
            numbers = range(10 * batch, 10 * batch + 10)
            for records in (
                [envelope(number, topics if batch < 50 else ("t",), raw=bytes(2000)) for number in numbers],
                [change(number, number + 1) for number in numbers],
                [stub(10_000 + number) for number in numbers],
            ):
                assert abs(self.write(*records).used - self.used()) <= QUOTA / 500, batch
        for batch in range(100):
            dropped = EnvelopesDropped([id_of(10 * batch + number) for number in range(10)])
            assert self.write(StateKept("k", "v"), dropped).used == self.used()

    def test_a_full_disk(self) -> None:
        """T34: the reserve goes before anything is deleted, then 50 rows a time go; it is there again if there is room.

        That this is enough, and less is not, was found on a disk that was full (docs/design.rst, Figures).
        """
        self.write(*(envelope(number, expires_ms=NOW_MS + 1) for number in range(120)))
        self.disk.steps.clear()
        written = self.disk.make_room(self.connection, NOW_MS + 1)
        assert self.disk.steps == [(50, False), (50, False), (20, False), (0, False)]
        assert (written.removed, written.totals.envelopes, written.roomy) == (120, -120, True)
        assert os.path.exists(self.reserve)

    def test_the_reserve(self) -> None:
        """T34: a start leaves 1 to 4 MiB of real bytes aside, which nothing can compress, for its owner alone."""
        found = os.stat(self.reserve)
        with open(self.reserve, "rb") as file:
            assert len(zlib.compress(file.read(), 1)) > 0.9 * found.st_size
        assert 1 <= found.st_size / MIB <= 4
        assert found.st_blocks * 512 >= found.st_size
        assert stat.S_IMODE(found.st_mode) == 0o600

    def test_no_room_for_a_reserve(self) -> None:
        """T34: it is never what fills the disk, and is not missed where it could not be made."""
        self.patch(reserve, "PLENTY", 1 << 62)
        self.disk.make_room(self.connection, NOW_MS)
        assert not os.path.exists(self.reserve)
        self.disk.make_room(self.connection, NOW_MS)
        self.patch(reserve, "SIZE", 1 << 62)
        assert not self.disk.make_room(self.connection, NOW_MS).roomy

    def test_all_or_nothing(self) -> None:
        """A batch that cannot be written leaves nothing of it, and the next is written."""
        with self.assertRaises(OverflowError):
            self.write(envelope(1), envelope(2, seq=1 << 70))
        assert self.connection.execute("SELECT count(*) FROM envelopes").fetchone() == (0,)
        assert self.write(envelope(3)).totals.envelopes == 1
