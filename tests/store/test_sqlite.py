"""The SQLite store keeps the contract; and what only a disk can do wrong."""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError
from twisted.trial.unittest import TestCase

from positron.core.records import SequencesDropped, SequencesKept, StateKept
from positron.errors import StoreError
from positron.store import migrations
from positron.store.disk import Disk
from positron.store.lane import Lane
from positron.store.sqlite import SQLiteStore, check
from tests.store.contract import QUOTA, RETENTION, StoreContract
from tests.store.samples import (
    AUTHOR,
    HOUR_MS,
    NOW_MS,
    OTHER,
    change,
    envelope,
    id_of,
    sequences,
    stub,
    trust,
)


class SQLiteStoreTests(StoreContract, TestCase):
    def make_store(self, **changes: Any) -> SQLiteStore:
        if not hasattr(self, "path"):
            folder = self.mktemp()
            os.mkdir(folder, 0o700)
            self.path = os.path.join(folder, "positron.db")
        values: dict[str, Any] = {
            "clock": self.clock,
            "quota": QUOTA,
            "retention": RETENTION,
            "wall": self.wall,
        }
        return SQLiteStore(self.path, reactor, **{**values, **changes})

    def look(self, query: str) -> list[tuple[Any, ...]]:
        """What another connection sees in the database."""
        connection = sqlite3.connect(self.path)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    async def refused(self, store: SQLiteStore | None = None) -> str:
        """The sentence with which opening fails."""
        store = store or self.make_store()
        try:
            await store.open(NOW_MS)
        except StoreError as error:
            return str(error)
        await store.close()
        raise AssertionError("it opened")

    # --------------------------------------------------------------------------------------------- write-behind

    async def test_a_record_waits_for_company(self) -> None:
        """A lone record is written 100 ms after it came, not before."""
        await self.open()
        self.store.remember(envelope(1), 1)
        self.clock.advance(0.09)
        await self.store.fetch([b"?" * 16])
        assert self.look("SELECT count(*) FROM envelopes") == [(0,)]
        self.clock.advance(0.02)
        await self.store.fetch([b"?" * 16])
        assert self.look("SELECT count(*) FROM envelopes") == [(1,)]
        assert self.ears.marks == [1]

    async def test_five_hundred_rows_do_not_wait(self) -> None:
        """With 500 rows a write begins in the same turn, and takes no more than 500 rows; topics are rows, too."""
        await self.open()
        for number in range(300):
            self.store.remember(envelope(number, ("a", "b")), number + 1)
        self.clock.advance(0)
        await self.store.fetch([b"?" * 16])
        assert self.look("SELECT count(*) FROM envelopes") == [(250,)]
        assert self.ears.marks == [250]
        await self.stored(300)
        assert self.ears.marks == [250, 300]

    async def test_what_was_replaced_is_not_written(self) -> None:
        """Of the many versions of one record in a batch, one reaches the disk."""
        await self.open()
        before = self.store.cursor()
        for last in range(1, 401):
            self.store.remember(sequences(seen=[(1, last)]), last)
        await self.stored(400)
        assert self.store.cursor() == before + 400
        assert self.look("SELECT seen FROM sequences") == [("[[1, 400]]",)]

    async def test_a_flush_may_be_cancelled(self) -> None:
        """Cancelling the wait cancels nothing else."""
        await self.open()
        self.store.remember(envelope(1))
        first, second = self.store.flush(), self.store.flush()
        first.cancel()
        with self.assertRaises(CancelledError):
            await first
        await second
        assert self.look("SELECT count(*) FROM envelopes") == [(1,)]

    async def test_a_flush_that_fires_cancels_another(self) -> None:
        """Whoever is told first may cancel the rest, and the store goes on."""
        await self.open()
        self.store.remember(envelope(1))
        first, second = self.store.flush(), self.store.flush()
        first.addCallback(lambda _: second.cancel())
        with self.assertRaises(CancelledError):
            await second
        await first
        await self.store.flush()

    async def test_flush_waits_for_a_write_under_way(self) -> None:
        """A flush during a write that nobody waited for syncs that one, and what came after it."""
        await self.open()
        self.store.remember(envelope(1))
        self.clock.advance(0.1)
        self.store.remember(envelope(2))
        await self.store.flush()
        assert self.store.size()[1] == 2

    async def test_questions_while_a_write_is_under_way(self) -> None:
        """What is on its way to the disk when it is asked for is in the answer once."""
        await self.open()
        self.store.remember(envelope(1))
        self.store.remember(change(1, 2))
        self.clock.advance(0.1)
        self.store.remember(envelope(2))
        self.store.remember(change(2, 3))
        asked = self.store.history("t", 9), self.store.after(0, "t", 9), self.store.trust_history(OTHER, 9)
        assert await asked[0] == [envelope(1), envelope(2)]
        assert [kept for _, kept in await asked[1]] == [envelope(1), envelope(2)]
        assert await asked[2] == [change(1, 2), change(2, 3)]

    # ------------------------------------------------------------------------------------------------- the file

    async def test_pragmas(self) -> None:
        """WAL, small, bounded by the quota; synced fully when somebody waits for it and not otherwise."""
        await self.open()
        names = (
            "journal_mode",
            "wal_autocheckpoint",
            "journal_size_limit",
            "max_page_count",
            "synchronous",
        )

        def ask(connection: Any) -> list[Any]:
            return [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

        lane = self.store._lane
        assert await lane.run(ask) == ["wal", 1000, 4 * 1024 * 1024, QUOTA // 4096, 1]
        for record, mark, expected in (
            (envelope(1), 0, 1),
            (envelope(2), 1, 2),
            (trust(), 0, 1),
            (trust(banned_until=200.0), 0, 2),
        ):
            self.store.remember(record, mark)
            self.clock.advance(0.1)
            assert (await lane.run(ask))[-1] == expected, record

    async def test_files_are_for_their_owner_alone(self) -> None:
        """Database, WAL, shared memory and reserve have mode 0600 whatever the umask."""
        self.addCleanup(os.umask, os.umask(0))
        await self.open()
        self.store.remember(envelope(1))
        await self.store.flush()
        folder = os.path.dirname(self.path)
        modes = {name: os.stat(os.path.join(folder, name)).st_mode & 0o777 for name in os.listdir(folder)}
        names = ("positron.db", "positron.db-shm", "positron.db-wal", "positron.db.reserve")
        assert modes == dict.fromkeys(names, 0o600)

    async def test_nothing_is_left_after_close(self) -> None:
        """No thread, no WAL, no delayed call: 20 times over."""
        before = threading.active_count()
        for _ in range(20):
            await self.open()
            self.store.remember(envelope(1))
            await self.store.close()
        assert threading.active_count() == before
        assert self.clock.getDelayedCalls() == []
        assert not os.path.exists(self.path + "-wal")

    async def test_closing_before_it_is_open(self) -> None:
        """A node that stops while it starts leaves nothing behind."""
        before = threading.active_count()
        opening = self.store.open(NOW_MS)
        await self.store.close()
        assert (await opening).epoch == NOW_MS
        self.store.remember(envelope(1))
        with self.assertRaises(StoreError):
            await self.store.flush()
        assert threading.active_count() == before
        assert self.clock.getDelayedCalls() == []

    async def test_open_twice(self) -> None:
        """The second opening of one object is refused and harms nothing."""
        await self.open()
        assert "already open" in await self.refused(self.store)
        await self.store.flush()

    # ------------------------------------------------------------------------------------------ crash and restore

    async def test_restoring_an_old_copy_reuses_no_epoch(self) -> None:
        """A copy from an hour ago, started now, draws an epoch above all that were used meanwhile."""
        await self.open()
        copy = os.path.join(os.path.dirname(self.path), "copy")
        await self.store.backup(copy)
        used = {
            NOW_MS,
            (await self.reopened(NOW_MS + 1000)).epoch,
            (await self.reopened(NOW_MS + 1000)).epoch,
        }
        await self.store.close()
        os.replace(copy, self.path)
        assert (await self.store.open(NOW_MS + HOUR_MS)).epoch > max(used)

    async def test_sequences_follow_from_the_envelopes(self) -> None:
        """A crash between an envelope and its sequence numbers loses neither: what is held counts as seen."""
        await self.open()
        for record in (
            envelope(1),
            envelope(2),
            envelope(4),
            envelope(5, author=OTHER, epoch=3),
            envelope(6, author=OTHER, epoch=9),
            SequencesDropped(OTHER, 1, b"", 3),
            sequences(seen=[(1, 15)]),
        ):
            self.store.remember(record)
        loaded = await self.reopened()
        assert loaded.sequences == [
            sequences(seen=[(1, 30), (41, 50)]),
            SequencesKept(OTHER, 1, b"", 9, [(61, 70)], 0, envelope(6).created_ms),
        ]

    async def test_cursors_go_on_after_a_restart(self) -> None:
        """Numbers of a new run lie above those on disk, so order holds across restarts."""
        await self.open()
        for number in (3, 1, 2):
            self.store.remember(envelope(number))
        await self.store.close()
        self.store = self.make_store()
        await self.open()
        self.store.remember(envelope(0))
        self.store.remember(change(1, 2))
        await self.store.flush()
        assert [kept.id for kept in await self.store.history("t", 9)] == [id_of(n) for n in (3, 1, 2, 0)]

    async def test_backup(self) -> None:
        """A backup holds what was remembered before it, is for its owner alone, and replaces nothing."""
        await self.open()
        self.store.remember(envelope(1))
        copy = os.path.join(os.path.dirname(self.path), "copy")
        size = await self.store.backup(copy)
        assert os.stat(copy).st_mode & 0o777 == 0o600
        assert os.stat(copy).st_size == size
        for path in (copy, "/nowhere/copy"):
            with self.assertRaises(StoreError):
                await self.store.backup(path)
        await self.store.close()
        self.path = copy
        self.store = self.make_store()
        assert [entry.id for entry in (await self.open()).index] == [id_of(1)]

    # ----------------------------------------------------------------------------------- whose database, and which

    async def test_a_newer_database_is_refused(self) -> None:
        """Before the start and at it, in one sentence with both versions; the file stays as it was."""
        await self.open()
        await self.store.close()
        connection = sqlite3.connect(self.path)
        connection.execute("PRAGMA user_version = 99")
        connection.close()
        before = Path(self.path).read_bytes()
        with self.assertRaises(StoreError) as caught:
            check(self.path)
        for sentence in (str(caught.exception), await self.refused()):
            assert "99" in sentence
            assert str(len(migrations.scripts())) in sentence
        assert Path(self.path).read_bytes() == before

    async def test_foreign_and_damaged_files_are_refused(self) -> None:
        """Another program's database, and what is no database, are refused before the start and at it, unchanged."""
        connection = sqlite3.connect(self.path)
        connection.execute("CREATE TABLE theirs (a)")
        connection.close()
        foreign = Path(self.path).read_bytes()
        for content, word in ((foreign, "another program"), (b"x" * 500, "damaged"), (b"SQLite", "damaged")):
            with open(self.path, "wb") as file:
                file.write(content)
            with self.assertRaises(StoreError) as caught:
                check(self.path)
            assert word in str(caught.exception)
            assert word in await self.refused()
            assert Path(self.path).read_bytes() == content
            assert sorted(os.listdir(os.path.dirname(self.path))) == ["positron.db"]

    async def test_torn_pages_are_refused(self) -> None:
        """A database whose header is sound and whose pages are not is refused with a sentence, no traceback."""
        await self.open()
        for number in range(50):
            self.store.remember(envelope(number))
        await self.store.close()
        with open(self.path, "r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * (os.path.getsize(self.path) - 4096))
        assert "damaged" in await self.refused()

    async def test_another_network(self) -> None:
        """The envelopes of one network are not taken into another: refused before the start and at it."""
        self.store = self.make_store(network="red")
        await self.open()
        await self.store.close()
        check(self.path, "red")
        check(self.path)
        with self.assertRaises(StoreError) as caught:
            check(self.path, "blue")
        assert "red" in str(caught.exception)
        assert "red" in await self.refused(self.make_store(network="blue"))
        again = self.make_store(network="red")
        await again.open(NOW_MS)
        await again.close()

    def test_check_creates_nothing(self) -> None:
        """Looking at a database that is not there, or empty, is fine and leaves no file."""
        check(self.path, "red")
        assert os.listdir(os.path.dirname(self.path)) == []
        Path(self.path).touch()
        check(self.path, "red")
        assert os.listdir(os.path.dirname(self.path)) == ["positron.db"]

    async def test_a_folder_that_is_not_there(self) -> None:
        """Opening says in a sentence that the file cannot be made."""
        sentence = await self.refused(SQLiteStore("/nowhere/positron.db", reactor, clock=self.clock))
        assert "/nowhere/positron.db" in sentence

    # ---------------------------------------------------------------------------------------- a disk that refuses

    def breaks(self) -> BrokenDisk:
        """Put a disk that can be told to refuse under the store."""
        disk = BrokenDisk(self.path, QUOTA, int(RETENTION * 1000), "")
        self.store._disk = disk
        self.store._lane = Lane(self.path, reactor, disk.set_up)
        self.store._questions._lane, self.store._questions._disk = self.store._lane, disk
        return disk

    async def test_a_disk_that_refuses(self) -> None:
        """It says so once, fails flushes, keeps the small records and drops the envelopes; later all is well."""
        disk = self.breaks()
        await self.open()
        self.store.remember(envelope(1), 1)
        await self.stored(1)
        disk.error = sqlite3.OperationalError("database or disk is full")
        self.store.remember(envelope(2), 2)
        self.store.remember(StateKept("k", "1"))
        flushing = self.store.flush()
        with self.assertRaises(StoreError):
            await flushing
        assert self.ears.health == [False]
        self.store.remember(envelope(3), 3)
        self.store.remember(StateKept("k", "2"))
        self.store.remember(change(1, 2))
        for _ in range(3):
            self.clock.advance(5)
            await self.store.fetch([b"?" * 16])
        assert self.ears.health == [False]
        assert await self.store.fetch([id_of(1), id_of(2), id_of(3)]) == {id_of(1): envelope(1).raw}
        disk.error = None
        await self.until(lambda: True in self.ears.health)
        self.store.remember(envelope(4), 4)
        await self.stored(4)
        assert self.ears.marks == [1, 4]
        assert self.ears.health == [False, True]
        assert await self.store.trust_history(OTHER, 9) == [change(1, 2)]
        loaded = await self.reopened()
        assert loaded.state == {"k": "2"}
        assert {entry.id: entry.size > 0 for entry in loaded.index} == {
            id_of(1): True,
            id_of(4): True,
        }

    async def test_a_little_room_is_for_small_records(self) -> None:
        """When giving the reserve up made writing possible and no more, records are written and envelopes are not."""
        disk = self.breaks()
        await self.open()
        disk.error = sqlite3.OperationalError("database or disk is full")
        self.store.remember(StateKept("k", "1"))
        await self.until(lambda: False in self.ears.health)
        disk.error, disk.roomy = None, False
        self.store.remember(envelope(1), 1)
        self.store.remember(stub(2))
        await self.until(lambda: self.look("SELECT value FROM state") == [("1",)])
        for _ in range(3):
            self.clock.advance(5)
            await self.store.fetch([b"?" * 16])
        assert self.ears.health == [False]
        assert self.look("SELECT count(*) FROM stubs") == [(0,)]
        disk.roomy = True
        await self.until(lambda: True in self.ears.health)

    async def test_memory_stays_bounded_while_it_refuses(self) -> None:
        """Hours of traffic on a disk that refuses leave a bounded queue, the newest of each record in it."""
        disk = self.breaks()
        await self.open()
        disk.error = sqlite3.OperationalError("disk I/O error")
        self.store.remember(stub(0))
        await self.until(lambda: False in self.ears.health)
        for number in range(210_000):
            self.store.remember(stub(number))
        self.store.remember(StateKept("k", "1"))
        assert len(list(self.store._backlog)) <= 100_000

    async def test_closing_while_it_refuses(self) -> None:
        """A node stops in time whatever its disk does, and leaves no thread."""
        before = threading.active_count()
        disk = self.breaks()
        await self.open()
        disk.error = sqlite3.OperationalError("disk I/O error")
        self.store.remember(envelope(1))
        await self.store.close()
        assert threading.active_count() == before
        assert self.clock.getDelayedCalls() == []

    async def test_a_fault_of_our_own_is_logged_and_passes(self) -> None:
        """A record that cannot be written by any disk is a bug: one logged failure, and the next record is kept."""
        await self.open()
        self.store.remember(envelope(1, seq=1 << 70))
        self.clock.advance(0.1)
        await self.store.fetch([b"?" * 16])
        assert len(self.flushLoggedErrors(OverflowError)) == 1
        self.store.remember(envelope(2), 1)
        await self.stored(1)

    async def test_questions_to_a_closed_store(self) -> None:
        """They fail with `StoreError`, fetch with nothing found."""
        for question in (
            self.store.history("#", 1),
            self.store.after(-1, "#", 1),
            self.store.envelope_of(AUTHOR, 1, 1),
            self.store.trust_history(AUTHOR, 1),
            self.store.backup("x"),
        ):
            with self.assertRaises(StoreError):
                await question
        assert await self.store.fetch([id_of(1)]) == {}

    async def test_the_file_never_outgrows_its_quota(self) -> None:
        """Ten quotas of envelopes leave a file within one, and a sound one."""
        await self.open()
        for number in range(10 * QUOTA // 8000):
            self.store.remember(envelope(number, raw=bytes(7900)))
            if number % 50 == 0:
                self.clock.advance(0.1)
                await self.store.fetch([b"?" * 16])
        await self.until(lambda: not list(self.store._backlog))
        await self.store.close()
        assert 0.8 * QUOTA < os.path.getsize(self.path) <= QUOTA
        assert self.look("PRAGMA quick_check") == [("ok",)]


class BrokenDisk(Disk):
    """Refuses to write with `error`, if there is one; `roomy` False: has room for little."""

    error: Exception | None = None
    roomy = True

    def write(self, *arguments: Any) -> Any:
        if self.error is not None:
            raise self.error
        return super().write(*arguments)

    def make_room(self, *arguments: Any) -> Any:
        if self.error is not None:
            raise self.error
        return super().make_room(*arguments)._replace(roomy=self.roomy)
