"""Networks that several tests start from."""

from __future__ import annotations

from typing import Any

from positron.core.events import Received
from positron.simulation.checker import Report, check
from positron.simulation.world import World, WorldNode


def mesh(world: World, count: int, **parameters: Any) -> list[WorldNode]:
    """So many nodes, the first of them everybody's bootstrap, played until each has its links."""
    first = world.node(**parameters)
    rest = [world.node(bootstrap=(first.address,), **parameters) for _ in range(count - 1)]
    world.run(20)
    return [first, *rest]


def chain(world: World, count: int, **parameters: Any) -> list[WorldNode]:
    """Nodes in a row: each is linked to the one before it and to the one behind it, and to nobody else."""
    nodes = [world.node(discovery=False, **parameters)]
    for _ in range(count - 1):
        nodes.append(world.node(discovery=False, bootstrap=(nodes[-1].address,), **parameters))
    world.run(5)
    return nodes


class Crowd:
    """Publishes and remembers what was published, by author."""

    def __init__(self, world: World, nodes: list[WorldNode]) -> None:
        self.world = world
        self.nodes = nodes
        self.said: dict[bytes, list[bytes]] = {}
        self._count = 0

    def say(self, node: WorldNode, count: int = 1) -> None:
        """`node` publishes `count` messages, each by itself."""
        for _ in range(count):
            self._count += 1
            payload = b"message %d" % self._count
            node.publish("t", payload)
            self.said.setdefault(node.node_id, []).append(payload)

    def chatter(self, count: int, gap: float = 0.02) -> None:
        """`count` messages from random nodes, `gap` seconds apart."""
        for _ in range(count):
            self.say(self.world.rng.choice(self.nodes))
            self.world.run(gap)

    def report(self, nodes: list[WorldNode] | None = None) -> Report:
        """What came of it."""
        return check(self.world, self.nodes if nodes is None else nodes, self.said)


def inject(node: WorldNode, link_to: WorldNode, frame: bytes) -> None:
    """Make `node` hear `frame` on its link to `link_to`, as if that had sent it."""
    for number, channel in list(node.channels.items()):
        if channel.other is not None and channel.other.node is link_to:
            node.step(Received(number, [frame]))
            return
    raise AssertionError("there is no such link")
