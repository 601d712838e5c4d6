"""backup: of a node that runs, and of one that is stopped."""

import os
import sqlite3
import subprocess
import sys

from twisted.internet.defer import inlineCallbacks, succeed

from positron.config import Config
from positron.store import copying, folder, migrations
from tests.cli.running import CommandCase, Environment
from tests.cli.test_configuring import FileCase
from tests.cli.test_process import TELL


class RunningTests(CommandCase):
    @inlineCallbacks
    def test_backup(self):
        """The node is asked for a file of the command's own working directory; the answer is its name and size."""
        path = os.path.join(self.folder, "copy")
        shown = yield self.command("backup", os.path.relpath(path), "--json")
        self.assertEqual((shown.code, shown.err), (0, ""))
        self.assertEqual(shown.json(), {"schema": 1, "file": path, "bytes": 4})
        self.assertEqual(self.node.calls, [("backup", path)])
        piped = yield self.command("backup", path + "2")
        self.assertEqual(piped.lines, ["file\tbytes", f"{path}2\t4"])

    @inlineCallbacks
    def test_refused(self):
        """What the node cannot write is one sentence and 1, with a hint."""
        taken = os.path.join(self.folder, "taken")
        open(taken, "w").close()
        refused = yield self.command("backup", taken)
        self.assertEqual((refused.code, refused.out), (1, ""))
        self.assertEqual(refused.err.splitlines()[0], f"positron: {taken} is already there")
        self.assertIn("hint: name a new file", refused.err)

    @inlineCallbacks
    def test_written_elsewhere(self):
        """A node with a /tmp of its own has written its file where nobody finds it: that is no success."""
        self.node.backup = lambda path: succeed(4)
        lost = yield self.command("backup", os.path.join(self.folder, "copy"), "--json")
        self.assertEqual((lost.code, lost.json()["error"]["code"]), (1, "backup"))

    @inlineCallbacks
    def test_the_one_that_runs(self):
        """A data folder whose lock is held is left to its node, which knows what is not written yet."""
        held = folder.DataFolder(self.folder)
        held.lock()
        self.addCleanup(held.unlock)
        Environment(self, POSITRON_DATA_DIR=self.folder)
        path = os.path.join(self.folder, "copy")
        done = yield self.command("backup", path)
        self.assertEqual((done.code, self.node.calls), (0, [("backup", path)]))


class StoppedTests(FileCase):
    def setUp(self):
        super().setUp()
        os.mkdir(self.folder, 0o700)
        self.database = os.path.join(self.folder, folder.DATABASE)
        self.assertEqual(Config(data_dir=self.folder).database_path, self.database)
        connection = sqlite3.connect(self.database, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        migrations.upgrade(connection, self.database, migrations.scripts())
        connection.close()
        self.copy = os.path.join(os.path.dirname(self.folder), "copy")

    def test_backup(self):
        """Without a node the command copies by itself, lets the folder go, and imports no more than a client does."""
        done = subprocess.run(
            [sys.executable, "-c", TELL, "-d", self.folder, "backup", self.copy, "--json"],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(f'"file": "{self.copy}", "bytes": {os.path.getsize(self.copy)}', done.stdout)
        self.assertEqual(os.stat(self.copy).st_mode & 0o777, 0o600)
        migrations.check(self.copy)
        self.assertFalse(folder.is_held(self.folder))
        self.assertEqual(set(done.stderr.split()) & {"twisted", "rich", "attr", "msgpack", "nacl"}, set())

    def test_no_node_starts_meanwhile(self):
        """The folder is held while it is copied."""
        seen, back_up = [], copying.back_up_at_rest

        def look(database, path):
            seen.append(folder.is_held(self.folder))
            return back_up(database, path)

        self.patch(copying, "back_up_at_rest", look)
        self.assertEqual((self.here("backup", self.copy).code, seen), (0, [True]))

    def test_wrong(self):
        """A file that is there, a folder without a database or that is not there: one sentence, and nothing is made."""
        open(self.copy, "w").close()
        self.assertEqual(self.here("backup", self.copy).code, 1)
        self.assertEqual(self.here("backup", self.copy + "/x").code, 1)
        nowhere = self.folder + "-nowhere"
        result = self.here("backup", self.copy + "2", "-d", nowhere)
        self.assertEqual((result.code, result.out, len(result.err.splitlines())), (3, "", 2))
        self.assertFalse(os.path.exists(nowhere))
        with open(self.database, "wb") as file:
            file.write(b"x" * 200)
        damaged = self.here("backup", self.copy + "2", "--json")
        self.assertEqual((damaged.code, damaged.json()["error"]["code"]), (1, "store"))
        self.assertFalse(os.path.lexists(self.copy + "2"))
