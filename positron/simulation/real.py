"""The same measurement with real nodes: TLS over loopback, in this process, in real time.

Rule: the reactor is a parameter. Nothing is simulated, so there is nothing to inject: what goes wrong is a fault.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater

from positron.config import Config
from positron.node import Node
from positron.services.values import Message
from positron.simulation.measure import measure
from positron.simulation.network import TOPIC, Delivery, Published, Traffic
from positron.simulation.running import Outcome, Progress
from positron.simulation.scenario import QUIET, Scenario

MAX_NODES = 50
LINKS = 4
"""Links (or all others, if they are fewer) that every node has before the first message."""
LINKING = 20.0
"""Seconds that they may take for it; a node that has none by then is a fault like any other."""


class _Fleet:
    """The nodes, and the log of what they heard."""

    def __init__(self, reactor: Any, scenario: Scenario) -> None:
        self.reactor = reactor
        self.scenario = scenario
        self.rng = Random(scenario.seed)
        self.nodes: list[Node] = []
        self.published: list[Published] = []
        self.deliveries: list[Delivery] = []
        self.heard: Counter[tuple[int, int]] = Counter()
        self.strange = 0

    async def start(self) -> None:
        """Start every node; the first is the bootstrap of the others."""
        network = f"simulate-{self.rng.getrandbits(64):x}"
        for index in range(self.scenario.nodes):
            bootstrap = [self.nodes[0].address] if self.nodes else []
            config = Config(
                network=network, host="127.0.0.1", port=0, bootstrap=bootstrap, fanout=self.scenario.fanout
            )
            node = Node(self.reactor, config)
            self.nodes.append(node)
            node.subscribe(TOPIC, lambda message, index=index: self._got(index, message))  # type: ignore[misc]
            node.startService()
            await node.when_ready()
        links = min(LINKS, self.scenario.nodes - 1)
        linked = DeferredList([node.when_peers(links) for node in self.nodes], consumeErrors=True)
        linked.addTimeout(LINKING, self.reactor, lambda *_: None)
        await linked

    def _got(self, index: int, message: Message) -> None:
        number = int.from_bytes(message.data[:8], "big")
        if number >= len(self.published) or len(message.data) != self.scenario.size:
            self.strange += 1
            return
        self.heard[number, index] += 1
        if index != self.published[number].node:
            self.deliveries.append(Delivery(number, index, self.reactor.seconds(), message.hops))

    async def publish(self, progress: Progress) -> None:
        """Publish everything at its time."""
        start = self.reactor.seconds()
        for number in range(self.scenario.messages):
            await self._sleep(start + number / self.scenario.rate - self.reactor.seconds())
            author = self.rng.randrange(len(self.nodes))
            self.published.append(Published(author, self.reactor.seconds(), self.scenario.size))
            data = number.to_bytes(8, "big") + bytes(self.scenario.size - 8)
            await self.nodes[author].publish(TOPIC, data)
            progress((number + 1) / self.scenario.messages)

    async def settle(self) -> None:
        """Wait until everything is everywhere, at most 30 s."""
        until = self.reactor.seconds() + QUIET
        while len(self.heard) < len(self.published) * len(self.nodes) and self.reactor.seconds() < until:
            await self._sleep(0.1)

    def _sleep(self, seconds: float) -> Deferred[None]:
        return deferLater(self.reactor, max(0.0, seconds), lambda: None)

    def traffic(self) -> Traffic:
        """What went over the links that are still up, greetings included; control is not told apart."""
        sent = sum(peer.bytes_out_total for node in self.nodes for peer in node.peers())
        counts = [node.stats().messages for node in self.nodes]
        copies = sum(count["received_total"] + count["duplicate_total"] for count in counts)
        return Traffic(sent, 0, copies)

    def faults(self) -> list[str]:
        """What is wrong, in sentences."""
        owed = len(self.published) * len(self.nodes)
        twice = sum(count > 1 for count in self.heard.values())
        found = []
        if len(self.heard) != owed:
            found.append(f"{len(self.heard)} of {owed} delivered")
        if twice:
            found.append(f"{twice} delivered more than once")
        if self.strange:
            found.append(f"{self.strange} delivered that nobody said")
        return found


async def run_real(reactor: Any, scenario: Scenario, progress: Progress = lambda _share: None) -> Outcome:
    """Start the scenario's nodes, publish its messages, wait for them, stop. Of the scenario only `nodes` (at most
    `MAX_NODES`), `rate`, `duration`, `size`, `fanout` and `seed` count; nobody counts `events`."""
    began = reactor.seconds()
    fleet = _Fleet(reactor, scenario)
    try:
        await fleet.start()
        await fleet.publish(progress)
        await fleet.settle()
        traffic, faults = fleet.traffic(), fleet.faults()
    finally:
        await DeferredList([node.stopService() for node in fleet.nodes], consumeErrors=True)
    found = measure(
        fleet.published,
        fleet.deliveries,
        traffic,
        owing=set(range(scenario.nodes)),
        outages={},
        healed=None,
    )
    return Outcome(
        scenario=scenario,
        measurement=evolve(found, control_bytes=None),
        faults=faults,
        events=None,
        wall_seconds=reactor.seconds() - began,
    )
