"""Gossipsub v1.1 with one topic.

Source: github.com/libp2p/specs, pubsub/gossipsub/gossipsub-v1.0.md and gossipsub-v1.1.md; their default parameters for
D = 6, those of Ethereum's consensus specification (p2p-interface.md) for D = 8.

Left out: scores (their weights are each application's own, and all are 0 by default: so every peer's score is 0 and
opportunistic grafting never begins), peer exchange in PRUNE (off by default), the fan-out of who is not subscribed.
The seen cache is never emptied: no message here is older than the 120 s that it lasts.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define, field

from positron.simulation.rivals.network import RivalNetwork

D_OUT = 2
D_LAZY = 6
GOSSIP_FACTOR = 0.25
HEARTBEAT = 1.0
MCACHE_LEN = 5
MCACHE_GOSSIP = 3
PRUNE_BACKOFF = 60.0
GOSSIP_RETRANSMISSION = 3
MAX_IHAVE_LENGTH = 5000
MAX_IHAVE_MESSAGES = 10
SETTLING = 10.0
"""Seconds of heartbeats before a network counts as settled."""

HEADER = 8
"""Bytes beside the message in an RPC: protobuf tags and lengths, a short topic."""
CONTROL = 8
"""Bytes of any control message beside its ids."""
ID = 32 + 3
"""Bytes of a message id in IHAVE and IWANT."""


@define(eq=False)
class Mesh:
    """One node's router. `cache[0]` holds the ids since the last heartbeat, `backoff` the time until which."""

    peers: set[int] = field(factory=set)
    backoff: dict[int, float] = field(factory=dict)
    cache: list[list[int]] = field(factory=lambda: [[] for _ in range(MCACHE_LEN)])
    served: dict[tuple[int, int], int] = field(factory=dict)
    ihaves: dict[int, int] = field(factory=dict)
    asked: dict[int, int] = field(factory=dict)


class Gossipsub(RivalNetwork):
    """Eager in a mesh of about D, announcements to a few others each heartbeat."""

    D = 8
    D_LO = 6
    D_HI = 12

    def _begin(self, node: int) -> None:
        self.nodes[node].state = Mesh()
        self._later(node, self.rng.uniform(0.0, HEARTBEAT), self._heartbeat)

    def _mesh(self, node: int) -> Mesh:
        mesh: Mesh = self.nodes[node].state
        return mesh

    def _settle(self) -> None:
        super()._settle()
        self.run(SETTLING)

    def _unlinked(self, node: int, peer: int) -> None:
        self._mesh(node).peers.discard(peer)

    # ------------------------------------------------------------------------------------------------ payload

    def _broadcast(self, node: int, message: int) -> None:
        """Flood publish: an author's own message goes to every peer, in the mesh or not."""
        self._mesh(node).cache[0].append(message)
        for peer in self.nodes[node].links:
            self._give(node, peer, message, HEADER, self._receive, 1)

    def _receive(self, node: int, source: int, message: int, hops: int) -> None:
        if not self._is_new(node, message, hops):
            return
        mesh = self._mesh(node)
        mesh.cache[0].append(message)
        author = self.published[message].node
        if self._is_honest(node):
            for peer in sorted(mesh.peers):
                if peer not in (source, author):
                    self._give(node, peer, message, HEADER, self._receive, hops + 1)

    # ------------------------------------------------------------------------------------------------- gossip

    def _gossip(self, node: int) -> None:
        """IHAVE of the last `MCACHE_GOSSIP` heartbeats, to some peers outside the mesh."""
        mesh = self._mesh(node)
        ids = [message for window in mesh.cache[:MCACHE_GOSSIP] for message in window][:MAX_IHAVE_LENGTH]
        if ids and self.nodes[node].behaviour != "silent":
            others = [peer for peer in self.nodes[node].links if peer not in mesh.peers]
            count = min(len(others), max(D_LAZY, int(GOSSIP_FACTOR * len(others))))
            for peer in self.rng.sample(others, count):
                self._send(node, peer, CONTROL + ID * len(ids), self._ihave, ids)

    def _ihave(self, node: int, source: int, ids: list[int]) -> None:
        mesh = self._mesh(node)
        mesh.ihaves[source] = mesh.ihaves.get(source, 0) + 1
        room = MAX_IHAVE_LENGTH - mesh.asked.get(source, 0)
        wanted = [message for message in ids if message not in self.nodes[node].seen][:room]
        if wanted and mesh.ihaves[source] <= MAX_IHAVE_MESSAGES and self._is_honest(node):
            mesh.asked[source] = mesh.asked.get(source, 0) + len(wanted)
            self._send(node, source, CONTROL + ID * len(wanted), self._iwant, wanted)

    def _iwant(self, node: int, source: int, ids: list[int]) -> None:
        if not self._is_honest(node):
            return
        mesh = self._mesh(node)
        held = {message for window in mesh.cache for message in window}
        for message in ids:
            count = mesh.served.get((source, message), 0)
            if message in held and count < GOSSIP_RETRANSMISSION:
                mesh.served[source, message] = count + 1
                hops = self.nodes[node].seen[message] + 1
                self._give(node, source, message, HEADER, self._receive, hops)

    # --------------------------------------------------------------------------------------------------- mesh

    def _heartbeat(self, node: int) -> None:
        self._later(node, HEARTBEAT, self._heartbeat)
        mesh = self._mesh(node)
        mesh.ihaves.clear()
        mesh.asked.clear()
        mesh.backoff = {peer: until for peer, until in mesh.backoff.items() if until > self.now}
        if len(mesh.peers) < self.D_LO:
            self._graft_some(node, self.D - len(mesh.peers), self.nodes[node].links)
        elif len(mesh.peers) > self.D_HI:
            self._prune_some(node)
        lacking = D_OUT - len(self._outbound(node, mesh.peers))
        if lacking > 0 and len(mesh.peers) >= self.D_LO:
            self._graft_some(node, lacking, self._outbound(node, self.nodes[node].links))
        self._gossip(node)
        held = mesh.cache.pop()
        mesh.cache.insert(0, [])
        if held:
            gone = set(held)
            mesh.served = {key: count for key, count in mesh.served.items() if key[1] not in gone}

    def _outbound(self, node: int, peers: Iterable[int]) -> list[int]:
        links = self.nodes[node].links
        return [peer for peer in sorted(peers) if links[peer].outbound]

    def _graft_some(self, node: int, count: int, peers: Iterable[int]) -> None:
        mesh = self._mesh(node)
        free = [peer for peer in peers if peer not in mesh.peers and peer not in mesh.backoff]
        for peer in self.rng.sample(free, min(count, len(free))):
            mesh.peers.add(peer)
            self._send(node, peer, CONTROL, self._graft)

    def _prune_some(self, node: int) -> None:
        """Back to D at random (no scores), `D_OUT` outbound ones among them where there are so many."""
        mesh = self._mesh(node)
        order = sorted(mesh.peers)
        self.rng.shuffle(order)
        kept = self._outbound(node, order)[:D_OUT]
        kept += [peer for peer in order if peer not in kept][: self.D - len(kept)]
        for peer in order:
            if peer not in kept:
                mesh.peers.discard(peer)
                self._prune(node, peer)

    def _prune(self, node: int, peer: int) -> None:
        self._mesh(node).backoff[peer] = self.now + PRUNE_BACKOFF
        self._send(node, peer, CONTROL + 2, self._pruned)

    def _graft(self, node: int, source: int) -> None:
        """A peer wants this node in its mesh: yes, unless it is too early, or full and the peer came by itself."""
        mesh = self._mesh(node)
        if source in mesh.peers:
            return
        is_full = len(mesh.peers) >= self.D_HI and not self.nodes[node].links[source].outbound
        if is_full or mesh.backoff.get(source, 0.0) > self.now:
            self._prune(node, source)
        else:
            mesh.peers.add(source)

    def _pruned(self, node: int, source: int) -> None:
        mesh = self._mesh(node)
        mesh.peers.discard(source)
        mesh.backoff[source] = self.now + PRUNE_BACKOFF


class Gossipsub6(Gossipsub):
    """With the specification's own D."""

    D = 6
    D_LO = 5
    D_HI = 12
