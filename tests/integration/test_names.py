"""Names that nobody answers for."""

from __future__ import annotations

from pathlib import Path

import pytest
from fleet import Fleet, wait_for

HANGING = """
import socket, time

known = socket.getaddrinfo


def hang(host, *arguments, **more):
    if not host.endswith(".example"):
        return known(host, *arguments, **more)
    print("looking up", host, flush=True)
    time.sleep(60)


socket.getaddrinfo = hang
"""
"""Has a process find a name server that does not answer, before it imports anything else."""


def test_a_lookup_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node whose name server is silent works on, and leaves in good order without waiting for it."""
    (tmp_path / "sitecustomize.py").write_text(HANGING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    fleet = Fleet(tmp_path)
    try:
        node = fleet.node("--bootstrap", "seed.example:1").start().ready()
        wait_for("it looks the name up", lambda: "looking up seed.example" in node.log())
        assert node.publish("t", "still here")["seq"] == 1
        assert node.stop() == 0
    finally:
        fleet.close()
