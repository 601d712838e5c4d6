"""A request as the views see it: path parts, query and JSON body, read with errors that name the field."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from positron.control.problems import bad_request

_MISSING = object()

MAX_DIGITS = 18
"""Of a number in a query, leading zeros and all."""


@frozen(kw_only=True)
class Call:
    """What one request asks. Every reader raises `Problem` (400) for a value that does not fit."""

    path: Mapping[str, str]
    """The parts of the path that the route names, such as `id`."""
    query: Mapping[str, Sequence[str]]
    body: Mapping[str, Any]
    last_event_id: str = ""

    def field(self, name: str) -> Any:
        """A required field of the body, as decoded from JSON."""
        value = self.body.get(name, _MISSING)
        if value is _MISSING:
            raise bad_request(f"{name} is missing", "the body is a JSON object")
        return value

    def text(self, name: str) -> str:
        """A required field that must be a string."""
        value = self.field(name)
        if not isinstance(value, str):
            raise bad_request(f"{name} must be a string")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise bad_request(f"{name}: half a surrogate pair is not text") from None
        return value

    def flag(self, name: str) -> bool:
        """An optional boolean field, False if absent."""
        value = self.body.get(name, False)
        if not isinstance(value, bool):
            raise bad_request(f"{name} must be true or false")
        return value

    def number(self, name: str, low: float, high: float, default: float | None = None) -> float:
        """A number from `low` to `high`; required if there is no `default`."""
        value = self.field(name) if default is None else self.body.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise bad_request(f"{name} must be a number")
        if not low <= value <= high:  # infinity is not, nor an integer that no float can hold
            raise bad_request(f"{name} must be {low:g} to {high:g}, not {value!s:.40}")
        return float(value)

    def only(self, *names: str) -> None:
        """Refuse a body with fields that this route does not know: a misspelt one must not be ignored."""
        for name in self.body:
            if name not in names:
                raise bad_request(
                    f"unknown field {name!r}", f"this route knows {', '.join(names) or 'no fields'}"
                )

    def count(self, name: str, default: int, high: int) -> int:
        """A whole number of the query, 0 to `high`."""
        text = self.query.get(name, [str(default)])[-1]
        if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS) or int(text) > high:
            raise bad_request(f"{name} must be a whole number, 0 to {high}")
        return int(text)

    def asks(self, name: str) -> bool:
        """Whether the query sets `name` to something other than empty, 0, false or no."""
        return self.query.get(name, [""])[-1].lower() not in ("", "0", "false", "no")


def read_body(content: bytes) -> dict[str, Any]:
    """The JSON object in a request's body; an empty body is an empty object."""
    if not content.strip():
        return {}
    try:
        body = json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = "it nests too deep" if isinstance(error, RecursionError) else str(error)
        raise bad_request(f"the body is not JSON: {reason}") from None
    if not isinstance(body, dict):
        raise bad_request("the body must be a JSON object")
    return body


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is not JSON")
