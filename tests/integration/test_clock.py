"""The computer's clock is set while nodes run."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import pytest
from fleet import Fleet, Process, wait_for

MOVED = """
import mmap, os, struct, time

with open(os.environ["MOVED_BY"], "rb") as file:
    moved = mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ)
system = time.time
time.time = lambda: system() + struct.unpack("d", moved[:])[0]
"""
"""Has a process take its wall clock from here, before it imports anything else."""


def move(path: Path, seconds: float) -> None:
    """Have the clock show so many seconds more than the true time."""
    with path.open("r+b" if path.exists() else "wb") as file:
        file.write(struct.pack("d", seconds))


def test_set_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set back by an hour, nodes write to disk, hear each other and dial as before."""
    clock = tmp_path / "moved"
    move(clock, 0.0)
    (tmp_path / "sitecustomize.py").write_text(MOVED)
    monkeypatch.setenv("MOVED_BY", str(clock))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    fleet = Fleet(tmp_path)
    try:
        first = fleet.node().start().ready()
        second = fleet.node("--bootstrap", first.address).start().ready()
        wait_for("the two are linked", lambda: first.up() == second.up() == 1)
        assert publish(first)["stored"]
        for node in (first, second):
            node.publish("t", "not yet on disk")
        move(clock, -3600.0)
        for _ in range(3):
            assert publish(first)["stored"]
        wait_for("the other has them", lambda: (second.status() or {})["messages"]["delivered_total"] == 6)
        first.kill()
        first.start().ready()
        wait_for("the two are linked again", lambda: first.up() == second.up() == 1)
    finally:
        fleet.close()


def publish(node: Process) -> dict[str, object]:
    """Publish, and wait until it is on disk."""
    return node.ask("POST", "/v1/publish", {"topic": "t", "data": time.time(), "stored": True}, timeout=10.0)
