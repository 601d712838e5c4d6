"""What a client of a message stream has seen already, when it comes back with `Last-Event-ID`.

Rule: of the newest MAX_MISSED messages of each pattern nothing is left out that came to this node after the one the
client saw last. Some may come twice: what waited for an earlier message came before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from positron.control.views import asked

MAX_MISSED = 1000
"""How far back a stream is resumed, in messages of a pattern; the ring of events goes as far."""


async def seen_before(node: Any, patterns: Sequence[str], last_id: str) -> set[str] | None:
    """The ids, of the newest MAX_MISSED messages of each pattern, that whoever saw `last_id` last has seen.

    None if `last_id` is no message that this node keeps.
    """
    try:
        last = await node.message(last_id)
    except ValueError:
        last = None
    if last is None:
        return None
    position = last["epoch"], last["seq"]
    seen = set()
    for pattern in patterns:
        for message in await _history(node, pattern):
            is_later = message.author == last["author"] and _position(message.id) > position
            if message.received <= last["received"] and not is_later:
                seen.add(message.id)
    return seen


def _history(node: Any, pattern: str) -> Any:
    return asked(lambda: node.history(pattern, MAX_MISSED))


def _position(message_id: str) -> tuple[int, int]:
    """Epoch and sequence of an id."""
    _, epoch, seq = message_id.split(".")
    return int(epoch), int(seq)
