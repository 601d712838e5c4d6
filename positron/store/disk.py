"""What the store's thread does with its one connection. Everything here blocks; `sqlite.SQLiteStore` calls it there.

Rule: every write is one transaction that is over, one way or the other, when its method returns or raises.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import NamedTuple, TypeVar

from positron.core.records import Loaded
from positron.errors import StoreError
from positron.store import MIB, copying, loading, migrations, pruning, tables
from positron.store.backlog import ROW_BYTES, Entry
from positron.store.reserve import Reserve
from positron.store.tables import Totals

CHECKPOINT_PAGES = 1000
"""WAL pages after which SQLite moves them into the database: 4 MiB. With fewer, every full batch paid for a checkpoint
of its own."""

ASK_AT = 1 / 1024
"""Share of the quota that is written before SQLite is asked again how much is in use; in between it is reckoned."""

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
    """A transaction that is through: rows it removed, what it added to the totals, the bytes in use after it (to a
    thousandth of the quota), and whether the disk has room to speak of."""

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
        self._level = ""
        self._asked = 0
        self._since = 0

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
        self._level = "NORMAL"
        try:
            for pragma in (
                "journal_mode = WAL",
                f"synchronous = {self._level}",
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
        self._synchronous(connection, "FULL")
        with Transaction(connection) as cursor:
            epoch = loading.draw_epoch(cursor, now_ms, self._network)
        self._synchronous(connection, "NORMAL")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with Transaction(connection, "DEFERRED") as cursor:
            loaded, totals, last = loading.load(cursor, epoch)
            used = self._used(cursor)
        self._reserve.fill()
        return Opened(loaded, totals, last, used)

    def _judge_network(self, connection: sqlite3.Connection) -> None:
        row = connection.execute("SELECT network FROM node").fetchone()
        judge_network(self._path, row[0] if row else "", self._network)

    # ------------------------------------------------------------------------------------------------ writing

    def write(
        self, connection: sqlite3.Connection, entries: Sequence[Entry], durable: bool, now_ms: int
    ) -> Written:
        """Write these records in one transaction; `durable`: synced, with all before it, when this returns."""
        self._synchronous(connection, "FULL" if durable else "NORMAL")
        if durable and not entries:
            self.checkpoint(connection)  # which begins by syncing what is in the WAL
        with Transaction(connection) as cursor:
            totals = tables.write(cursor, entries, now_ms)
            used = self._used_about(cursor, totals.bytes, len(entries))
        return Written(0, totals, used)

    def prune(self, connection: sqlite3.Connection, now_ms: int, limit: int = pruning.BATCH) -> Written:
        """One step of pruning; `removed` 0 says that nothing is left to do."""
        self._synchronous(connection, "NORMAL")
        with Transaction(connection) as cursor:
            removed, totals = pruning.step(cursor, now_ms, self._retention_ms, self._quota, limit)
            used = self._used(cursor)
        return Written(removed, totals, used)

    def make_room(self, connection: sqlite3.Connection, now_ms: int) -> Written:
        """On a disk that refuses: give the reserve up, prune in the smallest steps, see if writing works again.

        `roomy` only with more free than the reserve gave back: that is for deletes and small records, not envelopes.
        """
        self._reserve.give_up()
        removed, totals = 0, tables.NOTHING
        while (step := self.prune(connection, now_ms, pruning.LAST_RESORT)).removed:
            removed, totals = removed + step.removed, totals.plus(step.totals)
        with Transaction(connection) as cursor:
            cursor.execute("REPLACE INTO state (key, value) VALUES (?, zeroblob(?))", (PROBE, PROBE_BYTES))
        with Transaction(connection) as cursor:
            cursor.execute("DELETE FROM state WHERE key = ?", (PROBE,))
            used = self._used(cursor)
        roomy = self._reserve.is_roomy()
        if roomy:
            self._reserve.fill()
        return Written(removed, totals, used, roomy)

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

    def copy(self, connection: sqlite3.Connection, path: str) -> int:
        """A consistent copy at `path`, which must not be there yet; its bytes."""
        return copying.back_up(connection, path)

    # ------------------------------------------------------------------------------------------------- inside

    def _synchronous(self, connection: sqlite3.Connection, level: str) -> None:
        """Each time a pragma runs it is compiled anew, so it runs when something changes."""
        if level != self._level:
            connection.execute(f"PRAGMA synchronous = {level}")
            self._level = level

    def _used(self, cursor: sqlite3.Cursor) -> int:
        """The bytes in use, in the midst of a transaction: what is in them then stays."""
        pages = cursor.execute("PRAGMA page_count").fetchone()[0]
        free = cursor.execute("PRAGMA freelist_count").fetchone()[0]
        self._asked, self._since = int((pages - free) * self._page_size), 0
        return self._asked

    def _used_about(self, cursor: sqlite3.Cursor, size: int, rows: int) -> int:
        """The same after `rows` rows and `size` bytes more (less, if below zero), reckoned while that is little."""
        self._since += size + rows * ROW_BYTES
        if size < 0 or self._since > ASK_AT * self._quota:
            return self._used(cursor)
        return self._asked + self._since


class Transaction:
    """A cursor in a transaction that commits at the end, or rolls back if anything is raised.

    Written out, for `contextlib` would double what it costs to begin and end a small one.
    """

    def __init__(self, connection: sqlite3.Connection, kind: str = "IMMEDIATE") -> None:
        self._connection = connection
        self._kind = kind

    def __enter__(self) -> sqlite3.Cursor:
        self._cursor = self._connection.cursor()
        self._cursor.execute(f"BEGIN {self._kind}")
        return self._cursor

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._cursor.execute("COMMIT")
        finally:
            if self._connection.in_transaction:  # SQLite ends it by itself when the disk is full
                self._cursor.execute("ROLLBACK")
            self._cursor.close()


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
