"""What a broadcast costs where its author reaches everybody himself: nothing is relayed in vain there."""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from positron.simulation.latencies import Latency, Numbered, steady
from positron.simulation.world import World, WorldNode
from tests.simulation.networks import mesh


def duplicates(nodes: list[WorldNode]) -> int:
    """How many copies came to nodes that had the envelope."""
    return sum(
        node.swarm.stats().counters.get("rejected:duplicate", 0) for node in nodes if node.swarm is not None
    )


def uneven(_sender: Numbered, _receiver: Numbered, rng: Random) -> float:
    """Delays like those of processes of one computer: each link has its own, and a detour may be faster by a hair."""
    return 0.0001 + 0.001 * rng.random()


class OneAuthorTests(SynchronousTestCase):
    """One of the nodes says a hundred messages a second, over links of half a millisecond if nothing else is said."""

    def copies(
        self,
        count: int,
        latency: Latency = steady(0.0005),  # noqa: B008 - it has no state
        settling: int = 1,
    ) -> list[float]:
        """Copies too many for each message and node that is owed it, while it settles and in the next two seconds."""
        world = World(3, latency=latency)
        nodes = mesh(world, count)
        found = []
        for seconds in (settling, 2):
            before = duplicates(nodes)
            for _ in range(100 * seconds):
                nodes[1].publish("t", b"%f" % world.now)
                world.run(0.01)
            found.append((duplicates(nodes) - before) / (100 * seconds) / (count - 1))
        world.run(10)
        self.assertEqual([len(node.delivered) for node in nodes], [100 * (settling + 2)] * count)
        return found

    def test_five(self) -> None:
        """After a second each node has one source, the author, and nobody else pushes."""
        first, later = self.copies(5)
        self.assertLess(first, 2.0)
        self.assertEqual(later, 0.0)

    def test_detours(self) -> None:
        """A copy that came around faster than the author's own, by a hair, keeps nobody as a source of it."""
        first, later = self.copies(5, uneven, settling=4)
        self.assertLess(first, 1.0)
        self.assertEqual(later, 0.0)

    def test_nothing_comes_back(self) -> None:
        """Nobody pushes to an author what it said, though its own copy comes later than one that came around."""
        world = World(3, latency=uneven)
        nodes = mesh(world, 5)
        for author in nodes:
            before, all_before = duplicates([author]), duplicates(nodes)
            for _ in range(50):
                author.publish("t", b"%f" % world.now)
                world.run(0.01)
            self.assertEqual(duplicates([author]), before)
            self.assertGreater(duplicates(nodes), all_before)

    def test_announcements_are_few(self) -> None:
        """Where all comes from the author, four pushes of a message are nearly all that is sent."""
        world = World(3, latency=steady(0.0005))
        nodes = mesh(world, 5)
        for _ in range(5):
            before = sum(node.frames_out for node in nodes)
            for _ in range(100):
                nodes[1].publish("t", b"%f" % world.now)
                world.run(0.01)
        self.assertLess(sum(node.frames_out for node in nodes) - before, 480)

    def test_an_author_that_breaks_down(self) -> None:
        """What one neighbour alone got of a lone author's last words the others ask for, within a second."""
        world = World(3, latency=steady(0.0005))
        nodes = mesh(world, 5)
        for _ in range(200):
            nodes[1].publish("t", b"%f" % world.now)
            world.run(0.01)
        for channel in list(nodes[1].channels.values())[1:]:
            world.lose(channel, "test")
        nodes[1].publish("t", b"last words")
        world.run(0.001)
        nodes[1].kill()
        world.run(1.0)
        self.assertEqual(
            [node.delivered[-1].entries[0][1] for node in nodes if node is not nodes[1]], [b"last words"] * 4
        )

    def test_ten(self) -> None:
        """Where not everybody is linked to the author, there is about one copy too many for two nodes."""
        first, later = self.copies(10)
        self.assertLess(first, 2.5)
        self.assertLess(later, 0.6)
