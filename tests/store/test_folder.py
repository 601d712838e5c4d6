"""The data folder: one node at a time, found by clients, and nothing made before it is held."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from positron.errors import ConfigError, StoreError
from positron.store import folder
from positron.store.folder import DataFolder, Running

HOLD = """
import sys
from positron.store.folder import DataFolder
held = DataFolder(sys.argv[1])
held.lock()
held.note(sys.argv[2], "net", 1, "sock")
print("held", flush=True)
sys.stdin.read()
"""


class DataFolderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.base = tempfile.mkdtemp()  # short enough for a socket's path, which trial's own is not
        self.addCleanup(shutil.rmtree, self.base)
        self.runtime = os.path.join(self.base, "run")
        os.mkdir(self.runtime, 0o700)

    def held(self, name: str = "data") -> DataFolder:
        data = DataFolder(os.path.join(self.base, name))
        data.lock()
        self.addCleanup(data.unlock)
        return data

    def test_made_for_its_owner_alone(self) -> None:
        """Nothing is made by naming it; holding it makes it and its lock, closed to others whatever the umask."""
        self.addCleanup(os.umask, os.umask(0))
        data = DataFolder(os.path.join(self.base, "a", "b"))
        assert os.listdir(self.base) == ["run"]
        data.lock()
        self.addCleanup(data.unlock)
        assert os.stat(data.path).st_mode & 0o777 == 0o700
        assert os.stat(os.path.join(data.path, "lock")).st_mode & 0o777 == 0o600

    def test_one_node_at_a_time(self) -> None:
        """A second node is told --data-dir, in the same process too; free again, it may."""
        first = self.held()
        second = DataFolder(first.path)
        with self.assertRaises(ConfigError) as caught:
            second.lock()
        assert "--data-dir" in str(caught.exception)
        assert first.path in str(caught.exception)
        assert folder.is_held(first.path)
        first.unlock()
        first.unlock()
        assert not folder.is_held(first.path)
        second.lock()
        second.unlock()

    def test_looking_does_not_hold(self) -> None:
        """Asking whether a folder is held leaves it free, and makes nothing where there is none."""
        assert not folder.is_held(os.path.join(self.base, "none"))
        assert os.listdir(self.base) == ["run"]
        data = self.held()
        data.unlock()
        assert not folder.is_held(data.path)
        data.lock()

    def test_holding_twice(self) -> None:
        """The same object twice is the caller's fault, and does not let go."""
        data = self.held()
        with self.assertRaises(StoreError):
            data.lock()
        assert folder.is_held(data.path)

    def test_what_cannot_be_used(self) -> None:
        """A file, a place under a file, another's folder, one that others write to: one sentence each."""
        file = os.path.join(self.base, "file")
        Path(file).touch()
        shared = os.path.join(self.base, "shared")
        os.mkdir(shared)
        os.chmod(shared, 0o770)
        for path in (file, os.path.join(file, "under"), shared):
            with self.assertRaises(ConfigError) as caught:
                DataFolder(path).lock()
            assert "--data-dir" in str(caught.exception)
            assert path in str(caught.exception)
        mine = self.held("mine")
        mine.unlock()
        self.patch(os, "geteuid", lambda: os.stat(mine.path).st_uid + 1)
        with self.assertRaises(ConfigError) as caught:
            mine.lock()
        assert "another user" in str(caught.exception)
        assert not folder.is_held(mine.path)

    def test_a_folder_others_may_read(self) -> None:
        """One made by hand with the usual mode will do: each file in it is closed to others."""
        path = os.path.join(self.base, "usual")
        os.mkdir(path)
        os.chmod(path, 0o755)
        self.held("usual")

    def test_running_nodes(self) -> None:
        """Every node that noted itself is listed, several of one process too, until it lets go."""
        first, second = self.held("a"), self.held("b")
        first.note(self.runtime, "red", 8888, "/a.sock")
        second.note(self.runtime, "blue", 8889, "/b.sock")
        pid = os.getpid()
        expected = [
            Running(pid, first.path, "red", 8888, "/a.sock"),
            Running(pid, second.path, "blue", 8889, "/b.sock"),
        ]
        assert folder.running(self.runtime) == expected
        assert sorted(os.listdir(self.runtime)) == [str(pid), f"{pid}.1"]
        first.unlock()
        assert folder.running(self.runtime) == expected[1:]
        second.unlock()
        assert os.listdir(self.runtime) == []

    def test_a_killed_node_is_not_listed(self) -> None:
        """Its note outlives it and means nothing; whoever looks removes it, and the folder is free at once."""
        data_dir = os.path.join(self.base, "data")
        with subprocess.Popen(
            [sys.executable, "-c", HOLD, data_dir, self.runtime],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"held\n"
            assert [each.pid for each in folder.running(self.runtime)] == [child.pid]
            with self.assertRaises(ConfigError):
                DataFolder(data_dir).lock()
            child.kill()
            child.wait()
        assert os.listdir(self.runtime) == [str(child.pid)]
        assert folder.running(self.runtime) == []
        assert os.listdir(self.runtime) == []
        self.held()

    def test_a_stale_note_of_the_same_pid(self) -> None:
        """PIDs come round: a dead node's note gives way, and the new one has the plain name."""
        data = self.held()
        path = os.path.join(self.runtime, str(os.getpid()))
        with open(path, "w") as file:
            file.write('{"data_dir": "/gone", "network": "n", "port": 1, "control": "c"}')
        data.note(self.runtime, "red", 1, "c")
        assert os.listdir(self.runtime) == [str(os.getpid())]
        assert os.stat(path).st_mode & 0o777 == 0o600

    def test_a_killed_node_that_runs_again(self) -> None:
        """Its new note replaces the old one, which would name a port and a socket of before."""
        data = self.held()
        with open(os.path.join(self.runtime, "1"), "w") as file:
            json.dump({"data_dir": data.path, "network": "n", "port": 1, "control": "/old"}, file)
        data.note(self.runtime, "red", 2, "/new")
        assert folder.running(self.runtime) == [Running(os.getpid(), data.path, "red", 2, "/new")]
        assert os.listdir(self.runtime) == [str(os.getpid())]

    def test_other_files_in_the_runtime_folder(self) -> None:
        """What is not a note is neither believed nor removed; no folder means no nodes."""
        names = ["x", "12.sock", "77", "78", "79"]
        for name, content in zip(names, ("", "", "no json", "[]", '{"data_dir": 1}'), strict=True):
            with open(os.path.join(self.runtime, name), "w") as file:
                file.write(content)
        os.mkfifo(os.path.join(self.runtime, "80"))
        assert folder.running(self.runtime) == []
        assert sorted(os.listdir(self.runtime)) == sorted([*names, "80"])
        assert folder.running(os.path.join(self.base, "none")) == []

    def test_the_usual_socket(self) -> None:
        """It lies in the folder, and a client needs no note to find it."""
        data = self.held()
        path = data.place_socket(runtime=self.runtime)
        assert path == os.path.join(data.path, "control.sock") == folder.socket_of(data.path)
        assert os.listdir(data.path) == ["lock"]

    def test_a_chosen_socket(self) -> None:
        """The operator's path is noted for clients, until another start goes without."""
        data = self.held()
        wanted = os.path.join("/tmp", "p.sock")
        assert data.place_socket(wanted) == wanted == folder.socket_of(data.path)
        data.place_socket()
        assert folder.socket_of(data.path) == os.path.join(data.path, "control.sock")

    def test_a_path_too_long_for_a_socket(self) -> None:
        """It moves to the runtime folder under a name of its own that can be bound; without one it is refused."""
        deep = [self.held(os.path.join("d" * 60, "e" * 60, name)) for name in ("a", "b")]
        paths = [data.place_socket(runtime=self.runtime) for data in deep]
        assert len(set(paths)) == 2
        for data, path in zip(deep, paths, strict=True):
            assert folder.socket_of(data.path) == path
            assert os.path.dirname(path) == self.runtime
            assert len(os.fsencode(path)) <= folder.MAX_SOCKET_PATH
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind(path)
        with self.assertRaises(ConfigError) as caught:
            deep[0].place_socket()
        assert "--data-dir" in str(caught.exception)

    def test_needs_the_lock(self) -> None:
        """Noting and placing without holding is the caller's fault."""
        data = DataFolder(os.path.join(self.base, "data"))
        with self.assertRaises(StoreError):
            data.note(self.runtime, "n", 1, "c")
        with self.assertRaises(StoreError):
            data.place_socket()

    def test_a_client_waits_for_no_twisted(self) -> None:
        """Importing this module loads neither Twisted nor msgpack nor cryptography."""
        code = (
            "import sys, positron.store.folder;"
            "print([name for name in ('twisted', 'msgpack', 'nacl', 'attrs', 'sqlite3') if name in sys.modules])"
        )
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert found.stdout == "[]\n"
