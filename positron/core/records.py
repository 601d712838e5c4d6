"""What the store keeps, as values: the core says `Remember(record)` and is born again with a `Loaded`.

Rule: a record is complete in itself and replaces what the store held under its key, so writing it twice, or losing
the newest ones in a crash, leaves a state that once was.
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import Factory, define, field

Intervals = list[tuple[int, int]]
"""Sequence numbers as sorted, disjoint, closed intervals."""


@define
class EnvelopeKept:
    """An accepted envelope. `topics` are the distinct topics in it, for `history`; DIRECT has none.

    `delivered` is False for history that only those who ask are owed. `hops` and `received` (Unix seconds) are as it
    first came.
    """

    id: bytes
    raw: bytes
    author: bytes
    kind: int
    epoch: int
    seq: int
    count: int
    created_ms: int
    expires_ms: int
    received: float
    hops: int
    topics: tuple[str, ...] = ()
    recipient: bytes = b""


@define
class StubKept:
    """An envelope that is known and not held: refused, muted or pruned. It stands in the index until it expires."""

    id: bytes
    created_ms: int
    expires_ms: int


@define
class EnvelopesDropped:
    """These envelopes and stubs are gone for good (expired)."""

    ids: list[bytes]


@define
class SequencesKept:
    """The sequence numbers seen of one (author, kind, recipient) in one epoch.

    `first_live` is the first that came by PUSH or HAVE (0: none yet): what lies before it is history.
    """

    author: bytes
    kind: int
    recipient: bytes
    epoch: int
    seen: Intervals
    first_live: int
    touched_ms: int


@define
class SequencesDropped:
    """What was known of this (author, kind, recipient) is gone; epochs up to `floor_epoch` are refused as old."""

    author: bytes
    kind: int
    recipient: bytes
    floor_epoch: int


@define(weakref_slot=False)
class PeerKept:
    """One entry of the address book. Times are Unix seconds, 0 for never. `record` is the signed form, or empty.

    The book and whoever keeps it hold the same object, so nobody changes it: a change makes another. (That it is not
    `frozen` makes it three times cheaper to make, and a node is told of thousands.)
    """

    node_id: bytes
    addresses: tuple[str, ...]
    record: bytes = b""
    record_seq: int = 0
    source_group: str = ""
    tried: bool = False
    last_seen: float = 0.0
    last_tried: float = 0.0
    failures: int = 0
    learned: float = 0.0


@define
class PeerForgotten:
    """Nothing is known of this node any more."""

    node_id: bytes


@define
class TrustKept:
    """The current first-hand score of one node, in millionths as of `time` (decay since then is computed).

    The other fields are counters and times that outlive the process.
    """

    node_id: bytes
    value: int
    time: float
    bans: int = 0
    banned_until: float = 0.0
    valid: int = 0
    invalid: int = 0
    first_seen: float = 0.0


@define
class TrustChange:
    """One row of the audit trail: what moved a score, by how much (millionths), from what to what."""

    time: float
    node_id: bytes
    cause: str
    count: int
    delta: int
    before: int
    after: int


@define
class StateKept:
    """One value of the network state: `anchors`, `floor_ms`, `wall`, `first_start_ms`, `record_seq`..."""

    key: str
    value: str


Record: TypeAlias = (
    EnvelopeKept
    | StubKept
    | EnvelopesDropped
    | SequencesKept
    | SequencesDropped
    | PeerKept
    | PeerForgotten
    | TrustKept
    | TrustChange
    | StateKept
)


@define
class IndexEntry:
    """What the core needs of a stored envelope without its bytes. `size` 0 marks a stub."""

    id: bytes
    created_ms: int
    expires_ms: int
    author: bytes
    size: int
    kind: int = 1


@define
class Loaded:
    """What a node is born with: everything the store held, without the envelopes' bytes.

    `epoch` is this run's, already written to disk: max(stored + 1, now in ms).
    """

    epoch: int
    index: list[IndexEntry] = field(default=Factory(list))
    sequences: list[SequencesKept] = field(default=Factory(list))
    floors: list[SequencesDropped] = field(default=Factory(list))
    peers: list[PeerKept] = field(default=Factory(list))
    trust: list[TrustKept] = field(default=Factory(list))
    state: dict[str, str] = field(default=Factory(dict))
