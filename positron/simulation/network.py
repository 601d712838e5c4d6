"""positron as a network under measurement: the surface that every protocol of a comparison has.

`Network` is that surface. `PositronNetwork` fills it with whole cores in a `World`; the rivals have their own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from random import Random
from typing import Any, NamedTuple, Protocol

from positron.core import events, messages
from positron.core.records import EnvelopeKept
from positron.simulation.cheap import CheapSigner, cheap_verify
from positron.simulation.checker import check
from positron.simulation.faults import ACTS, Teased, Teaser, teased
from positron.simulation.latencies import Latency
from positron.simulation.narrow import NarrowWorld
from positron.simulation.tracing import Step, TracedWorld
from positron.simulation.world import World, WorldNode

FORMATION = 30.0
"""Virtual seconds in which the nodes find each other, by the real overlay, before the first message. They are born
over the first third of it, each with the addresses of two that were there before."""

TOPIC = "simulated"

RECORD_BYTES = 22
"""Bytes of a TLS 1.3 record around each frame (5 header, 1 content type, 16 tag); the rivals are charged the same."""


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


class Traffic(NamedTuple):
    """What was sent since the network was ready; bytes are with `RECORD_BYTES`."""

    payload_bytes: int
    control_bytes: int
    payload_frames: int


class Log(NamedTuple):
    """What a run left behind. `events` counts what was handled, the formation's included; `bridged` is when, after the
    last heal, the first link stood between two nodes that had been cut apart; `refused` counts what authors would not
    say. A number of a message is its place in `published`."""

    published: Sequence[Published]
    deliveries: Sequence[Delivery]
    traffic: Traffic
    events: int
    bridged: float | None = None
    refused: int = 0


class Network(Protocol):
    """A network that is formed and ready. A node is an index from 0; an author's own delivery is not in the log."""

    @property
    def now(self) -> float:
        """Virtual seconds."""

    def run(self, seconds: float) -> None:
        """Play so many virtual seconds."""

    def publish(self, node: int, size: int) -> int | None:
        """`node` says a payload of `size` bytes, like no other; its number, or None if it refused to."""

    def crash(self, nodes: Iterable[int]) -> None:
        """Their machines go dark: nobody is told, and what is sent to them is lost."""

    def restart(self, nodes: Iterable[int]) -> None:
        """They come back."""

    def partition(self, groups: Sequence[Iterable[int]]) -> None:
        """Nothing passes between the groups until `heal`."""

    def heal(self) -> None:
        """Everything passes again."""

    def malicious(self, nodes: Iterable[int], behaviour: str) -> None:
        """From now on they behave like this."""

    def spent(self) -> Traffic:
        """What was sent since the network was ready."""

    def arrived(self) -> int:
        """How many deliveries will be in the log."""

    def log(self) -> Log:
        """What was said, what arrived, what it cost since the network was ready."""

    def faults(self, nodes: Iterable[int]) -> list[str]:
        """What the checker finds wrong with these nodes, in sentences."""

    def teased(self, nodes: Iterable[int]) -> Teased | None:
        """What these nodes made of teasers; None if there were none, or if the protocol keeps no account of them."""

    def trace(self) -> list[Step] | None:
        """The steps of the message that was followed, in the order of time; None if none was."""


class PositronNetwork:
    """The real core, `nodes` times, grown from one node. Their applications ask for history: a node is owed
    everything, also what an author said for the first time on the other side of a cut."""

    def __init__(
        self,
        *,
        nodes: int,
        latency: Latency,
        loss: float,
        seed: int,
        fanout: int = 3,
        bandwidth: float = 0.0,
        skew: float = 0.0,
        born: Mapping[str, Iterable[int]] | None = None,
        trace: int | None = None,
        progress: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        """`bandwidth` is that of each node's uplink in bits a second, 0 for no limit; clocks are off by up to `skew`
        seconds. `born` are nodes that misbehave from their birth on, by behaviour. The message of the number `trace`
        is followed. `progress` is told the virtual seconds that passed, while the network forms."""
        links: dict[str, Any] = {"latency": latency, "loss": loss}
        keys: dict[str, Any] = {"identity": CheapSigner, "verify": cheap_verify}
        self._trace = trace
        self.world: World
        if trace is not None:
            self.world = TracedWorld(seed, bandwidth=bandwidth, **links, **keys)
        elif bandwidth:
            self.world = NarrowWorld(seed, bandwidth=bandwidth, **links, **keys)
        else:
            self.world = World(seed, **links, **keys)
        self.published: list[Published] = []
        self.deliveries: list[Delivery] = []
        self._said: dict[bytes, list[bytes]] = {}
        self._message_of: dict[bytes, int] = {}
        self._payloads: dict[bytes, bytes] = {}
        self._raws: dict[bytes, bytes] = {}
        self._sides: list[int] = []
        self._bridged: float | None = None
        self._refused = 0
        self._teasers: list[Teaser] = []
        self._fellows: dict[str, list[WorldNode]] = {}
        self._found(nodes, fanout, skew, {node for liars in (born or {}).values() for node in liars})
        for behaviour, liars in (born or {}).items():
            self.malicious(liars, behaviour)
        self._form(progress)
        self._before = self._sent()

    @property
    def now(self) -> float:
        """Virtual seconds."""
        return self.world.now

    def _found(self, count: int, fanout: int, skew: float, liars: Collection[int]) -> None:
        """Make the nodes; they are born over the first third of the formation.

        The two bootstraps of each are drawn from those before it that are no `liars`. Were it the first node for all,
        a newcomer would hear of the oldest alone, which have no room: in a large network it would be refused dozens of
        times, and what a node costs would grow with their number. With one only, a few that were refused there and
        are everybody's bootstraps to each other may fill their slots among themselves: an island.
        """
        clocks, bootstraps = Random(f"clocks {self.world.seed}"), Random(f"bootstraps {self.world.seed}")
        honest = [self.world.node(fanout=fanout, skew=clocks.uniform(-skew, skew)).address]
        for index in range(1, count):
            node = self.world.node(
                fanout=fanout,
                bootstrap=tuple(bootstraps.sample(honest, min(2, len(honest)))),
                start=False,
                skew=clocks.uniform(-skew, skew),
            )
            self.world.at(index / count * FORMATION / 3, node.start)
            if index not in liars:
                honest.append(node.address)
        for node in self.world.nodes:
            node.listener = self._heard
            node.kept.share = self._shared

    def _form(self, progress: Callable[[float], None]) -> None:
        for second in range(int(FORMATION)):
            self.world.run(1.0)
            progress(second + 1.0)

    def _shared(self, record: EnvelopeKept) -> None:
        """One copy of an envelope is enough for all simulated disks."""
        if isinstance(self.world, TracedWorld):
            self.world.tracer.kept(record.id, record.raw)
        record.raw = self._raws.setdefault(record.id, record.raw)

    # ---------------------------------------------------------------------------------------------- what happens

    def run(self, seconds: float) -> None:
        """Play so many virtual seconds."""
        self.world.run(seconds)

    def publish(self, node: int, size: int) -> int | None:
        """`node` says a payload of `size` bytes (16 at least), like no other; its number, or None if it refused to
        (its clock is too far from those of its peers)."""
        message = len(self.published)
        payload = b"%016d" % message + bytes(size - 16)
        author = self.world.nodes[node]
        self.published.append(Published(node, self.now, size))
        self._message_of[payload] = message
        self._payloads[payload] = payload
        if isinstance(self.world, TracedWorld) and message == self._trace:
            self.world.tracer.publish(author, payload)
        settled = author.settled.get(author.publish(TOPIC, payload))
        if settled is not None and settled.error is not None:
            self.published.pop()
            self._refused += 1
            return None
        self._said.setdefault(author.node_id, []).append(payload)
        return message

    def crash(self, nodes: Iterable[int]) -> None:
        """They are gone, without a word: nobody is told, their links die by liveness."""
        for node in nodes:
            self.world.nodes[node].go_dark()

    def restart(self, nodes: Iterable[int]) -> None:
        """They come back with what was on their disks."""
        for node in nodes:
            self.world.nodes[node].start()

    def partition(self, groups: Sequence[Iterable[int]]) -> None:
        """Nothing passes between the groups until `heal`."""
        self.world.partition(*[[self.world.nodes[node] for node in group] for group in groups])

    def heal(self) -> None:
        """Everything passes again."""
        self._sides = [node.group for node in self.world.nodes]
        self._bridged = None
        self.world.linked = self._linked
        self.world.heal()

    def _linked(self, node: WorldNode, other: WorldNode) -> None:
        if self._sides[node.number - 1] != self._sides[other.number - 1]:
            self._bridged = self.now
            self.world.linked = None

    def malicious(self, nodes: Iterable[int], behaviour: str) -> None:
        """From now on they behave like this: a key of `positron.simulation.faults.ACTS`."""
        chosen = [self.world.nodes[node] for node in nodes]
        self._fellows.setdefault(behaviour, []).extend(chosen)
        for node in chosen:
            act = ACTS[behaviour](node, self._fellows[behaviour])
            if isinstance(act, Teaser):
                self._teasers.append(act)

    # ---------------------------------------------------------------------------------------------- what came of it

    def _heard(self, node: WorldNode, delivery: events.Deliver) -> None:
        delivery.entries = entries = list(delivery.entries)
        for offset, (topic, payload) in enumerate(entries):
            shared = self._payloads.get(payload)
            if shared is None:
                continue  # nobody said that: the checker will say so
            entries[offset] = (topic, shared)
            if delivery.author != node.node_id:
                index = node.number - 1
                self.deliveries.append(Delivery(self._message_of[shared], index, self.now, delivery.hops))

    def _sent(self) -> Traffic:
        payload = control = frames = 0
        for node in self.world.nodes:
            for tag, count in node.frames_by_tag.items():
                sent = node.bytes_out[tag] + count * RECORD_BYTES
                if tag == messages.PUSH_TAG:
                    payload += sent
                    frames += count
                else:
                    control += sent
        return Traffic(payload, control, frames)

    def spent(self) -> Traffic:
        """What was sent since the network was ready."""
        return Traffic(*(now - then for now, then in zip(self._sent(), self._before, strict=True)))

    def arrived(self) -> int:
        """How many deliveries will be in the log."""
        return len(self.deliveries)

    def log(self) -> Log:
        """What was said, what arrived, what it cost since the network was ready, how many events cores handled."""
        return Log(
            self.published, self.deliveries, self.spent(), self.world.steps, self._bridged, self._refused
        )

    def faults(self, nodes: Iterable[int]) -> list[str]:
        """What the checker finds wrong with these nodes: not complete, twice, out of order, never said."""
        return check(self.world, [self.world.nodes[node] for node in nodes], self._said, history=True).faults

    def teased(self, nodes: Iterable[int]) -> Teased | None:
        """What these nodes made of teasers; None without teasers."""
        return teased(self._teasers, [self.world.nodes[node] for node in nodes])

    def trace(self) -> list[Step] | None:
        """The steps of the message that was followed, in the order of time; None if none was."""
        return self.world.tracer.steps if isinstance(self.world, TracedWorld) else None
