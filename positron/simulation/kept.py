"""What a simulated node would have on disk: a store that never fails, as dicts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field

from positron.core.records import (
    EnvelopeKept,
    EnvelopesDropped,
    IndexEntry,
    Loaded,
    PeerForgotten,
    PeerKept,
    SequencesDropped,
    SequencesKept,
    StateKept,
    StubKept,
    TrustChange,
    TrustKept,
)

MANY_PEERS = 512
"""So many records of peers, and as many again as there are peers, are kept before the outdated ones are left out."""


@define(eq=False)
class Kept:
    """A store that never fails: what would be on disk."""

    envelopes: dict[bytes, EnvelopeKept] = field(factory=dict)
    stubs: dict[bytes, StubKept] = field(factory=dict)
    sequences: dict[Any, SequencesKept] = field(factory=dict)
    floors: dict[Any, SequencesDropped] = field(factory=dict)
    trust: dict[bytes, TrustKept] = field(factory=dict)
    audit: list[TrustChange] = field(factory=list)
    state: dict[str, str] = field(factory=dict)
    epoch: int = 0
    share: Callable[[EnvelopeKept], None] | None = None
    """Called with each envelope before it is kept."""
    _peers: list[PeerKept | PeerForgotten] = field(factory=list)
    """What was said of peers, oldest first: a list, for thousands of nodes keep hundreds of peers each, and read them
    hardly ever."""
    _peers_limit: int = MANY_PEERS

    @property
    def peers(self) -> dict[bytes, PeerKept]:
        """The last that was said of each peer that is not forgotten."""
        found: dict[bytes, PeerKept] = {}
        for record in self._peers:
            if isinstance(record, PeerKept):
                found[record.node_id] = record
            else:
                found.pop(record.node_id, None)
        return found

    def _peer(self, record: PeerKept | PeerForgotten) -> None:
        self._peers.append(record)
        if len(self._peers) >= self._peers_limit:
            self._peers = list(self.peers.values())
            self._peers_limit = MANY_PEERS + 2 * len(self._peers)

    def remember(self, record: object) -> None:
        """Keep one record, as every store does."""
        match record:
            case EnvelopeKept():
                self.stubs.pop(record.id, None)
                if self.share is not None:
                    self.share(record)
                self.envelopes[record.id] = record
            case PeerKept() | PeerForgotten():
                self._peer(record)
            case StubKept():
                self.envelopes.pop(record.id, None)
                self.stubs[record.id] = record
            case EnvelopesDropped():
                for envelope_id in record.ids:
                    self.envelopes.pop(envelope_id, None)
                    self.stubs.pop(envelope_id, None)
            case SequencesKept():
                self.sequences[record.author, record.kind, record.recipient, record.epoch] = record
            case SequencesDropped():
                stream = (record.author, record.kind, record.recipient)
                self.floors[stream] = record
                for key in [key for key in self.sequences if key[:3] == stream]:
                    if key[3] <= record.floor_epoch:
                        del self.sequences[key]
            case TrustChange():
                self.audit.append(record)
            case TrustKept():
                self.trust[record.node_id] = record
            case StateKept():
                self.state[record.key] = record.value

    def loaded(self, wall_ms: int) -> Loaded:
        """What a node is born with."""
        self.epoch = max(self.epoch + 1, wall_ms)
        index = [
            IndexEntry(e.id, e.created_ms, e.expires_ms, e.author, len(e.raw), e.kind)
            for e in self.envelopes.values()
        ]
        index += [IndexEntry(s.id, s.created_ms, s.expires_ms, b"", 0) for s in self.stubs.values()]
        return Loaded(
            self.epoch,
            index,
            list(self.sequences.values()),
            list(self.floors.values()),
            list(self.peers.values()),
            list(self.trust.values()),
            dict(self.state),
        )
