"""An application's data between JSON and the Python values that msgpack carries.

JSON has no bytes, so they are written as a map with the single key `$bytes` and base64 inside. What one side can
say and the other cannot is an error, never a silent change: NaN and infinities, keys that are no strings, integers
over 64 bits, half surrogates.
"""

from __future__ import annotations

import base64
import binascii
import math

BYTES_KEY = "$bytes"
MAX_DEPTH = 64
"""How deep lists and maps may nest."""

MIN_INT, MAX_INT = -(2**63), 2**64 - 1
"""What msgpack holds."""


def from_json(value: object, depth: int = 0) -> object:
    """The value that decoded JSON stands for. ValueError with a sentence where there is none."""
    _check_depth(depth)
    if isinstance(value, dict):
        if BYTES_KEY in value and len(value) == 1:
            return _bytes(value[BYTES_KEY])
        return {_text(key): from_json(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [from_json(item, depth + 1) for item in value]
    return _plain(value)


def to_json(value: object, depth: int = 0) -> object:
    """What stands for `value` in JSON. ValueError with a sentence where nothing does."""
    _check_depth(depth)
    if isinstance(value, dict):
        return {_text(key): to_json(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item, depth + 1) for item in value]
    if isinstance(value, bytes):
        return {BYTES_KEY: base64.b64encode(value).decode("ascii")}
    return _plain(value)


def _plain(value: object) -> object:
    """A value that is the same on both sides."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        if not MIN_INT <= value <= MAX_INT:
            raise ValueError(f"an integer of {value.bit_length()} bits is more than msgpack's 64")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("NaN and infinities are not JSON")
        return value
    raise ValueError(f"a value of type {type(value).__name__} is not JSON")


def _text(value: object) -> str:
    """A string that has a UTF-8 form."""
    if not isinstance(value, str):
        raise ValueError(f"a map's key must be a string, not {type(value).__name__}")
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError("half a surrogate pair is not text") from None
    return value


def _bytes(value: object) -> bytes:
    if not isinstance(value, str):
        raise ValueError(f'"{BYTES_KEY}" must be base64 text')
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f'"{BYTES_KEY}" must be base64 text') from None


def _check_depth(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"lists and maps nest deeper than {MAX_DEPTH}")
