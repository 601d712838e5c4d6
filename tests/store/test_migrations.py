"""Databases of other versions: upgraded with a copy left behind, or refused."""

from __future__ import annotations

import os
import sqlite3

from twisted.trial.unittest import SynchronousTestCase

from positron.errors import StoreError
from positron.store import copying, migrations

FIRST = "CREATE TABLE a (x);\nINSERT INTO a VALUES (1);\n"
SECOND = "ALTER TABLE a ADD COLUMN y; -- a new column\nUPDATE a SET y = 'two; -- not a comment';\n"


class MigrationTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = self.mktemp()
        os.mkdir(folder)
        self.path = os.path.join(folder, "positron.db")

    def connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(connection.close)
        connection.execute("PRAGMA journal_mode = WAL")
        return connection

    def version(self, connection: sqlite3.Connection) -> int:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])

    def test_the_scripts_are_numbered_without_gaps(self) -> None:
        """`NNNN_name.sql` from 0001 on, and each applies to the one before."""
        connection = self.connect()
        scripts = migrations.scripts()
        migrations.upgrade(connection, self.path, scripts)
        assert self.version(connection) == len(scripts) >= 1
        folder = os.path.join(os.path.dirname(migrations.__file__), "schema")
        names = sorted(name for name in os.listdir(folder) if name.endswith(".sql"))
        assert [int(name[:4]) for name in names] == list(range(1, len(scripts) + 1))

    def test_every_step_is_applied_once(self) -> None:
        """From nothing to 2, and again: data is there once."""
        connection = self.connect()
        for _ in range(2):
            migrations.upgrade(connection, self.path, [FIRST, SECOND])
        assert connection.execute("SELECT x, y FROM a").fetchall() == [(1, "two; -- not a comment")]
        assert not os.path.exists(self.path + ".v1")
        migrations.check(self.path, 2)

    def test_a_copy_before_an_upgrade(self) -> None:
        """What was before stands beside the upgraded one, whole, for its owner alone."""
        connection = self.connect()
        migrations.upgrade(connection, self.path, [FIRST])
        migrations.upgrade(connection, self.path, [FIRST, SECOND])
        assert connection.execute("SELECT y FROM a").fetchone() is not None
        copy = sqlite3.connect(self.path + ".v1")
        self.addCleanup(copy.close)
        assert self.version(copy) == 1
        assert copy.execute("SELECT * FROM a").fetchall() == [(1,)]
        assert os.stat(self.path + ".v1").st_mode & 0o777 == 0o600

    def test_a_step_that_fails_changes_nothing(self) -> None:
        """Half a migration is none: version and tables are those before it."""
        connection = self.connect()
        migrations.upgrade(connection, self.path, [FIRST])
        broken = "CREATE TABLE b (x);\nINSERT INTO nowhere VALUES (1);\n"
        with self.assertRaises(sqlite3.OperationalError):
            migrations.upgrade(connection, self.path, [FIRST, broken])
        assert self.version(connection) == 1
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("a",)]
        assert not connection.in_transaction

    def test_a_step_that_sqlite_undoes(self) -> None:
        """Where SQLite ends the transaction itself, as on a full disk, what comes out is its reason."""
        undone = (
            "CREATE TABLE b (x UNIQUE);\nINSERT INTO b VALUES (1);\nINSERT OR ROLLBACK INTO b VALUES (1);\n"
        )
        with self.assertRaisesRegex(sqlite3.IntegrityError, "UNIQUE"):
            migrations.upgrade(self.connect(), self.path, [undone])

    def test_a_newer_one_is_refused(self) -> None:
        """Both versions are in the sentence."""
        connection = self.connect()
        migrations.upgrade(connection, self.path, [FIRST, SECOND])
        for refuse in (
            lambda: migrations.upgrade(connection, self.path, [FIRST]),
            lambda: migrations.check(self.path, 1),
        ):
            with self.assertRaises(StoreError) as caught:
                refuse()
            assert "version 2" in str(caught.exception)
            assert "up to 1" in str(caught.exception)

    def test_an_unreadable_one_is_refused(self) -> None:
        """A folder in the database's place is one sentence, not a traceback."""
        os.mkdir(self.path)
        with self.assertRaises(StoreError) as caught:
            migrations.check(self.path)
        assert self.path in str(caught.exception)

    def test_a_failed_copy_leaves_no_rest(self) -> None:
        """A copy that cannot be made raises, and no partial file stays."""
        connection = self.connect()
        os.mkdir(self.path + ".copy")
        with self.assertRaises(OSError):
            copying.copy(connection, self.path + ".copy")
        assert not any(name.endswith(".partial") for name in os.listdir(os.path.dirname(self.path)))
