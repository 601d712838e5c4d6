"""What a process leaves behind that is killed while it writes, and what one does whose disk refuses."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.store.samples import id_of
from tests.store.victim import VICTIM_RUN

ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("POSITRON_TEST_KILLS", "5"))


def start(*arguments: str) -> subprocess.Popen[str]:
    """A victim, its output in `stdout`, its errors among it."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.store.victim", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
    )


class CrashTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = os.path.abspath(self.mktemp())
        os.mkdir(folder, 0o700)
        self.path = os.path.join(folder, "positron.db")

    def victim(self, *arguments: str) -> subprocess.Popen[str]:
        child = start(*arguments)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        return child

    def lives_until(self, line: int) -> list[list[str]]:
        """What a victim said that was killed with -9 after its n-th line, in the middle of whatever it did."""
        child = self.victim("write", self.path)
        assert child.stdout is not None
        said = [child.stdout.readline() for _ in range(line)]
        child.kill()
        said += child.stdout.readlines()
        child.stdout.close()
        return [each.split() for each in said if each.endswith("\n")]

    def test_killed_while_writing(self) -> None:
        """Whatever was reported as stored is there, the database is sound, no epoch comes twice."""
        epochs: list[int] = []
        stored: list[int] = []
        for kill in range(KILLS):
            said = self.lives_until(2 + 7 * kill % 23)
            epochs += [int(number) for word, number in said if word == "epoch"]
            stored += [int(number) for word, number in said if word == "stored"]
        connection = sqlite3.connect(self.path)
        self.addCleanup(connection.close)
        assert connection.execute("PRAGMA quick_check").fetchall() == [("ok",)]
        held = {row[0] for row in connection.execute("SELECT id FROM envelopes")}
        assert len(stored) >= KILLS
        for last in stored:
            run = range(last // VICTIM_RUN * VICTIM_RUN + 1, last + 1)
            assert [number for number in run if id_of(number) not in held] == []
        assert len(epochs) == len(set(epochs)) == KILLS
        assert epochs == sorted(epochs)
        assert connection.execute("SELECT epoch FROM node").fetchall() == [(epochs[-1],)]

    def test_a_disk_that_refuses(self) -> None:
        """A limit on the size of files stops it: it says so without a traceback, and resumes once there is room."""
        child = self.victim("refuse", self.path, str(512 * 1024))
        output, _ = child.communicate()
        said = [tuple(line.split()) for line in output.splitlines()]
        assert child.returncode == 0, output
        assert "Traceback" not in output
        health = [line for line in said if line[0] == "health"]
        assert health == [("health", "0"), ("health", "1")], output
        assert said[-1][0] == "stored"
        before = max(int(line[1]) for line in said[: said.index(("health", "0"))])
        connection = sqlite3.connect(self.path)
        self.addCleanup(connection.close)
        assert connection.execute("PRAGMA quick_check").fetchall() == [("ok",)]
        held = {row[0] for row in connection.execute("SELECT id FROM envelopes")}
        assert held >= {id_of(number) for number in range(1, before + 1)}
        assert id_of(int(said[-1][1])) in held
