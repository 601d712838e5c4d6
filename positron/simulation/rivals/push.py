"""Push with a fanout chosen by the sender: what the project's first summary asked for.

Source: the summary (gossip_fanout 3, message_ttl 10): who gets a message for the first time pushes it to `FANOUT`
random neighbours other than the one it came from, until it has made `TTL` hops. Its reference waits up to a second
before each hop; this one does not wait. Nothing is announced, asked for or repaired.
"""

from __future__ import annotations

from positron.simulation.rivals.network import RivalNetwork

FANOUT = 3
TTL = 10
HEADER = 1
"""Bytes beside the message: the hop."""


class Push(RivalNetwork):
    """Each node pushes once, to `FANOUT` neighbours."""

    def _broadcast(self, node: int, message: int) -> None:
        self._push(node, None, message, 0)

    def _push(self, node: int, source: int | None, message: int, hops: int) -> None:
        others = [peer for peer in self.nodes[node].links if peer != source]
        for peer in self.rng.sample(others, min(FANOUT, len(others))):
            self._give(node, peer, message, HEADER, self._receive, hops + 1)

    def _receive(self, node: int, source: int, message: int, hops: int) -> None:
        if self._is_new(node, message, hops) and hops < TTL and self._is_honest(node):
            self._push(node, source, message, hops)
