"""Records for the tests: small, and told apart by a number."""

from __future__ import annotations

from typing import Any

from positron.core.envelope import BROADCAST
from positron.core.records import (
    EnvelopeKept,
    PeerKept,
    SequencesKept,
    StubKept,
    TrustChange,
    TrustKept,
)

NOW_MS = 1_800_000_000_000
HOUR_MS = 3_600_000
AUTHOR = b"a" * 32
OTHER = b"b" * 32


def id_of(number: int) -> bytes:
    return number.to_bytes(16, "big")


def envelope(number: int, topics: tuple[str, ...] = ("t",), **changes: Any) -> EnvelopeKept:
    """Envelope `number`: ten messages of AUTHOR from sequence number 10 * number + 1 on."""
    values: dict[str, Any] = {
        "id": id_of(number),
        "raw": b"raw %d " % number,
        "author": AUTHOR,
        "kind": BROADCAST,
        "epoch": 7,
        "seq": 10 * number + 1,
        "count": 10,
        "created_ms": NOW_MS + number,
        "expires_ms": NOW_MS + HOUR_MS + number,
        "received": NOW_MS / 1000 + 0.25,
        "hops": 3,
        "topics": topics,
        "recipient": b"",
    }
    return EnvelopeKept(**{**values, **changes})


def stub(number: int) -> StubKept:
    return StubKept(id_of(number), NOW_MS + number, NOW_MS + HOUR_MS + number)


def sequences(epoch: int = 7, **changes: Any) -> SequencesKept:
    values: dict[str, Any] = {
        "author": AUTHOR,
        "kind": BROADCAST,
        "recipient": b"",
        "epoch": epoch,
        "seen": [(1, 5), (8, 1 << 62)],
        "first_live": 3,
        "touched_ms": NOW_MS,
    }
    return SequencesKept(**{**values, **changes})


def peer(node_id: bytes = OTHER, **changes: Any) -> PeerKept:
    values: dict[str, Any] = {
        "node_id": node_id,
        "addresses": ("127.0.0.1:8888", "[::1]:8888"),
        "record": b"signed",
        "record_seq": 4,
        "source_group": "10.0",
        "tried": True,
        "last_seen": 1.5,
        "last_tried": 2.5,
        "failures": 3,
        "learned": 0.5,
    }
    return PeerKept(**{**values, **changes})


def trust(node_id: bytes = OTHER, **changes: Any) -> TrustKept:
    values: dict[str, Any] = {
        "node_id": node_id,
        "value": 400_000,
        "time": 100.25,
        "bans": 2,
        "banned_until": 0.0,
        "valid": 10,
        "invalid": 1,
        "first_seen": 50.0,
    }
    return TrustKept(**{**values, **changes})


def change(before: int, after: int, node_id: bytes = OTHER, **changes: Any) -> TrustChange:
    values: dict[str, Any] = {
        "time": 100.0 + before,
        "node_id": node_id,
        "cause": "useful",
        "count": 1,
        "delta": after - before,
        "before": before,
        "after": after,
    }
    return TrustChange(**{**values, **changes})
