"""What can go wrong with a request, as HTTP status, code, message and hint."""

from __future__ import annotations

from typing import Any

from positron.errors import PositronError

STATUS = {
    "not_running": 503,
    "no_peers": 409,
    "payload_too_large": 413,
    "unknown_peer": 404,
    "timeout": 504,
    "clock_skew": 409,
    "config": 400,
    "store": 503,
    "backup": 409,
    "identity": 500,
    "refused": 403,
}
"""The HTTP status of each `PositronError.code`; 500 for one that is not here."""


class Problem(PositronError):
    """A request that is not answered with what it asked for."""

    def __init__(self, status: int, code: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.hint = hint


def bad_request(
    message: str, hint: str = "see --help, or for HTTP the table of routes in the manual (Operating)"
) -> Problem:
    """The request itself is wrong: 400."""
    return Problem(400, "bad_request", message, hint)


def status_of(error: PositronError) -> int:
    """The HTTP status for an error of ours."""
    return error.status if isinstance(error, Problem) else STATUS.get(error.code, 500)


def as_json(error: PositronError) -> dict[str, Any]:
    """The body of a reply that reports an error."""
    return {"error": {"code": error.code, "message": str(error), "hint": error.hint}}
