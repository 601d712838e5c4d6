"""Real `twistd` processes, watched through their output."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

PYTHON = sys.executable
TWISTD = [str(Path(PYTHON).parent / "twistd"), "-n", "positron"]
DAEMON = [str(Path(PYTHON).parent / "twistd"), "positron"]
TWIST = [PYTHON, "-m", "twisted", "positron"]


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(home: Path) -> dict[str, str]:
    """The environment of a user whose home is this folder, and who set nothing of ours."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("POSITRON_", "XDG_"))}
    runtime = home / "run"
    runtime.mkdir(parents=True, exist_ok=True)
    return {**kept, "HOME": str(home), "XDG_DATA_HOME": str(home / "share"), "XDG_RUNTIME_DIR": str(runtime)}


def until(happened: Callable[[], bool], seconds: float = 15.0) -> None:
    """Wait until something happened, looking twenty times a second; AssertionError if it did not in time."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        select.select([], [], [], 0.05)


class Running:
    """One process in the foreground; `output` is what it wrote so far, both streams together."""

    def __init__(self, command: list[str], home: Path, *, cwd: Path | None = None) -> None:
        self.process = subprocess.Popen(
            command,
            cwd=cwd or home,
            env=environment(home),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.output = ""

    def wait_for(self, text: str, seconds: float = 15.0) -> None:
        """Read on until the output holds the text."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + seconds
        while text not in self.output:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"no {text!r} within {seconds} s in:\n{self.output}"
            got = os.read(self.process.stdout.fileno(), 65536)
            assert got, f"it ended without {text!r}:\n{self.output}"
            self.output += got.decode()

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, float]:
        """Send a signal; the exit code and how many seconds it took to end."""
        begun = time.monotonic()
        self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=15)
        self.output += rest.decode()
        return self.process.returncode, time.monotonic() - begun

    def kill(self) -> None:
        """End it if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


def refused(command: list[str], home: Path) -> str:
    """Run a command that must end with exit code 2 and one line on stderr; that line."""
    done = subprocess.run(
        command, cwd=home, env=environment(home), capture_output=True, text=True, timeout=30, check=False
    )
    lines = done.stderr.splitlines()
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    assert len(lines) == 1 and lines[0].startswith("positron: "), done.stderr
    assert done.stdout == ""
    return lines[0]
