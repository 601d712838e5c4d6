"""What the store's thread does with its one connection. Everything here blocks; `sqlite.SQLiteStore` calls it there.

Rule: every write is one transaction that is over, one way or the other, when its method returns or raises.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

from positron.core.records import Loaded
from positron.errors import StoreError
from positron.store import MIB, loading, migrations, pruning, tables
from positron.store.backlog import Entry
from positron.store.reserve import Reserve
from positron.store.tables import Totals

CHECKPOINT_PAGES = 1000
"""WAL pages after which SQLite moves them into the database: 4 MiB. With fewer, every full batch paid for a checkpoint
of its own."""

PROBE = "probe"
PROBE_BYTES = 64 * 1024
"""A row written and deleted to see whether the disk takes the largest payload there is."""

T = TypeVar("T")


class Opened(NamedTuple):
    """A database that is open: what it holds, its totals, its highest cursor, the bytes in use."""

    loaded: Loaded
    totals: Totals
    cursor: int
    used: int


class Written(NamedTuple):
    """A transaction that is through: rows it removed, what it added to the totals, the bytes in use after it, and
    whether the disk has room to speak of."""

    removed: int
    totals: Totals
    used: int
    roomy: bool = True


class Disk:
    """The database at `path`: at most `quota` bytes, with what is younger than `retention_ms`, of one network."""

    def __init__(self, path: str, quota: int, retention_ms: int, network: str) -> None:
        self._path = path
        self._quota = quota
        self._retention_ms = retention_ms
        self._network = network
        self._reserve = Reserve(path + ".reserve")
        self._page_size = 4096

    # ------------------------------------------------------------------------------------------------ opening

    def make_file(self) -> None:
        """Judge the file, or make it with mode 0600 whatever the umask; its WAL takes the same mode from it."""
        migrations.check(self._path)
        try:
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            pass  # and it was judged
        except OSError as error:
            raise StoreError(f"cannot make the database {self._path}: {error.strerror}") from error

    def set_up(self, connection: sqlite3.Connection) -> None:
        """The pragmas of a new connection."""
        try:
            for pragma in (
                "journal_mode = WAL",
                "synchronous = NORMAL",
                f"wal_autocheckpoint = {CHECKPOINT_PAGES}",
                f"journal_size_limit = {4 * MIB}",
                "temp_store = MEMORY",
                "cache_size = -2048",
            ):
                connection.execute(f"PRAGMA {pragma}")
            self._page_size = int(connection.execute("PRAGMA page_size").fetchone()[0])
            connection.execute(f"PRAGMA max_page_count = {max(64, self._quota // self._page_size)}")
        except sqlite3.Error:
            connection.close()
            raise

    def open(self, connection: sqlite3.Connection, now_ms: int) -> Opened:
        """Upgrade, prune what is over, draw and sync this run's epoch, and load."""
        self._reserve.give_up()  # so that a start on a full disk has room for its epoch
        migrations.upgrade(connection, self._path, migrations.scripts())
        self._judge_network(connection)
        while self.prune(connection, now_ms).removed:
            pass
        connection.execute("PRAGMA synchronous = FULL")
        with transaction(connection) as cursor:
            epoch = loading.draw_epoch(cursor, now_ms, self._network)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with transaction(connection, "DEFERRED") as cursor:
            loaded, totals, last = loading.load(cursor, epoch)
        self._reserve.fill()
        return Opened(loaded, totals, last, self._used(connection))

    def _judge_network(self, connection: sqlite3.Connection) -> None:
        row = connection.execute("SELECT network FROM node").fetchone()
        judge_network(self._path, row[0] if row else "", self._network)

    # ------------------------------------------------------------------------------------------------ writing

    def write(
        self, connection: sqlite3.Connection, entries: Sequence[Entry], durable: bool, now_ms: int
    ) -> Written:
        """Write these records in one transaction; `durable`: synced, with all before it, when this returns."""
        connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        if durable and not entries:
            self.checkpoint(connection)  # which begins by syncing what is in the WAL
        with transaction(connection) as cursor:
            totals = tables.write(cursor, entries, now_ms)
        return Written(0, totals, self._used(connection))

    def prune(self, connection: sqlite3.Connection, now_ms: int, limit: int = pruning.BATCH) -> Written:
        """One step of pruning; `removed` 0 says that nothing is left to do."""
        connection.execute("PRAGMA synchronous = NORMAL")
        with transaction(connection) as cursor:
            removed, totals = pruning.step(cursor, now_ms, self._retention_ms, self._quota, limit)
        return Written(removed, totals, self._used(connection))

    def make_room(self, connection: sqlite3.Connection, now_ms: int) -> Written:
        """On a disk that refuses: give the reserve up, prune in the smallest steps, see if writing works again.

        `roomy` only with more free than the reserve gave back: that is for deletes and small records, not envelopes.
        """
        self._reserve.give_up()
        removed, totals = 0, tables.NOTHING
        while (step := self.prune(connection, now_ms, pruning.LAST_RESORT)).removed:
            removed, totals = removed + step.removed, totals.plus(step.totals)
        with transaction(connection) as cursor:
            cursor.execute("REPLACE INTO state (key, value) VALUES (?, zeroblob(?))", (PROBE, PROBE_BYTES))
        with transaction(connection) as cursor:
            cursor.execute("DELETE FROM state WHERE key = ?", (PROBE,))
        roomy = self._reserve.is_roomy()
        if roomy:
            self._reserve.fill()
        return Written(removed, totals, self._used(connection), roomy)

    def checkpoint(self, connection: sqlite3.Connection) -> None:
        """Move the WAL into the database."""
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    # ------------------------------------------------------------------------------------------------ reading

    def ask(self, connection: sqlite3.Connection, question: Callable[..., T], *arguments: object) -> T:
        """The answer to one of the questions of `tables`."""
        cursor = connection.cursor()
        try:
            return question(cursor, *arguments)
        finally:
            cursor.close()

    def copy(self, connection: sqlite3.Connection, path: str) -> None:
        """A consistent copy at `path`, which must not be there yet."""
        if os.path.lexists(path):
            raise StoreError(f"{path} is already there: name a new file")
        migrations.copy(connection, path)

    def _used(self, connection: sqlite3.Connection) -> int:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        free = connection.execute("PRAGMA freelist_count").fetchone()[0]
        return int((pages - free) * self._page_size)


@contextmanager
def transaction(connection: sqlite3.Connection, kind: str = "IMMEDIATE") -> Iterator[sqlite3.Cursor]:
    """A cursor in a transaction that commits at the end, or rolls back if anything is raised."""
    cursor = connection.cursor()
    cursor.execute(f"BEGIN {kind}")
    try:
        yield cursor
        cursor.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite ends it by itself when the disk is full
            cursor.execute("ROLLBACK")
        raise
    finally:
        cursor.close()


def judge_network(path: str, stored: str, wanted: str) -> None:
    """Raise `StoreError` if the database is of another network than `wanted`; empty names are never judged."""
    if stored and wanted and stored != wanted:
        raise StoreError(f"{path} holds network {stored!r}, not {wanted!r}: choose another --data-dir")


def check(path: str, network: str = "") -> None:
    """Judge the database at `path` before a start; blocks for one read, creates and locks nothing.

    Raises `StoreError` with one sentence if it is newer than this code, foreign, damaged, unreadable, or of another
    network than `network`. None there yet is fine. Only for a database that no node has open.
    """
    migrations.check(path)
    if not network or not os.path.exists(path):
        return
    try:
        connection = sqlite3.connect(f"file:{_quoted(path)}?mode=ro&immutable=1", uri=True)
        try:
            row = connection.execute("SELECT network FROM node").fetchone()
        finally:
            connection.close()
    except sqlite3.OperationalError:
        return  # made and not yet filled, or all of it still in the WAL: `open` will judge it
    except sqlite3.DatabaseError as error:
        raise damaged(path, error) from error
    judge_network(path, row[0] if row else "", network)


def damaged(path: str, error: Exception) -> StoreError:
    """The sentence for a database whose contents make no sense."""
    return StoreError(f"{path} is damaged ({error}): move it away, or restore a backup")


def _quoted(path: str) -> str:
    from urllib.parse import quote

    return quote(os.path.abspath(path))
