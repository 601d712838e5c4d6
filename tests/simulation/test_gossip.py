"""Whole cores in virtual time: what the protocol promises of broadcasts."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from positron.core import messages
from positron.core.envelope import BROADCAST, Sealer, encode_entries, network_id_of
from positron.core.messages import PUSH_TAG
from positron.core.notices import Gap, Recovered, Refused
from positron.simulation.latencies import lognormal, steady
from positron.simulation.world import EPOCH_WALL, World, WorldNode
from tests.simulation.networks import Crowd, chain, inject, mesh

STRIDE = int(os.environ.get("POSITRON_TEST_STRIDE", "7"))
"""Every how many-th byte of an envelope is damaged; `make drill` damages every bit of every byte."""

BITS = range(8) if STRIDE == 1 else range(1)


def flip(frame: bytes, byte: int, bit: int) -> bytes:
    """That bit of that byte is the other way round."""
    return frame[:byte] + bytes([frame[byte] ^ 1 << bit]) + frame[byte + 1 :]


def forge(
    author: WorldNode,
    seq: int,
    text: bytes,
    *,
    network: str = "positron",
    created: float = 0.0,
    life: float = 3600.0,
) -> bytes:
    """An envelope signed by `author`, made outside its core; `created` is seconds from the world's now."""
    now_ms = int((author.world.now + EPOCH_WALL + created) * 1000)
    sealed = Sealer(network_id_of(network)).seal(
        author.identity,
        BROADCAST,
        epoch=now_ms,
        seq=seq,
        created_ms=now_ms,
        expires_ms=now_ms + int(life * 1000),
        ttl=16,
        body=encode_entries([("t", text)]),
    )
    return sealed.raw


class MeshTests(SynchronousTestCase):
    """Twelve nodes that found each other."""

    def setUp(self) -> None:
        """A mesh over links of various lengths."""
        self.world = World(1, latency=lognormal(0.030, 0.5))
        self.nodes = mesh(self.world, 12)
        self.crowd = Crowd(self.world, self.nodes)

    def assertComplete(self) -> None:
        """Everything everywhere, once."""
        report = self.crowd.report()
        self.assertTrue(report.is_clean, report.faults)

    def test_everything_everywhere_once_in_order(self) -> None:
        """What random nodes publish arrives at all, each message exactly once, in order per author."""
        self.crowd.chatter(200)
        self.world.run(5)
        self.assertComplete()
        self.assertEqual(sum(isinstance(n, Gap) for node in self.nodes for n in node.notices), 0)

    def test_a_burst_is_bundled(self) -> None:
        """A hundred messages published in one turn cost far fewer than a hundred envelopes."""
        before = self.nodes[3].frames_out
        self.crowd.say(self.nodes[3], 100)
        self.world.run(5)
        self.assertComplete()
        self.assertLess(self.nodes[3].frames_out - before, 100)

    def test_large_envelopes_come_from_one_source(self) -> None:
        """Sixty kilobytes reach everybody, and each node gets hardly more than one copy."""
        before = sum(node.bytes_out.get(PUSH_TAG, 0) for node in self.nodes)
        size = 60_000
        self.nodes[3].publish("t", bytes(size))
        self.world.run(5)
        self.assertEqual([len(node.delivered) for node in self.nodes], [1] * len(self.nodes))
        sent = sum(node.bytes_out.get(PUSH_TAG, 0) for node in self.nodes) - before
        self.assertLess(sent, 2.5 * size * len(self.nodes))

    def test_what_is_said_while_a_link_comes_up_is_heard(self) -> None:
        """A plain subscriber of a new node hears what an older one says from when the new one counts it as linked."""
        world = World(32, latency=steady(0.050))
        newer = world.node(start=False, secrets=(b"s" * 16,))
        older = world.node(bootstrap=(newer.address,), secrets=(b"s" * 16,))
        older.publish("t", b"before")
        world.run(5)
        newer.start()
        while not newer.links:
            world.run(0.005)
        self.assertEqual(older.links, [])  # it dialled, so its proof came first and the other answered it
        for number in range(20):
            older.publish("t", b"%d" % number)
            world.run(0.004)
        world.run(5)
        heard = [payload for d in newer.delivered if not d.history for _, payload in d.entries]
        self.assertEqual(heard, [b"%d" % number for number in range(20)])
        self.assertFalse(any(d.late for d in newer.delivered))

    def test_a_lone_author_is_never_pulled_from(self) -> None:
        """One node that publishes now and then pushes every time: nobody has to ask for what it said."""
        world = World(31, latency=steady(0.0003))
        nodes = mesh(world, 5)
        for number in range(100):
            nodes[2].publish("t", b"%d" % number)
            world.run(0.2)
        wanted = sum(node.bytes_out.get(messages.Want.TAG, 0) for node in nodes)
        self.assertEqual(wanted, 0)
        late = max(d.received - d.created_ms / 1000 for node in nodes for d in node.delivered)
        self.assertLess(late, 0.01)

    def test_lost_pushes_are_pulled(self) -> None:
        """When a third of all pushes vanish, announcements, pulls and anti-entropy still bring everything."""
        rng = self.world.rng

        def lossy(_to: WorldNode, frame: bytes) -> bytes | None:
            return None if frame[0] == PUSH_TAG and rng.random() < 0.33 else frame

        for node in self.nodes:
            node.tamper = lossy
        self.crowd.chatter(100)
        for node in self.nodes:
            node.tamper = None
        self.world.run(30)
        self.assertComplete()

    def test_gap_is_told_and_recovered(self) -> None:
        """A node that misses one envelope for longer than the hold-back hears of the gap, then of its recovery."""
        victim, author = self.nodes[5], self.nodes[2]
        self.crowd.say(author)
        self.world.run(1)
        hidden: set[bytes] = set()

        def hide(to: WorldNode, frame: bytes) -> bytes | None:
            if to is victim and frame[0] in (PUSH_TAG, messages.Have.TAG, messages.Sync.TAG):
                if any(secret in frame for secret in hidden):
                    return None
            return frame

        for node in self.nodes:
            node.tamper = hide
        hidden.add(b"message 2")
        self.crowd.say(author)
        self.world.run(0.001)
        spread = next(reversed(author.swarm.gossip.holdings.recent)) if author.swarm else b""
        hidden.add(spread)
        self.world.run(0.2)
        self.crowd.say(author)
        self.world.run(4)
        gaps = [notice for notice in victim.notices if isinstance(notice, Gap)]
        self.assertEqual([(gap.first_seq, gap.last_seq) for gap in gaps], [(2, 2)])
        hidden.clear()
        self.world.run(20)
        self.assertComplete()
        found = [notice for notice in victim.notices if isinstance(notice, Recovered)]
        self.assertEqual([(notice.first_seq, notice.last_seq) for notice in found], [(2, 2)])
        self.assertEqual([d.seq for d in victim.delivered if d.late], [2])

    def test_a_teaser_is_charged(self) -> None:
        """A node that announces and never delivers loses trust at those who asked it, and nothing is lost."""
        teaser = self.nodes[4]
        teaser.tamper = lambda _to, frame: None if frame[0] == PUSH_TAG else frame
        quiet = [node for node in self.nodes if node is not teaser]
        self.crowd.nodes = quiet
        self.crowd.chatter(300, 0.1)
        self.world.run(20)
        report = self.crowd.report()
        self.assertTrue(report.is_clean, report.faults)

    def test_equivocation_is_muted_everywhere(self) -> None:
        """Two envelopes under one number: everybody hears of it, and nobody hears the author again."""
        liar, left, right = self.nodes[0], self.nodes[1], self.nodes[2]
        one, two = forge(liar, 1, b"yes"), forge(liar, 1, b"no")
        inject(left, liar, messages.push_frame(0, one))
        inject(right, liar, messages.push_frame(0, two))
        self.world.run(10)
        inject(left, liar, messages.push_frame(0, forge(liar, 2, b"more")))
        self.world.run(5)
        for node in self.nodes[1:]:
            heard = [d.entries[0][1] for d in node.delivered if d.author == liar.node_id]
            self.assertIn(heard, ([b"yes"], [b"no"]))

    def test_an_equivocator_stays_muted_over_a_restart(self) -> None:
        """A node that is born again still does not hear an author that said two things under one number."""
        liar, witness = self.nodes[0], self.nodes[1]
        inject(witness, liar, messages.push_frame(0, forge(liar, 1, b"yes")))
        inject(witness, liar, messages.push_frame(0, forge(liar, 1, b"no")))
        self.world.run(2)
        witness.kill()
        witness.start()
        self.world.run(15)
        inject(witness, liar, messages.push_frame(0, forge(liar, 2, b"more")))
        self.world.run(2)
        heard = [d.entries[0][1] for d in witness.delivered if d.author == liar.node_id]
        self.assertEqual(heard, [b"yes"])

    def test_restart_repeats_nothing_and_catches_up(self) -> None:
        """A node that is killed and born again keeps its id, hears what it missed, and repeats nothing."""
        node = self.nodes[7]
        self.crowd.say(node, 3)
        self.crowd.chatter(30)
        self.world.run(3)
        epoch = node.kept.epoch
        node.kill()
        others = [each for each in self.nodes if each is not node]
        self.crowd.nodes = others
        self.crowd.chatter(50)
        self.world.run(20)
        node.start()
        self.world.run(20)
        self.assertGreater(node.kept.epoch, epoch)
        self.crowd.nodes = self.nodes
        self.crowd.chatter(30)
        self.world.run(10)
        self.assertComplete()


class ChainTests(SynchronousTestCase):
    """Four nodes in a row, linked to their neighbors alone."""

    def setUp(self) -> None:
        """A - B - C - D."""
        self.world = World(2)
        self.nodes = chain(self.world, 4)
        self.crowd = Crowd(self.world, self.nodes)

    def rejected(self, node: WorldNode) -> dict[str, int]:
        """What this node refused, by reason."""
        assert node.swarm is not None
        return node.swarm.stats().rejected

    def test_a_chain_relays(self) -> None:
        """What one end says arrives at the other, with its hops counted."""
        self.assertEqual([len(node.links) for node in self.nodes], [1, 2, 2, 1])
        self.crowd.say(self.nodes[0])
        self.world.run(3)
        report = self.crowd.report()
        self.assertTrue(report.is_clean, report.faults)
        self.assertEqual([node.delivered[0].hops for node in self.nodes], [0, 1, 2, 3])

    def test_ttl_bounds_pushes_not_delivery(self) -> None:
        """Beyond its ttl an envelope is only announced, and arrives all the same."""
        world = World(3)
        nodes = chain(world, 5, ttl=1)
        crowd = Crowd(world, nodes)
        crowd.say(nodes[0])
        world.run(10)
        report = crowd.report()
        self.assertTrue(report.is_clean, report.faults)

    def test_a_flipped_bit_is_refused_and_the_link_cut(self) -> None:
        """A byte damaged at hop 1 or at hop 3: refused there; cut, unless only time or number moved."""
        for relay, judge in ((0, 1), (2, 3)):
            self.sweep(relay, judge)

    def sweep(self, relay: int, judge: int) -> None:
        """Damage what `relay` pushes to `judge`, bit after bit, each in a chain of its own."""
        size = len(forge(self.nodes[0], 1, b"x"))
        for byte in range(2, 2 + size, STRIDE):
            for bit in BITS:
                self.damage(relay, judge, byte, bit)

    def damage(self, relay: int, judge: int, byte: int, bit: int) -> None:
        """One bit of one byte: refused for one reason, heard nowhere behind, cut unless nobody was to blame."""
        world = World(byte)
        nodes = chain(world, 4)
        nodes[relay].tamper = lambda _to, frame: flip(frame, byte, bit) if frame[0] == PUSH_TAG else frame
        nodes[0].publish("t", b"x")
        world.run(2)
        where = f"byte {byte}, bit {bit}"
        refused = self.rejected(nodes[judge])
        self.assertEqual(nodes[judge].delivered, [], where)
        self.assertEqual(len(refused), 1, f"{where}: {refused}")
        blameless = set(refused) & {"future", "expired", "old", "replay", "unknown"}
        linked = nodes[relay].node_id in nodes[judge].links
        self.assertEqual(linked, bool(blameless), f"{where}: {refused}")

    def test_each_refusal_is_counted_by_its_reason(self) -> None:
        """Foreign, unsigned, future, expired and replayed envelopes are refused, and nobody hears them."""
        a, b = self.nodes[0], self.nodes[1]
        good = forge(a, 1, b"good")
        cases = {
            "future": forge(a, 1, b"later", created=60.0),
            "expired": forge(a, 1, b"late", created=-30.0, life=10.0),
            "old": forge(a, 1, b"older", created=-30 * 3600.0, life=7 * 24 * 3600.0),
        }
        inject(b, a, messages.push_frame(0, good))
        for reason, raw in cases.items():
            inject(b, a, messages.push_frame(0, raw))
            self.assertEqual(self.rejected(b).get(reason), 1, reason)
        inject(b, a, messages.push_frame(0, good))
        stats = b.swarm.stats() if b.swarm else None
        assert stats is not None
        self.assertEqual(stats.duplicate, 1)
        self.assertIn(a.node_id, b.links)
        inject(b, a, messages.push_frame(0, forge(a, 9, b"foreign", network="another")))
        self.assertEqual(self.rejected(b).get("signature"), 1)
        self.world.run(2)
        self.assertNotIn(a.node_id, b.links)
        for node in self.nodes[1:]:
            self.assertEqual([d.entries[0][1] for d in node.delivered], [b"good"])

    def test_the_author_is_told_why(self) -> None:
        """A node whose clock is ahead hears from its neighbor that its envelope came from the future."""
        world = World(4)
        first = world.node()
        skewed = world.node(bootstrap=(first.address,), skew=60.0)
        world.run(5)
        skewed.publish("t", b"x")
        world.run(2)
        told = [notice for notice in skewed.notices if isinstance(notice, Refused)]
        self.assertEqual([notice.reason for notice in told], ["future"])


class DirectTests(SynchronousTestCase):
    """Messages to one node."""

    def setUp(self) -> None:
        """A - B - C - D."""
        self.world = World(5)
        self.nodes = chain(self.world, 4)

    def send(self, sender: WorldNode, recipient: bytes, timeout: float = 5.0) -> int:
        """Send `secret`; the token."""
        from positron.core.events import SendDirect

        token = sender.world.token()
        sender.step(SendDirect(token, recipient, b"secret", timeout))
        return token

    def test_it_reaches_only_its_target(self) -> None:
        """A node three links away gets it once, the relays cannot read it, and the sender hears the receipt."""
        token = self.send(self.nodes[0], self.nodes[3].node_id)
        self.world.run(3)
        self.assertIsNone(self.nodes[0].settled[token].error)
        heard = [[d.entries[0][1] for d in node.delivered if d.direct] for node in self.nodes]
        self.assertEqual(heard, [[], [], [], [b"secret"]])

    def test_a_neighbor_gets_it_over_the_link_alone(self) -> None:
        """Nobody else sees even the envelope when there is a link."""
        self.send(self.nodes[1], self.nodes[2].node_id)
        self.world.run(3)
        self.assertEqual(self.nodes[3].swarm.stats().counters.get("rejected:duplicate"), None)  # type: ignore[union-attr]
        self.assertEqual([d.entries[0][1] for d in self.nodes[2].delivered], [b"secret"])
        self.assertEqual(self.nodes[0].delivered, [])

    def test_a_link_that_comes_later_carries_it(self) -> None:
        """What was sent before there was any link arrives over the one that comes up within its time."""
        world = World(8)
        here = world.node(discovery=False)
        there = world.node(discovery=False, bootstrap=(here.address,), start=False)
        token = self.send(here, there.node_id)
        world.run(1)
        there.start()
        world.run(3)
        self.assertEqual([d.entries[0][1] for d in there.delivered], [b"secret"])
        self.assertIsNone(here.settled[token].error)

    def test_a_lost_receipt_is_given_again(self) -> None:
        """The receipt got lost with the link: when there is one again, the sender hears it, and nothing comes twice."""
        sender, target = self.nodes[1], self.nodes[2]
        target.tamper = lambda _to, frame: None if frame[0] == PUSH_TAG else frame
        token = self.send(sender, target.node_id, 30.0)
        self.world.run(1)
        self.assertNotIn(token, sender.settled)
        target.tamper = None
        for channel in list(sender.channels.values()):
            self.world.close(channel, "cut")
        self.world.run(20)
        self.assertIsNone(sender.settled[token].error)
        self.assertEqual([d.entries[0][1] for d in target.delivered], [b"secret"])

    def test_failure_is_told(self) -> None:
        """To a node that is not there: an error, after the timeout."""
        token = self.send(self.nodes[0], World(9).node(start=False).node_id[:31] + b"\x05", 2.0)
        other = self.send(
            self.nodes[0], WorldNode(self.world, 77, self.nodes[0].parameters, 0.0).node_id, 2.0
        )
        self.world.run(1)
        self.assertNotIn(other, self.nodes[0].settled)
        self.world.run(2)
        self.assertEqual(self.nodes[0].settled[other].error.code, "timeout")  # type: ignore[union-attr]
        self.assertIsNotNone(self.nodes[0].settled[token].error)
