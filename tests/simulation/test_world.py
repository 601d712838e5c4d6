"""What a world costs, and what its nodes find on their disks."""

from __future__ import annotations

import gc

from twisted.trial.unittest import SynchronousTestCase

from positron.core.envelope import BROADCAST, EnvelopeError, Sealer, network_id_of
from positron.core.messages import Hello
from positron.core.records import PeerForgotten, PeerKept
from positron.simulation.channel import Channel
from positron.simulation.cheap import CheapSigner
from positron.simulation.kept import MANY_PEERS, Kept
from positron.simulation.latencies import steady
from positron.simulation.network import PositronNetwork
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


class SharingTests(SynchronousTestCase):
    def test_same_bytes_are_one_envelope(self) -> None:
        """Nodes share what they read; other bytes under the same id, as a forger sends, are another envelope, and what
        is none raises as ever."""
        world = World(3)
        network = network_id_of("positron")
        one, other = world.make_sealer(network), world.make_sealer(network)
        sealed = Sealer(network).seal(
            CheapSigner(1), BROADCAST, epoch=1, seq=1, created_ms=1, expires_ms=2, ttl=1, body=b"body"
        )
        copy = bytes(bytearray(sealed.raw))
        first = one.parse(copy)
        self.assertIs(other.parse(bytes(bytearray(copy))), first)
        forged = copy[:-1] + bytes([copy[-1] ^ 1])
        second = other.parse(forged)
        self.assertEqual((second.id, second.raw), (first.id, forged))
        self.assertIs(one.parse(copy), first)
        self.assertRaises(EnvelopeError, one.parse, b"short")


class FormationTests(SynchronousTestCase):
    def formed(self, liars: list[int]) -> PositronNetwork:
        """200 nodes."""
        return PositronNetwork(nodes=200, latency=steady(0.05), loss=0.0, seed=5, born={"lying": liars})

    def test_nobody_is_sent_from_door_to_door(self) -> None:
        """Eight dials a node are enough, for those it hears of have room; each costs two HELLOs."""
        world = self.formed([]).world
        hellos = sum(node.frames_by_tag[Hello.TAG] for node in world.nodes)
        self.assertLess(hellos / len(world.nodes), 17)
        self.assertGreaterEqual(min(len(node.links) for node in world.nodes), 8)

    def test_no_liar_is_a_bootstrap(self) -> None:
        """Who lies from its birth on is nobody's first acquaintance; the others are many a newcomer's."""
        liars = list(range(1, 100, 2))
        nodes = self.formed(liars).world.nodes
        named = {address for node in nodes for address in node.parameters.bootstrap}
        self.assertFalse(named & {nodes[liar].address for liar in liars})
        self.assertGreater(len(named), 30)


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
