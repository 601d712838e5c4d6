"""A whole network in one process without sockets, for an application's own tests.

    clock = task.Clock()
    network = MemoryNetwork(clock)
    first = network.node("first")
    second = network.node("second", bootstrap=["first"])
    first.startService(), second.startService()
    network.wait(second.when_peers(1))
    ...
    network.stop()
    assert clock.getDelayedCalls() == []

What runs is what runs in production, TLS included; only the byte pipes and the time are virtual. Identities, addresses
and chance follow from the names and the seed. Rule: everything a `MemoryNetwork` does is a delayed call of its clock,
so a test decides how far the world moves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from itertools import count
from random import Random
from typing import Any, TypeVar

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint, IStreamServerEndpoint
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from positron.config import Config
from positron.core.addresses import split_address
from positron.core.identity import Identity
from positron.node import Node
from positron.node.clocks import Clocks
from positron.store.memory import MemoryStore
from positron.testing.pipes import MemoryClient, MemoryServer, Wires

WALL_START = 1_700_000_000.0
"""The wall clock of a virtual clock that stands at 0, Unix seconds."""
RETRANSMIT_SECONDS = 0.2
"""By how much a lost chunk is late; twice that if it is lost again, and so on."""

T = TypeVar("T")
Latency = float | Callable[[str, str], float]


class MemoryNetwork:
    """Nodes that can only reach each other.

    `latency` is the time one way in seconds, or a function of two node names. `loss` is the share of chunks that are
    lost on their way: a stream is reliable, so loss makes that chunk and what follows it late, not absent. Both may
    be changed at any time.
    """

    def __init__(self, clock: Clock, *, latency: Latency = 0.01, loss: float = 0.0, seed: int = 0) -> None:
        self.clock = clock
        self.latency = latency
        self.loss = loss
        self.nodes: dict[str, Node] = {}
        self._seed = seed
        self._chance = Random(f"memory network {seed}")
        self._hosts: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._groups: dict[str, int] | None = None
        self._wires = Wires(self)

    # --------------------------------------------------------------------------------------------------- nodes

    def node(self, name: str, **options: Any) -> Node:
        """A node that is not started yet. `options` are those of `Config`; `bootstrap` may hold names of nodes.

        It keeps its identity and its store when it is stopped and started again. `node.clocks.ahead` moves its wall
        clock. ValueError if there is one of that name, unless it was stopped: a new one then takes its place, with
        an empty store.
        """
        if name in self.nodes and not self.nodes[name].stopped:
            raise ValueError(f"there is a node {name!r} already; stop it first")
        host, port = split_address(self.address(name))
        options.setdefault("host", host)
        options.setdefault("port", port)
        options["bootstrap"] = [
            each if ":" in each else self.address(each) for each in options.get("bootstrap", ())
        ]
        config = Config(**options)
        ahead = WALL_START if self.clock.seconds() < WALL_START / 2 else 0.0
        node = Node(
            self.clock,
            config,
            network=_Place(self._wires, self._host(name)),
            identity=self.identity(name),
            store=MemoryStore(self.clock, quota=config.quota, retention=config.retention),
            rng=Random(f"{name} {self._seed}"),
            clocks=Clocks(self.clock, ahead),
        )
        self.nodes[name] = node
        return node

    @staticmethod
    def identity(name: str) -> Identity:
        """The identity of the node of that name, the same in every network."""
        return Identity(hashlib.blake2b(f"positron.testing {name}".encode(), digest_size=32).digest())

    def address(self, name: str) -> str:
        """Where the node of that name listens; it need not exist yet."""
        if name not in self._hosts:
            number = len(self._hosts)
            host = f"10.0.{number // 250}.{number % 250 + 1}"
            self._hosts[name] = host
            self._names[host] = name
        return f"{self._hosts[name]}:8888"

    def stop(self) -> None:
        """Stop every node and let time pass until all of them have."""
        for node in self.nodes.values():
            self.wait(node.stopService())

    # ---------------------------------------------------------------------------------------------------- time

    def run(self, seconds: float) -> None:
        """Let time pass, from one delayed call to the next."""
        end = self.clock.seconds() + seconds
        while self._next_call() <= end:
            self._advance_to(self._next_call())
        self._advance_to(end)

    def wait(self, result: Deferred[T], seconds: float = 60.0) -> T:
        """Let time pass until `result` fires, and return or raise what it gives. AssertionError after `seconds`."""
        outcome: list[Any] = []
        result.addBoth(outcome.append)
        end = self.clock.seconds() + seconds
        while not outcome and self._next_call() <= end:
            self._advance_to(self._next_call())
        if not outcome:
            raise AssertionError(f"nothing came of it within {seconds} virtual seconds")
        if isinstance(outcome[0], Failure):
            outcome[0].raiseException()
        found: T = outcome[0]
        return found

    def _next_call(self) -> float:
        return min((call.getTime() for call in self.clock.getDelayedCalls()), default=float("inf"))

    def _advance_to(self, moment: float) -> None:
        # Not by a difference: rounding could fall short of the call that is due.
        self.clock.rightNow = max(self.clock.rightNow, moment)
        self.clock.advance(0)

    # ------------------------------------------------------------------------------------------------- trouble

    def partition(self, *groups: Iterable[str]) -> None:
        """Let nothing pass between these groups of names; everybody else is a group of its own.

        As in a real network nobody is told: what is sent waits, and arrives after `heal` where a link still stands.
        """
        self._groups = {self._host(name): number for number, group in enumerate(groups, 1) for name in group}

    def heal(self) -> None:
        """Let everything pass again."""
        self._groups = None
        for pipe in list(self._wires.pipes):
            pipe.arm()

    def _host(self, name: str) -> str:
        return split_address(self.address(name))[0]

    def reaches(self, source: str, target: str) -> bool:
        """Whether anything passes from one host to another at present."""
        return self._groups is None or self._groups.get(source, 0) == self._groups.get(target, 0)

    def delay(self, source: str, target: str) -> float:
        """How long the next chunk takes from one host to another."""
        latency = self.latency
        delay = latency(self._names[source], self._names[target]) if callable(latency) else latency
        late = RETRANSMIT_SECONDS
        while self._chance.random() < self.loss:
            delay += late
            late *= 2
        return delay


class _Place:
    """Where one node stands in the network: its `positron.services.network.Network`."""

    def __init__(self, wires: Wires, host: str) -> None:
        self._wires = wires
        self._host = host
        self._ports = count(49152)

    def servers(self, config: Config) -> list[IStreamServerEndpoint]:
        """One endpoint, whatever the options say of hosts."""
        return [MemoryServer(self._wires, f"{self._host}:{config.port}")]

    def client(self, address: str) -> IStreamClientEndpoint:
        """The endpoint that connects to `address`."""
        split_address(address)
        return MemoryClient(self._wires, IPv4Address("TCP", self._host, next(self._ports)), address)
