"""Whole cores in virtual time: whoever missed something gets it, and then there is silence."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from positron.core.envelope import BROADCAST, Sealer, encode_entries, network_id_of
from positron.core.messages import PUSH_TAG, Have, Sync, Want, push_frame
from positron.simulation.world import EPOCH_WALL, World, WorldNode
from tests.simulation.networks import Crowd, inject, mesh


class CatchingUpTests(SynchronousTestCase):
    """Late joiners and healed partitions."""

    def test_a_late_joiner_gets_what_it_missed(self) -> None:
        """A node born after 600 messages of six authors has them all within seconds, as history."""
        world = World(11)
        nodes = mesh(world, 6)
        crowd = Crowd(world, nodes)
        for node in nodes:
            for _ in range(100):
                crowd.say(node)
                world.run(0.01)
        world.run(15)
        late = world.node(bootstrap=(nodes[0].address,))
        held = [0]

        def has_all() -> bool:
            held[0] = sum(kept.count for kept in late.kept.envelopes.values())
            return held[0] >= 600

        self.assertTrue(world.run(20, has_all), held)
        history = [payload for d in late.delivered if d.history for _, payload in d.entries]
        self.assertEqual(sorted(history), sorted(p for said in crowd.said.values() for p in said))

    def test_a_partition_heals(self) -> None:
        """Two halves that both went on publishing for a minute have everything soon after the cut is gone."""
        world = World(12)
        nodes = mesh(world, 10)
        crowd = Crowd(world, nodes)
        crowd.chatter(20)
        world.partition(nodes[:5], nodes[5:])
        for _ in range(60):
            crowd.chatter(2, 0.5)
        world.heal()
        done = world.run(40, lambda: crowd.report().delivered == crowd.report().owed)
        self.assertTrue(done, crowd.report().faults)
        self.assertTrue(crowd.report().is_clean, crowd.report().faults)

    def test_after_a_sync_there_is_silence(self) -> None:
        """When everybody has everything, a minute brings no WANT, no PUSH, no HAVE, and a few bytes of SYNC a node."""
        world = World(13)
        nodes = mesh(world, 8)
        crowd = Crowd(world, nodes)
        crowd.chatter(100)
        world.run(20)
        before = [dict(node.bytes_out) for node in nodes]
        world.run(60)
        for node, old in zip(nodes, before, strict=True):
            for tag in (PUSH_TAG, Have.TAG, Want.TAG):
                self.assertEqual(node.bytes_out.get(tag, 0), old.get(tag, 0))
            self.assertLess(node.bytes_out[Sync.TAG] - old[Sync.TAG], 60 / 5 * 200 * 2)


def sealed(author: WorldNode, seq: int, body: bytes, life: float = 3600.0) -> bytes:
    """A frame that pushes an envelope of a second epoch of `author`, made outside its core."""
    now_ms = int((author.world.now + EPOCH_WALL) * 1000)
    envelope = Sealer(network_id_of("positron")).seal(
        author.identity,
        BROADCAST,
        epoch=int(EPOCH_WALL * 1000) + 60_000,
        seq=seq,
        created_ms=now_ms,
        expires_ms=now_ms + int(life * 1000),
        ttl=16,
        body=body,
    )
    return push_frame(0, envelope.raw)


class SilenceTests(SynchronousTestCase):
    """Six nodes, each with a view of its own of some envelopes: they agree to differ, and fall silent."""

    def setUp(self) -> None:
        self.world = World(14)
        self.nodes = mesh(self.world, 6, min_peers=5)
        self.crowd = Crowd(self.world, self.nodes)
        self.crowd.chatter(50)
        self.world.run(20)

    def push(self, frame: bytes, to: list[WorldNode]) -> None:
        """The first node pushes it to each of these."""
        for node in to:
            inject(node, self.nodes[0], frame)

    def check_silence(self, among: list[WorldNode] | None = None, exchange: int = 200) -> None:
        """After a while a minute brings no WANT, no PUSH, no HAVE, and so many bytes of SYNC for each exchange."""
        self.world.run(60)
        nodes = among or self.nodes
        before = [dict(node.bytes_out) for node in nodes]
        self.world.run(60)
        for node, old in zip(nodes, before, strict=True):
            for tag in (PUSH_TAG, Have.TAG, Want.TAG):
                self.assertEqual(node.bytes_out.get(tag, 0), old.get(tag, 0), (node.number, tag))
            self.assertLess(node.bytes_out[Sync.TAG] - old[Sync.TAG], 60 / 5 * exchange * 2)

    def test_equivocating(self) -> None:
        """Two envelopes of one number, each first at half of the nodes."""
        for seq in range(1, 20):
            for word, to in ((b"yes", self.nodes[1:3]), (b"no", self.nodes[3:])):
                self.push(sealed(self.nodes[0], seq, encode_entries([("t", word)])), to)
        self.world.run(30)
        for node in self.nodes[1:]:
            self.assertTrue(node.kept.stubs)
        self.check_silence()

    def test_a_newcomer(self) -> None:
        """What everybody else refused for good is shown to a node that never saw it, which stops asking for it."""
        for word, to in ((b"yes", self.nodes[1:3]), (b"no", self.nodes[3:])):
            self.push(sealed(self.nodes[0], 1, encode_entries([("t", word)])), to)
        self.world.run(20)
        self.assertTrue(all(node.kept.stubs for node in self.nodes))
        late = self.world.node(bootstrap=(self.nodes[1].address,))
        self.world.run(10)
        self.assertEqual(late.kept.stubs, {})
        self.check_silence([*self.nodes, late], exchange=500)

    def test_expired(self) -> None:
        """Envelopes that end at any time of a sync, while clocks differ by a second."""
        late = self.world.node(bootstrap=(self.nodes[0].address,), skew=-1.0)
        self.world.run(10)
        nodes = [*self.nodes, late]
        for seq in range(1, 100):
            body = encode_entries([("t", b"%d" % seq)])
            self.push(sealed(self.nodes[0], seq, body, 1.0 + seq / 3), [self.nodes[1 + seq % 5]])
            self.world.run(0.1)
        self.check_silence(nodes)

    def test_pruned(self) -> None:
        """A node that has no room for what all others hold does not ask for it again."""
        small = self.world.node(bootstrap=(self.nodes[0].address,), quota=100_000)
        self.world.run(10)
        for number in range(200):
            self.nodes[number % 6].publish("t", b"%d" % number + bytes(2_000))
            self.world.run(0.05)
        self.assertLess(len(small.kept.envelopes), len(self.nodes[1].kept.envelopes))
        self.check_silence([*self.nodes, small])

    def test_refused(self) -> None:
        """A node that refuses an author whom all others hear, for good, does not ask for it again."""
        members = frozenset(self.world.identity(number).node_id for number in range(1, 8))
        narrow = self.world.node(bootstrap=(self.nodes[0].address,), members=members)
        stranger = self.world.node(bootstrap=(self.nodes[0].address,))
        self.world.run(10)
        for number in range(20):
            stranger.publish("t", b"%d" % number)
        self.world.run(20)
        for node in self.nodes:
            heard = [d.entries for d in node.delivered if d.author == stranger.node_id]
            self.assertEqual(sum(map(len, heard)), 20)
        self.assertFalse([d for d in narrow.delivered if d.author == stranger.node_id])
        self.assertTrue(narrow.kept.stubs)
        self.check_silence([*self.nodes, narrow, stranger])
