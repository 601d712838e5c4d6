"""`twistd positron` as an operator meets it: exit codes, single lines on stderr, signals."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
from pathlib import Path

from door import DAEMON, TWIST, TWISTD, Running, environment, free_port, refused, until
from twisted.trial.unittest import SynchronousTestCase

from positron.store import migrations

READY = "is ready at"
"""What a node logs once it is bound and open."""


class DoorTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        # Short, for the control socket's path is limited; mktemp's are not.
        self.home = Path(tempfile.mkdtemp(prefix="positron-"))
        self.addCleanup(shutil.rmtree, self.home)

    def start(self, command: list[str], *arguments: str, cwd: Path | None = None) -> Running:
        running = Running([*command, "--host", "127.0.0.1", *arguments], self.home, cwd=cwd)
        self.addCleanup(running.kill)
        return running

    def everywhere(self, *arguments: str) -> set[str]:
        """The line with which these arguments are refused, under twistd -n, as a daemon and under twist."""
        return {refused([*command, *arguments], self.home) for command in (TWISTD, DAEMON, TWIST)}


class RefusalTests(DoorTestCase):
    def test_bad_option(self) -> None:
        """A bad option is one line and exit code 2 whoever runs the node."""
        self.assertEqual(
            self.everywhere("--prot", "1"), {"positron: unknown option --prot; did you mean --port?"}
        )

    def test_taken_port(self) -> None:
        """So is a port in use."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = str(taken.getsockname()[1])
            (line,) = self.everywhere("--host", "127.0.0.1", "--port", port)
        self.assertIn(f"port {port} on 127.0.0.1 is taken", line)

    def test_unusable_data_dir(self) -> None:
        """So is a data folder that cannot be made."""
        (self.home / "file").write_text("")
        (line,) = self.everywhere("--port", "0", "--data-dir", str(self.home / "file/data"))
        self.assertIn("--data-dir", line)

    def test_locked_data_dir(self) -> None:
        """So is a data folder in use."""
        lock = os.open(self.home / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        self.addCleanup(os.close, lock)
        fcntl.flock(lock, fcntl.LOCK_EX)
        (line,) = self.everywhere("--port", "0", "--data-dir", str(self.home))
        self.assertIn("--data-dir", line)

    def test_newer_database(self) -> None:
        """So is a database that a newer positron wrote."""
        connection = sqlite3.connect(self.home / "positron.db")
        connection.execute(f"PRAGMA application_id = {migrations.APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 99")
        connection.execute("CREATE TABLE later (x)")
        connection.close()
        (line,) = self.everywhere("--port", "0", "--data-dir", str(self.home))
        self.assertIn("version 99", line)

    def test_nothing_is_created(self) -> None:
        """A refusal leaves no folder, log, pidfile or lock behind."""
        self.everywhere("--port", "0", "--ttl", "99")
        self.assertEqual([p.name for p in self.home.iterdir()], ["run"])


class RunningTests(DoorTestCase):
    def test_signals(self) -> None:
        """SIGTERM and SIGINT end a node with exit code 0 in under 5 s, under twistd and twist."""
        for command in (TWISTD, TWIST):
            for number in (signal.SIGTERM, signal.SIGINT):
                node = self.start(command, "--port", "0")
                node.wait_for(READY)
                code, seconds = node.stop(number)
                self.assertEqual(code, 0, node.output)
                self.assertLess(seconds, 5.0)
                self.assertNotIn("Traceback", node.output)

    def test_two_in_one_folder(self) -> None:
        """Two nodes started in one working directory run side by side and leave no pidfile there."""
        where = self.home / "cwd"
        where.mkdir()
        nodes = [self.start(TWISTD, "--port", str(free_port()), cwd=where) for _ in range(2)]
        for node in nodes:
            node.wait_for(READY)
        self.assertEqual(list(where.iterdir()), [])
        self.assertEqual([node.stop()[0] for node in nodes], [0, 0])

    def test_second_node_in_a_data_folder(self) -> None:
        """A second node in a running node's folder is told to take another one, and the first runs on."""
        data = str(self.home / "data")
        first = self.start(TWISTD, "--port", "0", "--data-dir", data)
        first.wait_for(READY)
        line = refused([*TWISTD, "--host", "127.0.0.1", "--port", "0", "--data-dir", data], self.home)
        self.assertIn("--data-dir", line)
        self.assertIsNone(first.process.poll())
        self.assertEqual(first.stop()[0], 0)

    def test_reload(self) -> None:
        """SIGHUP reads the configuration anew and the node goes on."""
        file = self.home / "c.toml"
        file.write_text('log_level = "info"\n')
        node = self.start(TWISTD, "--port", "0", "--config", str(file))
        node.wait_for(READY)
        file.write_text('log_level = "loud"\n')
        node.process.send_signal(signal.SIGHUP)
        node.wait_for("the configuration is not reloaded: log_level")
        file.write_text('log_level = "info"\n')
        node.process.send_signal(signal.SIGHUP)
        node.wait_for("configuration reloaded")
        self.assertEqual(node.stop()[0], 0)

    def test_daemon(self) -> None:
        """A daemon writes its pidfile and log, leaves on SIGTERM and takes its pidfile along."""
        command = [*DAEMON, "--host", "127.0.0.1", "--port", "0", "--log-format", "json"]
        subprocess.run(command, cwd=self.home, env=environment(self.home), check=True, timeout=30)
        pid = int((self.home / "twistd.pid").read_text())
        self.addCleanup(subprocess.run, ["kill", "-KILL", str(pid)], stderr=subprocess.DEVNULL)
        until(lambda: READY in (self.home / "twistd.log").read_text())
        os.kill(pid, signal.SIGTERM)
        until(lambda: not (self.home / "twistd.pid").exists(), 5.0)
        self.assertNotIn("Traceback", (self.home / "twistd.log").read_text())
