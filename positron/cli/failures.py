"""How a command fails: one word, one sentence, one hint, and the exit code that goes with it."""

from __future__ import annotations

from typing import Any

from positron.errors import PositronError

FAILED, USAGE, NO_NODE, TIMED_OUT, REFUSED, INTERRUPTED = 1, 2, 3, 4, 5, 130
"""Exit codes; 0 is success."""

EXIT_CODES = {
    "usage": USAGE,
    "bad_request": USAGE,
    "config": USAGE,
    "identity": USAGE,
    "several_nodes": USAGE,
    "no_node": NO_NODE,
    "not_running": NO_NODE,
    "timeout": TIMED_OUT,
    "refused": REFUSED,
    "permission": REFUSED,
}
"""The exit code for each error's word; FAILED for one that is not here."""


class CommandFailed(PositronError):
    """A command cannot do what it was asked."""

    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


def exit_code(code: str) -> int:
    """The exit code for an error's word."""
    return EXIT_CODES.get(code, FAILED)


def as_json(code: str, message: str, hint: str) -> dict[str, Any]:
    """An error as `--json` prints it."""
    return {"error": {"code": code, "message": message, "hint": hint}}
