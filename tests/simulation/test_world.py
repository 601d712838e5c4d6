"""What a world costs, and what its nodes find on their disks."""

from __future__ import annotations

import gc

from twisted.trial.unittest import SynchronousTestCase

from positron.core.records import PeerForgotten, PeerKept
from positron.simulation.channel import Channel
from positron.simulation.kept import MANY_PEERS, Kept
from positron.simulation.world import World
from tests.simulation.networks import mesh


class MemoryTests(SynchronousTestCase):
    def test_closed_channels_are_freed(self) -> None:
        """Without the collector of cycles, which rests while a network is simulated."""
        self.addCleanup(gc.enable)
        gc.collect()
        gc.disable()
        before = sum(type(each) is Channel for each in gc.get_objects())
        world = World(3)
        nodes = mesh(world, 6, max_peers=4)
        nodes[1].kill()
        nodes[2].stop()
        nodes[3].go_dark()
        world.run(60)
        nodes[3].start()
        world.run(20)
        standing = sum(len(node.channels) for node in nodes)
        self.assertGreater(standing, 0)
        self.assertEqual(sum(type(each) is Channel for each in gc.get_objects()) - before, standing)

    def test_a_record_is_held_once(self) -> None:
        """All nodes that were told the same address record share it."""
        world = World(3)
        nodes = mesh(world, 5)
        told = [node.swarm._book.get(nodes[0].node_id).kept.record for node in nodes[1:] if node.swarm]
        self.assertEqual(len(told), 4)
        self.assertTrue(told[0])
        self.assertTrue(all(record is told[0] for record in told))


class KeptTests(SynchronousTestCase):
    def test_peers(self) -> None:
        """The last word about each peer counts, and one that was forgotten is not there, however often it was told."""
        kept = Kept()
        for round in range(3 * MANY_PEERS):
            kept.remember(PeerKept(b"%d" % (round % 40), (f"8.1.1.{round}:9000",), record_seq=round))
        kept.remember(PeerForgotten(b"7"))
        loaded = {peer.node_id: peer.record_seq for peer in kept.loaded(1).peers}
        newest = {b"%d" % (round % 40): round for round in range(3 * MANY_PEERS)}
        del newest[b"7"]
        self.assertEqual(loaded, newest)
        self.assertLess(len(kept._peers), MANY_PEERS + 2 * 40)
