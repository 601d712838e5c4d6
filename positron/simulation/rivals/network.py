"""What every rival stands on: nodes, links, a heap clock, a ledger of what arrived and what it cost.

Rule: nothing here decides what a protocol decides. A protocol subclasses `RivalNetwork` and overrides what is called
on it (`_settle`, `_begin`, `_broadcast`, `_linked`, `_unlinked`); it sends through `_send`, waits through `_later`.

What is modelled is what `positron.simulation.world` models: ordered links with the delay of the same `Latency`, a lost
chunk that comes one retransmission later and holds up what is behind it, an uplink that a node's links share, and no
work. That favours whoever sends most.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any, NamedTuple

from attrs import define, field

from positron.simulation.latencies import RETRANSMISSION, Latency, lognormal
from positron.simulation.narrow import FRAMING, Uplinks

OUTBOUND = 8
"""Links that each node opens to random nodes: positron's `out_peers`, so that all run over the same kind of graph."""
MAX_LINKS = 50
"""Links that a node lets in: positron's `max_peers`."""
REFILL = 1.0
"""Seconds between two tries to replace lost outbound links."""
REDIAL = 15.0
"""Seconds after a heal within which every node has dialled anew: the cap of positron's own backoff, given to all."""
BEHAVIOURS = ("honest", "silent", "teasing")
"""`silent` takes and gives nothing on; `teasing` announces, where the protocol announces, and never gives."""


class Delivery(NamedTuple):
    """`node` got `message` for the first time, `hops` links from its author, at `time` (seconds)."""

    message: int
    node: int
    time: float
    hops: int


class Published(NamedTuple):
    """`node` said a message of `size` bytes at `time`."""

    node: int
    time: float
    size: int


@define
class Traffic:
    """All that was sent so far; bytes are with `FRAMING`. Payload frames carry a message, control frames do not."""

    payload_bytes: int = 0
    control_bytes: int = 0
    payload_frames: int = 0
    control_frames: int = 0


@define(eq=False)
class Half:
    """One end of a link: whose, to whom, who opened it, and when the last thing sent from here arrives."""

    node: int
    peer: int
    outbound: bool
    open: bool = True
    arrives: float = 0.0
    other: Half = field(init=False)


@define(eq=False)
class RivalNode:
    """What all protocols know of a node. `seen`: the hops at which it got each message; `life` counts its starts;
    `state` is the protocol's own."""

    number: int
    up: bool = True
    group: int = 0
    life: int = 0
    behaviour: str = "honest"
    links: dict[int, Half] = field(factory=dict)
    seen: dict[int, int] = field(factory=dict)
    refilling: bool = False
    state: Any = None


class RivalNetwork:
    """`nodes` nodes that speak one protocol, joined and settled. A node is an index from 0 to `nodes` - 1.

    The log: `published[message]`, `deliveries` in the order of time (an author's own is not in it), `copies[message]`
    = how often its payload arrived anywhere, `traffic` since construction, `now` in seconds,
    `events` = how many things happened, `bridged` = when the first link across a cut stood after the last heal.
    """

    def __init__(
        self,
        *,
        nodes: int,
        latency: Latency | None = None,
        loss: float = 0.0,
        bandwidth: float = 0.0,
        seed: int = 0,
    ) -> None:
        """`latency` defaults to lognormal(50 ms, 0.5); `loss` is the share (0..1) of chunks that come late;
        `bandwidth` is that of a node's uplink in bits a second, 0 for no limit."""
        if nodes < 2:
            raise ValueError("a network has two nodes at least")
        if not 0.0 <= loss < 1.0:
            raise ValueError("loss is a share from 0 to below 1")
        self.rng = Random(seed)
        self.now = 0.0
        self.nodes = [RivalNode(number + 1) for number in range(nodes)]
        self.published: list[Published] = []
        self.deliveries: list[Delivery] = []
        self.copies: list[int] = []
        self.traffic = Traffic()
        self._latency: Latency = latency if latency is not None else lognormal(0.050, 0.5)
        self._loss = loss
        self._uplinks = Uplinks(bandwidth)
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._counter = 0
        self._sides: list[int] = []
        self.bridged: float | None = None
        self.events = 0
        for node in range(nodes):
            self._begin(node)
        self._settle()
        self.traffic = Traffic()

    # ---------------------------------------------------------------------------------------- for who measures

    def run(self, seconds: float) -> None:
        """Play so many seconds."""
        end = self.now + seconds
        heap = self._heap
        while heap and heap[0][0] <= end:
            self.now, _, call, args = heapq.heappop(heap)
            self.events += 1
            call(*args)
        self.now = end

    def publish(self, node: int, size: int) -> int:
        """`node` says a message of `size` bytes, all that its author made and signed; its number, from 0."""
        if not self.nodes[node].up:
            raise ValueError(f"node {node} is down")
        message = len(self.published)
        self.published.append(Published(node, self.now, size))
        self.copies.append(0)
        self.nodes[node].seen[message] = 0
        self._broadcast(node, message)
        return message

    def crash(self, nodes: Iterable[int], notice: float = 0.0) -> None:
        """They are gone without a word. The other ends lose their links one delay later: a process was killed.

        With `notice`, between half of that and that many s later still: a machine went dark.
        """
        for number in nodes:
            node = self.nodes[number]
            node.up = False
            node.life += 1
            for half in list(node.links.values()):
                half.open = False
                wait = self._delay(number, half.peer) + notice * self.rng.uniform(0.5, 1.0)
                self._at(self.now + wait, self._lose, half.other)
            node.links.clear()

    def restart(self, nodes: Iterable[int]) -> None:
        """They come back, knowing nothing; what they then get again is in the log again."""
        for number in nodes:
            if not self.nodes[number].up:
                node = self.nodes[number]
                node.up = True
                node.seen = {}
                node.refilling = False
                self._begin(number)
                self._join(number)

    def partition(self, groups: Sequence[Iterable[int]], notice: float = 10.0) -> None:
        """Nothing passes between `groups` until `heal`; who is in none is with the first.

        Either end gives up a cut link between half of `notice` and `notice` s later, and looks for another.
        """
        for index, group in enumerate(groups):
            for number in group:
                self.nodes[number].group = index
        for half in self._across():
            self._at(self.now + notice * self.rng.uniform(0.5, 1.0), self._lose, half)

    def heal(self) -> None:
        """Everything passes again. Links that were cut and not given up yet break; every node may dial anew."""
        for half in self._across():
            self._lose(half)
        self._sides, self.bridged = [node.group for node in self.nodes], None
        for number, node in enumerate(self.nodes):
            node.group = 0
            self._later(number, self.rng.uniform(0.0, REDIAL), self._redial)

    def malicious(self, nodes: Iterable[int], behaviour: str) -> None:
        """From now on they behave like this, one of `BEHAVIOURS`; ValueError if it is none."""
        if behaviour not in BEHAVIOURS:
            raise ValueError(f"{behaviour!r} is none of {', '.join(BEHAVIOURS)}")
        for number in nodes:
            self.nodes[number].behaviour = behaviour

    # ------------------------------------------------------------------------------------- what a protocol says

    def _begin(self, node: int) -> None:
        """A node is born or born again: empty state."""

    def _settle(self) -> None:
        """Build the overlay and play until it is at rest: random graph, `OUTBOUND` links each."""
        for number in range(len(self.nodes)):
            self._fill(number)

    def _join(self, node: int) -> None:
        """A node that is back looks for links."""
        self._refill(node)

    def _broadcast(self, node: int, message: int) -> None:
        """An author's first step."""
        raise NotImplementedError

    def _linked(self, node: int, peer: int) -> None:
        """`node` has a new link."""

    def _unlinked(self, node: int, peer: int) -> None:
        """`node` lost a link."""

    def _redial(self, node: int) -> None:
        """After a heal: as positron's lost-good list, two dials to random nodes, each in place of a random link."""
        for _ in range(2):
            peer = self._other(node)
            outbound = [half for half in self.nodes[node].links.values() if half.outbound]
            if peer not in self.nodes[node].links:
                if len(outbound) >= OUTBOUND:
                    self._close(node, self.rng.choice(outbound).peer)
                self._dial(node, peer)

    # --------------------------------------------------------------------------------------- time and messages

    def _at(self, when: float, call: Callable[..., None], *args: Any) -> None:
        self._counter += 1
        heapq.heappush(self._heap, (when, self._counter, call, args))

    def _later(self, node: int, seconds: float, call: Callable[..., None], *args: Any) -> None:
        """call(node, *args) then, unless this life of the node is over."""
        self._at(self.now + seconds, self._wake, node, self.nodes[node].life, call, args)

    def _wake(self, node: int, life: int, call: Callable[..., None], args: tuple[Any, ...]) -> None:
        if self.nodes[node].up and self.nodes[node].life == life:
            call(node, *args)

    def _delay(self, sender: int, receiver: int) -> float:
        return self._latency(self.nodes[sender], self.nodes[receiver], self.rng)

    def _send(self, sender: int, receiver: int, size: int, call: Callable[..., None], *args: Any) -> None:
        """A control frame of `size` bytes over a link, if there is one; call(receiver, sender, *args) at arrival."""
        half = self.nodes[sender].links.get(receiver)
        if half is not None:
            self.traffic.control_bytes += size + FRAMING
            self.traffic.control_frames += 1
            self._carry(half, size + FRAMING, call, args)

    def _give(
        self, sender: int, receiver: int, message: int, header: int, call: Callable[..., None], hops: int
    ) -> None:
        """A payload frame, `header` bytes beside the message; call(receiver, sender, message, hops)."""
        half = self.nodes[sender].links.get(receiver)
        if half is not None:
            size = self.published[message].size + header + FRAMING
            self.traffic.payload_bytes += size
            self.traffic.payload_frames += 1
            self._carry(half, size, call, (message, hops))

    def _carry(self, half: Half, size: int, call: Callable[..., None], args: tuple[Any, ...]) -> None:
        if self.nodes[half.node].group != self.nodes[half.peer].group:
            return
        delay = self._delay(half.node, half.peer) + self._uplinks.wait(half.node, size, self.now)
        if self._loss and self.rng.random() < self._loss:
            delay += RETRANSMISSION
        half.arrives = max(half.arrives, self.now + delay)
        self._at(half.arrives, self._arrive, half.other, call, args)

    def _arrive(self, half: Half, call: Callable[..., None], args: tuple[Any, ...]) -> None:
        if half.open:
            call(half.node, half.peer, *args)

    def _is_new(self, node: int, message: int, hops: int) -> bool:
        """Write down that a payload arrived; whether it was the first."""
        self.copies[message] += 1
        seen = self.nodes[node].seen
        if message in seen:
            return False
        seen[message] = hops
        self.deliveries.append(Delivery(message, node, self.now, hops))
        return True

    def _is_honest(self, node: int) -> bool:
        return self.nodes[node].behaviour == "honest"

    # --------------------------------------------------------------------------------------------------- links

    def _connect(self, node: int, peer: int) -> None:
        """A link, now, opened by `node`. A link that one end still believes in gives way: the newest counts."""
        for stale in (self.nodes[node].links.get(peer), self.nodes[peer].links.get(node)):
            if stale is not None:
                self._lose(stale)
        if self._sides and self._sides[node] != self._sides[peer]:
            self._sides, self.bridged = [], self.now
        here, there = Half(node, peer, True), Half(peer, node, False)
        here.other, there.other = there, here
        self.nodes[node].links[peer] = here
        self.nodes[peer].links[node] = there
        self._linked(node, peer)
        self._linked(peer, node)

    def _dial(self, node: int, peer: int) -> None:
        """Open a link after a round trip, if the other is there and lets it in."""
        self._later(node, 2 * self._delay(node, peer), self._dialled, peer)

    def _dialled(self, node: int, peer: int) -> None:
        is_linked = peer in self.nodes[node].links
        if self._reaches(node, peer) and not is_linked and len(self.nodes[peer].links) < MAX_LINKS:
            self._connect(node, peer)

    def _reaches(self, node: int, peer: int) -> bool:
        return self.nodes[peer].up and self.nodes[peer].group == self.nodes[node].group

    def _close(self, node: int, peer: int) -> None:
        """Close a link on purpose: this end now, the other when what is under way has arrived."""
        half = self.nodes[node].links.get(peer)
        if half is not None:
            self._drop(half)
            if self.nodes[node].group == self.nodes[peer].group:
                self._at(max(half.arrives, self.now + self._delay(node, peer)), self._lose, half.other)

    def _drop(self, half: Half) -> None:
        half.open = False
        del self.nodes[half.node].links[half.peer]
        self._unlinked(half.node, half.peer)

    def _lose(self, half: Half) -> None:
        """This end notices that its link is gone, and looks for another."""
        if half.open:
            self._drop(half)
            self._lost(half.node)

    def _lost(self, node: int) -> None:
        """A node noticed by itself that it has a link less."""
        self._refill(node)

    def _across(self) -> list[Half]:
        return [
            half
            for node in self.nodes
            for half in node.links.values()
            if self.nodes[half.peer].group != node.group
        ]

    def _other(self, node: int) -> int:
        """Any other node: what a node's table of peers would name."""
        other = self.rng.randrange(len(self.nodes) - 1)
        return other + (other >= node)

    def _missing(self, node: int) -> int:
        links = self.nodes[node].links
        return min(OUTBOUND - sum(half.outbound for half in links.values()), len(self.nodes) - 1 - len(links))

    def _fill(self, node: int) -> None:
        """All outbound links of a node, at once: only before anything is measured."""
        for _ in range(60):
            peer = self._other(node)
            links = self.nodes[peer].links
            if self._missing(node) > 0 and node not in links and len(links) < MAX_LINKS:
                self._connect(node, peer)

    def _refill(self, node: int) -> None:
        """Dial a random node for each outbound link that lacks; again in `REFILL` s while any lacks."""
        if not self.nodes[node].refilling and self._missing(node) > 0:
            self.nodes[node].refilling = True
            for _ in range(self._missing(node)):
                self._dial(node, self._other(node))
            self._later(node, REFILL, self._refill_again)

    def _refill_again(self, node: int) -> None:
        self.nodes[node].refilling = False
        self._refill(node)
