"""Copies of a database: whole or not there, of a running node's and of one that was killed."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3

from twisted.trial.unittest import SynchronousTestCase

from positron.errors import StoreError
from positron.store.copying import BackupError, back_up, back_up_at_rest

MIB = 1024 * 1024


class CopyingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        self.backups = os.path.join(self.folder, "backups")
        os.makedirs(self.backups)
        self.path = os.path.join(self.folder, "positron.db")
        self.connection = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(self.connection.close)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("CREATE TABLE a (x)")
        self.connection.executemany("INSERT INTO a VALUES (zeroblob(?))", [(MIB,)] * 3)

    def rows(self, path: str) -> int:
        connection = sqlite3.connect(path)
        self.addCleanup(connection.close)
        return int(connection.execute("SELECT count(*) FROM a").fetchone()[0])

    def test_while_it_is_written_to(self) -> None:
        """A copy is of one moment, for its owner alone, and stands by itself: no WAL belongs to it."""
        copy = os.path.join(self.backups, "copy")
        other = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(other.close)
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO a VALUES (1)")
        size = back_up(self.connection, copy)
        other.execute("COMMIT")
        self.assertEqual(os.listdir(self.backups), ["copy"])
        self.assertEqual((os.stat(copy).st_size, os.stat(copy).st_mode & 0o777), (size, 0o600))
        self.assertEqual((self.rows(copy), self.rows(self.path)), (3, 4))

    def test_a_full_disk(self) -> None:
        """Where there is no room for all of it, nothing is left: not half a file, and no journal."""
        copy = os.path.join(self.backups, "copy")
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, limits[1]))
        try:
            error = self.assertRaises(BackupError, back_up, self.connection, copy)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        self.assertIn(f"{copy} cannot be written (", str(error))
        self.assertEqual(os.listdir(self.backups), [])
        back_up(self.connection, copy)
        self.assertEqual(self.rows(copy), 3)

    def test_wrong_places(self) -> None:
        """What is there is never replaced, and no folder is made."""
        taken = os.path.join(self.backups, "taken")
        dangling = os.path.join(self.backups, "dangling")
        os.symlink("/nowhere/at/all", dangling)
        with open(taken, "w") as file:
            file.write("precious")
        for path in (taken, dangling, self.backups, taken + "/copy", "/nowhere/copy"):
            self.assertRaises(BackupError, back_up, self.connection, path)
        with open(taken) as file:
            self.assertEqual(file.read(), "precious")
        self.assertEqual(sorted(os.listdir(self.backups)), ["dangling", "taken"])

    def test_after_a_kill(self) -> None:
        """A node that was killed left a part of its database in the WAL: a copy has that, too."""
        killed = os.path.join(self.folder, "killed")
        os.mkdir(killed)
        for name in ("positron.db", "positron.db-wal"):
            shutil.copy(os.path.join(self.folder, name), killed)
        copy = os.path.join(self.backups, "copy")
        back_up_at_rest(os.path.join(killed, "positron.db"), copy)
        self.assertEqual(self.rows(copy), 3)

    def test_damaged(self) -> None:
        """A database that cannot be read is one sentence, and leaves no copy."""
        broken = os.path.join(self.folder, "broken")
        with open(broken, "wb") as file:
            file.write(b"SQLite format 3\0" + b"\xff" * 5000)
        self.assertRaises(StoreError, back_up_at_rest, broken, os.path.join(self.backups, "copy"))
        self.assertEqual(os.listdir(self.backups), [])
