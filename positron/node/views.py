"""What a node shows of itself: `status`, `stats`, `peers` and `trust` made from the core's snapshots.

Rule: the names here are promised to the command line and to applications (docs/operating.rst); they only grow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from positron import __version__
from positron.core.identity import to_text
from positron.core.snapshots import PeerSnapshot, SwarmStats
from positron.core.swarm import Swarm
from positron.services.values import Peer, Stats, TrustView

PEER_COUNTS = ("up", "suspect", "known", "banned", "inbound", "outbound")
MESSAGE_COUNTS = (
    "published",
    "received",
    "delivered",
    "duplicate",
    "rejected",
    "relayed",
    "recovered",
    "gaps",
)


def peer(snapshot: PeerSnapshot, traffic: tuple[int, int]) -> Peer:
    """One link as the application sees it; `traffic` is its bytes in and out."""
    return Peer(
        node_id=to_text(snapshot.node_id),
        address=snapshot.address,
        direction="out" if snapshot.outbound else "in",
        state=snapshot.state,
        trust=snapshot.trust,
        rtt_seconds=snapshot.rtt,
        messages_in_total=snapshot.messages_in,
        messages_out_total=snapshot.messages_out,
        bytes_in_total=traffic[0],
        bytes_out_total=traffic[1],
        connected_seconds=max(0.0, snapshot.connected_seconds),
    )


def trust_views(swarm: Swarm, node_ids: Iterable[bytes]) -> list[TrustView]:
    """What is thought of these nodes, with its parts."""
    round_trips = {each.node_id: each.rtt for each in swarm.peers()}
    return [_trust_view(swarm, each, round_trips.get(each)) for each in node_ids]


def _trust_view(swarm: Swarm, node_id: bytes, round_trip: float | None) -> TrustView:
    explanation = swarm.explain(node_id)
    return TrustView(
        node_id=to_text(node_id),
        trust=explanation.trust,
        first_hand=explanation.first_hand,
        opinion=explanation.opinion,
        uptime=explanation.uptime_seconds,
        valid=explanation.valid,
        invalid=explanation.invalid,
        responsiveness=round_trip,
        bans=explanation.bans,
        banned_until=explanation.banned_until,
    )


def stats(swarm: Swarm | None, store: tuple[int, int, int], **own: Any) -> Stats:
    """All counters; zeros for a node that has no core. `store` is its size, `own` what the services count."""
    found = None if swarm is None else swarm.stats()
    rejected = {} if found is None else dict(found.rejected)
    return Stats(
        peers={name: _count(found, name) for name in PEER_COUNTS},
        messages={
            f"{name}_total": sum(rejected.values()) if name == "rejected" else _count(found, name)
            for name in MESSAGE_COUNTS
        },
        rejected=rejected,
        store=dict(zip(("messages", "envelopes", "bytes"), store, strict=True)),
        clock_skew_seconds=0.0 if found is None else found.clock_skew,
        counters={} if found is None else dict(found.counters),
        **own,
    )


def status(node_id: str, network: str, ready: bool, listen: list[str], stats: Stats) -> dict[str, Any]:
    """The JSON of `positron status`, without its `schema`."""
    return {
        "node_id": node_id,
        "network": network,
        "version": __version__,
        "ready": ready,
        "uptime_seconds": stats.uptime_seconds,
        "clock_skew_seconds": stats.clock_skew_seconds,
        "listen": listen,
        "peers": stats.peers,
        "messages": stats.messages,
        "rejected": stats.rejected,
        "store": stats.store,
    }


def _count(found: SwarmStats | None, name: str) -> int:
    return 0 if found is None else int(getattr(found, name))


Traffic = Callable[[int], tuple[int, int]]


def peers(swarm: Swarm | None, traffic: Traffic) -> list[Peer]:
    """The links that are up, oldest first."""
    return [] if swarm is None else [peer(each, traffic(each.link)) for each in swarm.peers()]


def known_peers(swarm: Swarm | None, traffic: Traffic) -> list[Peer]:
    """The links that are up, then every other node known."""
    return peers(swarm, traffic) + (
        [] if swarm is None else [_unlinked(swarm, each) for each in swarm.strangers()]
    )


def _unlinked(swarm: Swarm, known: tuple[bytes, str]) -> Peer:
    node_id, address = known
    explanation = swarm.explain(node_id)
    return Peer(
        node_id=to_text(node_id),
        address=address,
        direction="",
        state="down" if explanation.banned_until is None else "banned",
        trust=explanation.trust,
        rtt_seconds=None,
        messages_in_total=0,
        messages_out_total=0,
        bytes_in_total=0,
        bytes_out_total=0,
        connected_seconds=0.0,
    )
