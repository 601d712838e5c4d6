"""Messages out of stored envelopes: for history, and for subscribers who fell behind.

Rule: an envelope in the store was verified when it came; here it is only read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from positron.core.envelope import Sealer, decode_entries
from positron.core.identity import to_text
from positron.core.records import EnvelopeKept
from positron.errors import EnvelopeError
from positron.services.payload import decode
from positron.services.values import Message, message_id


def messages_of(
    kept: EnvelopeKept,
    sealer: Sealer,
    wants: Callable[[str], bool],
    *,
    first: int = 0,
    last: int = 1 << 63,
    late: bool = False,
) -> Iterator[Message]:
    """Its messages whose topic is wanted and whose number is in `first .. last`, in order.

    What does not decode is left out: its delivery was counted as undecodable already.
    """
    author = to_text(kept.author)
    try:
        entries = decode_entries(sealer.parse(kept.raw))
    except EnvelopeError:
        return
    for seq, (topic, payload) in enumerate(entries, kept.seq):
        if first <= seq <= last and wants(topic):
            try:
                data = decode(payload)
            except ValueError:
                continue
            yield Message(
                topic=topic,
                data=data,
                payload=payload,
                author=author,
                id=message_id(author, kept.epoch, seq),
                seq=seq,
                created=kept.created_ms / 1000,
                hops=kept.hops,
                received=kept.received,
                late=late,
            )


def describe(kept: EnvelopeKept, sealer: Sealer, seq: int) -> dict[str, Any]:
    """What is known of message `seq` in this envelope, for `positron trace`."""
    topic, payload = decode_entries(sealer.parse(kept.raw))[seq - kept.seq]
    return {
        "author": to_text(kept.author),
        "topic": topic,
        "epoch": kept.epoch,
        "seq": seq,
        "created": kept.created_ms / 1000,
        "received": kept.received,
        "hops": kept.hops,
        "late": False,
        "size": len(payload),
    }
