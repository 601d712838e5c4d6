"""What a broadcast costs where its author reaches everybody himself: nothing is relayed in vain there."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from positron.simulation.latencies import steady
from positron.simulation.world import World, WorldNode
from tests.simulation.networks import mesh


def duplicates(nodes: list[WorldNode]) -> int:
    """How many copies came to nodes that had the envelope."""
    return sum(
        node.swarm.stats().counters.get("rejected:duplicate", 0) for node in nodes if node.swarm is not None
    )


class OneAuthorTests(SynchronousTestCase):
    """One of the nodes says a hundred messages a second, over links of half a millisecond."""

    def copies(self, count: int) -> list[float]:
        """Copies too many for each message and each node that is owed it, in the first second and the next two."""
        world = World(3, latency=steady(0.0005))
        nodes = mesh(world, count)
        found = []
        for seconds in (1, 2):
            before = duplicates(nodes)
            for _ in range(100 * seconds):
                nodes[1].publish("t", b"%f" % world.now)
                world.run(0.01)
            found.append((duplicates(nodes) - before) / (100 * seconds) / (count - 1))
        world.run(10)
        self.assertEqual([len(node.delivered) for node in nodes], [300] * count)
        return found

    def test_five(self) -> None:
        """After a second each node has one source, the author, and nobody else pushes."""
        first, later = self.copies(5)
        self.assertLess(first, 2.0)
        self.assertEqual(later, 0.0)

    def test_ten(self) -> None:
        """Where not everybody is linked to the author, there is about one copy too many for two nodes."""
        first, later = self.copies(10)
        self.assertLess(first, 2.5)
        self.assertLess(later, 0.6)
