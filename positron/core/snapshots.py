"""What can be seen of a core from outside, as plain values: nothing here changes anything."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from attrs import frozen

from positron.core.context import Context


@frozen(kw_only=True)
class PeerSnapshot:
    """One link that is up. `state` is `up` or `suspect`; times and round trips are in seconds."""

    node_id: bytes
    link: int
    address: str
    outbound: bool
    state: str
    trust: float
    rtt: float | None
    messages_in: int
    messages_out: int
    connected_seconds: float
    agent: str


@frozen(kw_only=True)
class SwarmStats:
    """Counts since the start, and what there is now. `messages` counts messages, except duplicate and rejected,
    which count envelopes; `rejected` is by reason."""

    up: int
    suspect: int
    known: int
    banned: int
    inbound: int
    outbound: int
    clock_skew: float
    published: int
    received: int
    delivered: int
    duplicate: int
    rejected: dict[str, int]
    relayed: int
    recovered: int
    gaps: int
    envelopes: int
    envelope_bytes: int
    counters: dict[str, int]


class _Trust(Protocol):
    def score(self, node_id: bytes, wall: float) -> float: ...
    def banned_count(self, wall: float) -> int: ...


class _Overlay(Protocol):
    @property
    def suspects(self) -> Collection[bytes]: ...
    @property
    def known(self) -> int: ...
    @property
    def clock_skew(self) -> float: ...


class _Holdings(Protocol):
    envelopes: int
    bytes: int


def peer_snapshots(context: Context, suspects: Collection[bytes], trust: _Trust) -> list[PeerSnapshot]:
    """The links that are up, oldest first; `suspects` are the ids of those that are silent."""
    return [
        PeerSnapshot(
            node_id=link.node_id,
            link=link.number,
            address=link.address,
            outbound=link.outbound,
            state="suspect" if link.node_id in suspects else "up",
            trust=trust.score(link.node_id, context.wall),
            rtt=link.rtt,
            messages_in=link.messages_in,
            messages_out=link.messages_out,
            connected_seconds=context.now - link.up_since,
            agent=link.hello.agent if link.hello else "",
        )
        for link in context.links
    ]


def swarm_stats(context: Context, overlay: _Overlay, trust: _Trust, holdings: _Holdings) -> SwarmStats:
    """Counts since the start, and what there is now."""
    counters = context.counters
    outbound = sum(1 for link in context.links if link.outbound)
    suspect = len(overlay.suspects)
    rejected = {
        key.removeprefix("rejected:"): value for key, value in counters.items() if key.startswith("rejected:")
    }
    return SwarmStats(
        up=len(context.links) - suspect,
        suspect=suspect,
        known=overlay.known,
        banned=trust.banned_count(context.wall),
        inbound=len(context.links) - outbound,
        outbound=outbound,
        clock_skew=overlay.clock_skew,
        published=counters.get("published", 0),
        received=counters.get("received", 0),
        delivered=counters.get("delivered", 0),
        duplicate=rejected.pop("duplicate", 0),
        rejected=rejected,
        relayed=counters.get("relayed", 0),
        recovered=counters.get("recovered", 0),
        gaps=counters.get("gaps", 0),
        envelopes=holdings.envelopes,
        envelope_bytes=holdings.bytes,
        counters=dict(counters),
    )
