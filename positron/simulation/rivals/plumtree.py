"""Plumtree over HyParView: payloads along a spanning tree, announcements on the other links, repair by GRAFT.

Source: Leitão, Pereira, Rodrigues, "Epidemic Broadcast Trees" (SRDS 2007), with the times, the threshold and the
form of the optimization of iroh-gossip (`proto/plumtree.rs`).
"""

from __future__ import annotations

from attrs import define, field

from positron.simulation.rivals.hyparview import HyParView, Views

GRAFT_FIRST = 0.080
"""Seconds from the first announcement to the first GRAFT."""
GRAFT_NEXT = 0.040
"""Seconds from one GRAFT to the next."""
DISPATCH = 0.005
"""Seconds for which announcements are gathered."""
OPTIMIZATION_THRESHOLD = 7
"""Hops by which an announcement must have been nearer to its author for the tree to be changed."""
CACHE = 30.0
"""Seconds for which a GRAFT of a message is answered; here they count from its publication."""

ID = 32 + 2
"""Bytes of a message id and its round."""
HEADER = ID + 2
"""Bytes beside the message in GOSSIP."""
SMALL = 4
"""Bytes of GRAFT, PRUNE and IHAVE beside ids."""


@define(eq=False)
class Tree(Views):
    """One node's tree: a link is eager or it is lazy. `missing`: who announced a message, and at which round."""

    eager: set[int] = field(factory=set)
    missing: dict[int, list[tuple[int, int]]] = field(factory=dict)
    timed: set[int] = field(factory=set)
    queue: dict[int, list[tuple[int, int]]] = field(factory=dict)


class Plumtree(HyParView):
    """One tree for all authors, as both sources have it."""

    def _begin(self, node: int) -> None:
        self.nodes[node].state = Tree()

    def _tree(self, node: int) -> Tree:
        tree: Tree = self.nodes[node].state
        return tree

    def _linked(self, node: int, peer: int) -> None:
        self._tree(node).eager.add(peer)
        super()._linked(node, peer)

    def _unlinked(self, node: int, peer: int) -> None:
        tree = self._tree(node)
        tree.eager.discard(peer)
        for message, announced in tree.missing.items():
            tree.missing[message] = [it for it in announced if it[0] != peer]

    # ------------------------------------------------------------------------------------------------ payload

    def _broadcast(self, node: int, message: int) -> None:
        self._push(node, None, message, 0)

    def _push(self, node: int, source: int | None, message: int, hops: int) -> None:
        eager = self._tree(node).eager
        for peer in list(self.nodes[node].links):
            if peer == source:
                continue
            if peer in eager:
                self._give(node, peer, message, HEADER, self._gossip, hops + 1)
            else:
                self._announce(node, peer, message, hops)

    def _gossip(self, node: int, source: int, message: int, hops: int) -> None:
        tree = self._tree(node)
        is_new = self._is_new(node, message, hops)
        if not self._is_honest(node):
            if is_new and self.nodes[node].behaviour == "teasing":
                for peer in self.nodes[node].links:
                    self._announce(node, peer, message, hops)
            return
        if not is_new:
            self._send_prune(node, source)
            return
        tree.eager.add(source)
        self._push(node, source, message, hops)
        self._optimize(node, source, hops, tree.missing.pop(message, []))

    def _optimize(self, node: int, source: int, hops: int, announced: list[tuple[int, int]]) -> None:
        """If somebody announced it much nearer to the author, let that be the parent, and no longer `source`."""
        peer, nearest = min(announced, key=lambda it: it[1] + 1, default=(source, hops))
        if hops - (nearest + 1) >= OPTIMIZATION_THRESHOLD and peer in self.nodes[node].links:
            if all(source != it[0] for it in announced):
                self._send_prune(node, source)
            self._send_graft(node, peer, None)

    # ------------------------------------------------------------------------------------------ announcements

    def _announce(self, node: int, peer: int, message: int, hops: int) -> None:
        queue = self._tree(node).queue
        if not queue:
            self._later(node, DISPATCH, self._dispatch)
        queue.setdefault(peer, []).append((message, hops))

    def _dispatch(self, node: int) -> None:
        tree = self._tree(node)
        queue, tree.queue = tree.queue, {}
        for peer, announced in queue.items():
            self._send(node, peer, SMALL + ID * len(announced), self._ihave, announced)

    def _ihave(self, node: int, source: int, announced: list[tuple[int, int]]) -> None:
        if not self._is_honest(node):
            return
        tree = self._tree(node)
        for message, hops in announced:
            if message not in self.nodes[node].seen:
                tree.missing.setdefault(message, []).append((source, hops))
                if message not in tree.timed:
                    tree.timed.add(message)
                    self._later(node, GRAFT_FIRST, self._graft_due, message)

    def _graft_due(self, node: int, message: int) -> None:
        """It did not come: ask the next who announced it."""
        tree = self._tree(node)
        tree.timed.discard(message)
        announced = tree.missing.get(message)
        if message not in self.nodes[node].seen and announced:
            peer, _ = announced.pop(0)
            self._send_graft(node, peer, message)
            tree.timed.add(message)
            self._later(node, GRAFT_NEXT, self._graft_due, message)

    # --------------------------------------------------------------------------------------------------- tree

    def _send_graft(self, node: int, peer: int, message: int | None) -> None:
        self._tree(node).eager.add(peer)
        self._send(node, peer, SMALL + (0 if message is None else ID), self._graft, message)

    def _graft(self, node: int, source: int, message: int | None) -> None:
        if not self._is_honest(node):
            return
        self._tree(node).eager.add(source)
        hops = None if message is None else self.nodes[node].seen.get(message)
        if message is not None and hops is not None and self.now - self.published[message].time <= CACHE:
            self._give(node, source, message, HEADER, self._gossip, hops + 1)

    def _send_prune(self, node: int, peer: int) -> None:
        self._tree(node).eager.discard(peer)
        self._send(node, peer, SMALL, self._prune)

    def _prune(self, node: int, source: int) -> None:
        self._tree(node).eager.discard(source)
