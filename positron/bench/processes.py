"""The measuring side's handle on its workers: processes that are asked, and answer, a line each.

Rule: no Twisted here, since whoever measures should cost nothing while it waits.
"""

from __future__ import annotations

import json
import os
import secrets
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from positron.errors import PositronError

PATIENCE = 60.0
"""Seconds an answer may take, if nothing else is said."""
ENDING = 10.0
"""Seconds a worker may take to stop its node."""
LINKING = 60.0
"""Seconds that nodes may take to be linked."""
STANDS, GOES = 0.18, 0.02
"""Seconds that a halting process stands still, and goes on, by turns."""


class MeasureError(PositronError):
    """A measurement could not be taken; `str()` says why."""

    code = "failed"


class Process:
    """One worker. `arguments` are those of the interpreter; what it says on stderr is kept in `folder`."""

    def __init__(self, folder: Path, name: str, arguments: Sequence[str]) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            # Its notes are no one else's: a client that looks for running nodes must not find these.
            "XDG_RUNTIME_DIR": str(folder),
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
            )
        self._buffer = b""
        self._answers: dict[str, dict[str, Any]] = {}

    def tell(self, ask: str, **more: Any) -> None:
        """Ask for something; its answer is there to be waited for."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"ask": ask, **more}).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise self._ended() from None

    def answer(self, name: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """The answer to what was asked under that name. MeasureError if it does not come or is an error."""
        deadline = time.monotonic() + seconds
        while name not in self._answers:
            if not self._read(deadline - time.monotonic()):
                raise MeasureError(f"node {self.name} did not answer {name!r} for {seconds:.0f} s")
        found = self._answers.pop(name)
        if "error" in found:
            raise MeasureError(f"node {self.name} failed at {name!r}: {found['error']}")
        return found

    def ask(self, name: str, seconds: float = PATIENCE, **more: Any) -> dict[str, Any]:
        """Ask, and wait for the answer."""
        self.tell(name, **more)
        return self.answer(name, seconds)

    def has(self, name: str) -> bool:
        """Whether the answer to that is here already."""
        while name not in self._answers and self._read(0):
            pass
        return name in self._answers

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; nothing if it is gone."""
        self._process.send_signal(number)

    def end(self) -> None:
        """Close its stdin, and wait until it is gone."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.close()
        except OSError:
            self._process.kill()
        try:
            self._process.wait(ENDING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _read(self, seconds: float) -> bool:
        """Take in what it says within `seconds`; whether it said anything."""
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if seconds < 0 or not selector.select(seconds):
                return False
        chunk = os.read(self._process.stdout.fileno(), 1 << 16)
        if not chunk:
            raise self._ended()
        *lines, self._buffer = (self._buffer + chunk).split(b"\n")
        for line in lines:
            found = json.loads(line)
            self._answers[found.pop("answer")] = found
        return True

    def _ended(self) -> MeasureError:
        code = self._process.wait()
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return MeasureError(
            f"node {self.name} ended with {code}: {lines[-1] if lines else 'it said nothing'}"
        )


class Processes(list[Process]):
    """Workers as a context manager: whatever happens, none is left.

    `network` is their name for it, `address` where the first one listens.
    """

    network = ""
    address = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self:
            process.end()

    def ask_all(self, name: str, seconds: float = PATIENCE, **more: Any) -> list[dict[str, Any]]:
        """Ask everybody the same, and wait for all answers."""
        for process in self:
            process.tell(name, **more)
        return [process.answer(name, seconds) for process in self]


WORKER = ("-m", "positron.bench.worker")
FEEDER = ("-m", "positron.bench.feeder")


def start(folder: Path, count: int, links: int, program: Sequence[str] = WORKER, **options: Any) -> Processes:
    """So many nodes on loopback, each with so many links at least. The first is the bootstrap of the others.

    Each runs `program`, and has a data folder, of its number, in `folder`; `options` are further ones of their
    configuration.
    """
    nodes = Processes()
    nodes.network = f"bench-{secrets.token_hex(8)}"
    config = {"network": nodes.network, "host": "127.0.0.1", "port": 0, **options}
    try:
        for index in range(count):
            own = {
                "bootstrap": [nodes.address] if nodes else [],
                "data_dir": str(folder / str(index)),
                **options,
            }
            nodes.append(Process(folder, str(index), [*program, json.dumps({**config, **own})]))
            address = nodes[-1].ask("ready")["address"]
            nodes.address = nodes.address or address
        nodes.ask_all("linked", LINKING, peers=links)
    except BaseException:
        nodes.__exit__()
        raise
    return nodes


@contextmanager
def halting(processes: Sequence[Process]) -> Iterator[None]:
    """Meanwhile these processes stand still nine tenths of the time: they read slowly, and do all else slowly too."""
    over = threading.Event()

    def halt() -> None:
        going = True
        while not over.wait(GOES if going else STANDS):
            going = not going
            for process in processes:
                process.signal(signal.SIGCONT if going else signal.SIGSTOP)
        for process in processes:
            process.signal(signal.SIGCONT)

    thread = threading.Thread(target=halt, daemon=True)
    if processes:
        thread.start()
    try:
        yield
    finally:
        over.set()
        if processes:
            thread.join()
