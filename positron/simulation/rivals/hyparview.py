"""HyParView: a small active view, kept symmetrical, and a passive view to replace it from.

Source: Leitão, Pereira, Rodrigues, "HyParView: a membership protocol for reliable gossip-based broadcast" (DSN 2007);
sizes and times where the paper leaves them open are those of iroh-gossip (`proto/hyparview.rs`).

The active view is the node's links. Kinder than life: a joining node's contact is a random node that has joined, so
that no contact is overrun.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field

from positron.simulation.narrow import FRAMING
from positron.simulation.rivals.network import RivalNetwork

ACTIVE = 5
PASSIVE = 30
ACTIVE_WALK = 6
PASSIVE_WALK = 3
SHUFFLE_WALK = 6
SHUFFLE_ACTIVE = 3
SHUFFLE_PASSIVE = 4
SHUFFLE_INTERVAL = 60.0
NEIGHBOR_TIMEOUT = 0.5

JOINS_PER_SECOND = 100
SETTLING = 3 * SHUFFLE_INTERVAL
"""Seconds after the last join, three shuffles, before a network counts as settled."""

SMALL = 4
"""Bytes of a message without a node."""
NODE = 32
"""Bytes of a node id."""


@define(eq=False)
class Views:
    """What a node knows beside its links. `waiting` is whom it asked to be a neighbour, `untried` whom it asks next."""

    passive: list[int] = field(factory=list)
    untried: list[int] = field(factory=list)
    waiting: int | None = None


class HyParView(RivalNetwork):
    """The overlay; a broadcast protocol goes on top of it."""

    def _begin(self, node: int) -> None:
        self.nodes[node].state = Views()

    def _views(self, node: int) -> Views:
        views: Views = self.nodes[node].state
        return views

    def _settle(self) -> None:
        for number in range(1, len(self.nodes)):
            self._at(number / JOINS_PER_SECOND, self._join_by, number, number)
        self._later(0, self.rng.uniform(0.0, SHUFFLE_INTERVAL), self._shuffle)
        self.run(len(self.nodes) / JOINS_PER_SECOND + SETTLING)

    def _redial(self, node: int) -> None:
        """HyParView has nothing of the kind: a full active view is content."""

    def _call(self, node: int, peer: int, size: int, call: Callable[..., None], *args: Any) -> None:
        """A frame to whom there is no link: after a connection's round trip, if the other is there."""
        self.traffic.control_bytes += size + FRAMING
        self.traffic.control_frames += 1
        self._at(self.now + 3 * self._delay(node, peer), self._called, node, peer, call, args)

    def _called(self, node: int, peer: int, call: Callable[..., None], args: tuple[Any, ...]) -> None:
        if self.nodes[node].up and self._reaches(node, peer):
            call(peer, node, *args)

    # --------------------------------------------------------------------------------------------------- join

    def _join(self, node: int) -> None:
        self._join_by(node, len(self.nodes))

    def _join_by(self, node: int, joined: int) -> None:
        """Join through one of the first `joined` nodes that is there."""
        self._later(node, self.rng.uniform(0.0, SHUFFLE_INTERVAL), self._shuffle)
        contacts = [self.rng.randrange(joined) for _ in range(50)]
        contact = next((it for it in contacts if it != node and self._reaches(node, it)), None)
        if contact is not None:
            self._call(node, contact, SMALL, self._joined)

    def _joined(self, node: int, newcomer: int) -> None:
        """JOIN: the newcomer is let in at any price, and its name walks on from here."""
        others = [peer for peer in self.nodes[node].links if peer != newcomer]
        self._admit(node, newcomer)
        for peer in others:
            self._send(node, peer, SMALL + NODE, self._forward_join, newcomer, ACTIVE_WALK)

    def _forward_join(self, node: int, source: int, newcomer: int, walk: int) -> None:
        others = [peer for peer in self.nodes[node].links if peer not in (source, newcomer)]
        if walk == 0 or not others:
            if newcomer != node and newcomer not in self.nodes[node].links:
                self._call(node, newcomer, SMALL, self._neighbor, True)
            return
        if walk == PASSIVE_WALK:
            self._remember(node, newcomer)
        self._send(node, self.rng.choice(others), SMALL + NODE, self._forward_join, newcomer, walk - 1)

    # -------------------------------------------------------------------------------------------- active view

    def _admit(self, node: int, peer: int) -> None:
        """A link between them, and none above `ACTIVE` at either end."""
        if peer not in self.nodes[node].links:
            self._make_room(node)
            self._make_room(peer)
            self._connect(peer, node)

    def _make_room(self, node: int) -> None:
        links = self.nodes[node].links
        while len(links) >= ACTIVE:
            victim = self.rng.choice(list(links))
            self._send(node, victim, SMALL, self._disconnected)
            self._close(node, victim)
            self._remember(node, victim)

    def _disconnected(self, node: int, source: int) -> None:
        """DISCONNECT: the peer lives; its link closes behind this."""
        self._remember(node, source, linked_too=True)

    def _neighbor(self, node: int, source: int, is_urgent: bool) -> None:
        """NEIGHBOR: yes if there is room, or if the other has nobody else."""
        if is_urgent or len(self.nodes[node].links) < ACTIVE:
            self._admit(node, source)
        else:
            self.traffic.control_bytes += SMALL + FRAMING
            self.traffic.control_frames += 1
            self._later(source, self._delay(node, source), self._refused, node)

    def _lost(self, node: int) -> None:
        """The active view has a gap: ask the passive view, in random order."""
        views = self._views(node)
        views.untried = self.rng.sample(views.passive, len(views.passive))
        if views.waiting is None:
            self._ask_next(node)

    def _ask_next(self, node: int) -> None:
        views, links = self._views(node), self.nodes[node].links
        views.waiting = None
        while views.untried and len(links) < ACTIVE:
            peer = views.untried.pop()
            if peer not in links:
                views.waiting = peer
                self._call(node, peer, SMALL, self._neighbor, not links)
                self._later(node, NEIGHBOR_TIMEOUT, self._unanswered, peer)
                return

    def _refused(self, node: int, peer: int) -> None:
        if self._views(node).waiting == peer:
            self._ask_next(node)

    def _unanswered(self, node: int, peer: int) -> None:
        views = self._views(node)
        if views.waiting == peer:
            if peer in views.passive:
                views.passive.remove(peer)
            self._ask_next(node)

    def _linked(self, node: int, peer: int) -> None:
        views = self._views(node)
        if peer in views.passive:
            views.passive.remove(peer)
        if views.waiting == peer:
            self._ask_next(node)

    # ------------------------------------------------------------------------------------------- passive view

    def _remember(self, node: int, other: int, linked_too: bool = False) -> None:
        passive = self._views(node).passive
        is_linked = other in self.nodes[node].links and not linked_too
        if other != node and not is_linked and other not in passive:
            if len(passive) >= PASSIVE:
                passive.pop(self.rng.randrange(len(passive)))
            passive.append(other)

    def _shuffle(self, node: int) -> None:
        self._later(node, SHUFFLE_INTERVAL, self._shuffle)
        links, views = list(self.nodes[node].links), self._views(node)
        if links:
            known = [node, *self._some(links, SHUFFLE_ACTIVE), *self._some(views.passive, SHUFFLE_PASSIVE)]
            self._pass_on(node, self.rng.choice(links), node, known, SHUFFLE_WALK)
        if len(links) < ACTIVE:
            self._lost(node)

    def _some(self, nodes: Sequence[int], count: int) -> list[int]:
        return self.rng.sample(nodes, min(count, len(nodes)))

    def _pass_on(self, node: int, peer: int, origin: int, known: list[int], walk: int) -> None:
        self._send(node, peer, SMALL + NODE * (1 + len(known)), self._shuffled, origin, known, walk)

    def _shuffled(self, node: int, source: int, origin: int, known: list[int], walk: int) -> None:
        """SHUFFLE: walks on; who is at the end takes what is known, and answers with as much."""
        others = [peer for peer in self.nodes[node].links if peer not in (source, origin)]
        if walk > 1 and others:
            self._pass_on(node, self.rng.choice(others), origin, known, walk - 1)
        elif node != origin:
            answer = self._some(self._views(node).passive, len(known))
            self._call(node, origin, SMALL + NODE * len(answer), self._shuffle_answered, answer)
            self._shuffle_answered(node, origin, known)

    def _shuffle_answered(self, node: int, source: int, known: list[int]) -> None:
        for other in known:
            self._remember(node, other)
