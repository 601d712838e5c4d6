"""The command, run in a thread of the tests' own process, over a real control service with a fake node."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Mapping

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from positron.cli import main
from tests.control.http import ControlCase


class Result:
    """How a command ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    def json(self):
        """The one JSON object on stdout."""
        (line,) = self.lines
        return json.loads(line)

    def json_lines(self):
        return [json.loads(line) for line in self.lines]


class Terminal(io.TextIOWrapper):
    """A stdout that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def run(arguments, stdin: bytes = b"", terminal: bool = False) -> Result:
    """Run a command here and now."""
    out = (Terminal if terminal else io.TextIOWrapper)(io.BytesIO(), "utf-8", newline="")
    err = io.TextIOWrapper(io.BytesIO(), "utf-8", newline="", write_through=True)
    kept = sys.stdin, sys.stdout, sys.stderr
    sys.stdin, sys.stdout, sys.stderr = io.TextIOWrapper(io.BytesIO(stdin)), out, err
    try:
        code = main(arguments)
    finally:
        sys.stdin, sys.stdout, sys.stderr = kept
    out.flush()
    return Result(code, out.buffer.getvalue().decode(), err.buffer.getvalue().decode())


class Environment:
    """Variables set for a test."""

    def __init__(self, case, **variables: str | None) -> None:
        for name, value in variables.items():
            before = os.environ.get(name)
            case.addCleanup(self.put, name, before)
            self.put(name, value)

    @staticmethod
    def put(name: str, value: str | None) -> None:
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def clean(case, **variables: str | None) -> None:
    """No variable of ours but these, and a runtime folder without nodes."""
    ours = {name: None for name in os.environ if name.startswith("POSITRON_")}
    Environment(case, **{**ours, "COLUMNS": "200", "TERM": "xterm", "NO_COLOR": "1", **variables})


class CommandCase(ControlCase):
    """A fake node behind a real socket, and the command to talk to it."""

    def setUp(self):
        clean(self, XDG_RUNTIME_DIR=self.mktemp())
        return super().setUp()

    def command(self, *arguments: str, stdin: bytes = b"", terminal: bool = False) -> Deferred:
        """Run a command that is told the socket. One at a time: it has this process's stdout."""
        return deferToThread(run, ["--socket", self.path, *arguments], stdin, terminal)


def keys(fields: str) -> set[str]:
    return set(fields.split())


def without(body: Mapping, *names: str) -> dict:
    return {name: value for name, value in body.items() if name not in names}
