"""The golden bytes of the wire, and how tests read them.

`wire.json` was written once and is part of the protocol: an implementation in any language can be held against it.
A byte string is `{"hex": ...}`. Rule: a vector that is published is never changed; a new message adds one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

WIRE = Path(__file__).parent / "wire.json"


def load() -> dict[str, Any]:
    """The vectors, byte strings as `bytes` and arrays as tuples."""
    loaded: dict[str, Any] = _value(json.loads(WIRE.read_text()))
    return loaded


def _value(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"hex"}:
            return bytes.fromhex(value["hex"])
        return {key: _value(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_value(item) for item in value)
    return value
