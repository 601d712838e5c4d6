"""Whole cores in virtual time: what a peer does is remembered, and what it may cost the others is bounded."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from positron.core import messages
from positron.core.events import SetTrust
from positron.core.notices import PeerDown, Refused, TrustChanged
from positron.core.statements import SCORE_SCALE
from positron.core.trust import replay
from positron.simulation.world import World, WorldNode
from tests.simulation.networks import Crowd, chain, inject, mesh


class ConductTests(SynchronousTestCase):
    """Six nodes that found each other."""

    def setUp(self) -> None:
        """A mesh with some traffic behind it."""
        self.world = World(21)
        self.nodes = mesh(self.world, 6)
        self.crowd = Crowd(self.world, self.nodes)
        self.crowd.chatter(60, 0.5)
        self.world.run(65)

    def first_hand(self, node: WorldNode, about: WorldNode) -> float:
        """What `node` thinks of `about`, from what it saw itself."""
        assert node.swarm is not None
        return node.swarm.explain(about.node_id).first_hand

    def test_useful_peers_rise_and_rows_replay(self) -> None:
        """Whoever brought others' envelopes first is above the baseline, and its audit rows add up to its score."""
        world = World(23)
        nodes = chain(world, 3)
        crowd = Crowd(world, nodes[2:])
        crowd.chatter(60, 0.5)
        here, relay = nodes[:2]
        self.assertTrue(0.504 < self.first_hand(here, relay) <= 0.506)  # at most 0.005 a minute of one author
        here.stop()
        world.run(2)
        rows = [row for row in here.kept.audit if row.node_id == relay.node_id]
        kept = here.kept.trust[relay.node_id]
        self.assertGreater(kept.value, SCORE_SCALE // 2)
        self.assertEqual(replay(rows, SCORE_SCALE // 2, kept.time), kept.value)

    def test_trust_outlives_a_restart(self) -> None:
        """A node that is born again thinks of its peers as before, but for the decay."""
        node = self.nodes[0]
        node.step(SetTrust(self.nodes[1].node_id, 0.8))
        self.world.run(2)
        before = {other.number: self.first_hand(node, other) for other in self.nodes[1:]}
        node.kill()
        self.world.run(1)
        node.start()
        for other in self.nodes[1:]:
            self.assertAlmostEqual(self.first_hand(node, other), before[other.number], places=3)

    def test_garbage_bans(self) -> None:
        """A frame that is no message cuts the link at once and bans its sender, who is told when it comes again."""
        victim, rude = self.nodes[0], self.nodes[1]
        inject(victim, rude, b"\x01garbage")
        self.assertNotIn(rude.node_id, victim.links)
        changes = [notice for notice in victim.notices if isinstance(notice, TrustChanged)]
        self.assertAlmostEqual(changes[-1].new, changes[-1].old - 0.1, places=6)
        self.assertIsInstance(victim.notices[-1], TrustChanged | PeerDown)
        self.world.run(60)
        self.assertNotIn(rude.node_id, victim.links)
        told = {notice.reason for notice in rude.notices if isinstance(notice, Refused)}
        self.assertIn("banned", told)
        self.world.run(700)
        self.assertIn(rude.node_id, victim.links)

    def test_a_message_before_the_greeting_is_a_violation(self) -> None:
        """Whoever speaks before WELCOME is cut."""
        world = World(22)
        node = world.node()
        hasty = world.node(bootstrap=(node.address,))
        hasty.tamper = lambda _to, frame: (
            messages.encode(messages.Ping(1)) if frame[0] == messages.Hello.TAG else frame
        )
        world.run(5)
        self.assertEqual(node.links, [])
        assert node.swarm is not None
        self.assertEqual(node.swarm.stats().banned, 1)

    def test_a_flood_pauses_its_link_and_nobody_else_waits(self) -> None:
        """HAVE ids at ten times the budget: the link is read in pauses, the pulls are bounded, the others go on."""
        victim, flooder = self.nodes[0], self.nodes[1]
        rng = self.world.rng
        for _ in range(30):
            inject(victim, flooder, messages.encode(messages.Have(rng.randbytes(16 * messages.MAX_IDS))))
        assert victim.swarm is not None
        self.assertGreater(victim.swarm.stats().counters.get("paused", 0), 0)
        self.assertLessEqual(len(victim.swarm.gossip.puller), 256)
        self.crowd.nodes = [node for node in self.nodes if node is not flooder]
        self.crowd.chatter(30)
        self.world.run(20)
        report = self.crowd.report(self.crowd.nodes)
        self.assertTrue(report.is_clean, report.faults)

    def test_a_flood_of_mere_bytes_pauses_its_link(self) -> None:
        """Frames of a later version cost nothing but their bytes: those alone are over the budget in the end."""
        victim, flooder = self.nodes[0], self.nodes[1]
        assert victim.swarm is not None
        frame = bytes([250]) + bytes(64 * 1024)
        burst = victim.parameters.limits.bytes.burst
        for _ in range(int(burst / len(frame)) - 2):
            inject(victim, flooder, frame)
        self.assertEqual(victim.swarm.stats().counters.get("paused", 0), 0)
        for _ in range(4):
            inject(victim, flooder, frame)
        self.assertEqual(victim.swarm.stats().counters.get("paused", 0), 1)
