"""A node whose links are all to liars finds somebody else; a network in which nobody speaks stays as it is."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from positron.core.notices import PeerUp
from positron.simulation.faults import ACTS
from positron.simulation.world import World, WorldNode
from tests.simulation.networks import Crowd, mesh


class EclipsedTests(SynchronousTestCase):
    def eclipsed(self, behaviour: str) -> tuple[Crowd, WorldNode, list[WorldNode]]:
        """40 nodes that talk, when everybody who is linked to one of them begins to lie: the network, that node, and
        the honest."""
        world = World(7)
        nodes = mesh(world, 40)
        victim = min(nodes[1:], key=lambda node: len(node.links))
        crowd = Crowd(world, nodes)
        crowd.chatter(20, 0.2)
        world.run(1)
        around = set(victim.links)
        self.assertLess(len(around), 20)
        liars = [node for node in nodes if node.node_id in around]
        for liar in liars:
            ACTS[behaviour](liar, liars)
        crowd.nodes = [node for node in nodes if node not in liars]
        return crowd, victim, crowd.nodes

    def heard(self, node: WorldNode) -> int:
        """How many messages it delivered."""
        return sum(len(delivery.entries) for delivery in node.delivered)

    def check(self, behaviour: str) -> None:
        """What was said in the first seconds is there within 10 s, and what is said later comes without delay."""
        crowd, victim, honest = self.eclipsed(behaviour)
        crowd.chatter(25, 0.2)
        crowd.world.run(5)
        self.assertEqual(crowd.report(honest).faults, [])
        before = self.heard(victim)
        others = [node for node in honest if node is not victim]
        for _ in range(5):
            crowd.say(crowd.world.rng.choice(others))
        crowd.world.run(1.0)
        self.assertEqual(self.heard(victim) - before, 5)

    def test_all_links_turn_silent(self) -> None:
        """It hears nothing, and asks strangers why."""
        self.check("silent")

    def test_all_links_turn_to_teasing(self) -> None:
        """It hears of much and gets nothing; a stranger that shows the same and gives it is worth more."""
        self.check("teasing")


class IdleTests(SynchronousTestCase):
    def linked(self, nodes: list[WorldNode]) -> int:
        """How many links there have been, counted at both ends."""
        return sum(isinstance(notice, PeerUp) for node in nodes for notice in node.notices)

    def test_a_network_falls_silent(self) -> None:
        """Each node asks two strangers once, for a second; after that nobody does anything for hours."""
        world = World(8)
        nodes = mesh(world, 30)
        crowd = Crowd(world, nodes)
        crowd.chatter(20, 0.2)
        before, links = self.linked(nodes), [set(node.links) for node in nodes]
        world.run(30)
        asked = self.linked(nodes) - before
        self.assertTrue(len(nodes) <= asked <= 4 * len(nodes) + 10, asked)
        for node, former in zip(nodes, links, strict=True):
            self.assertTrue(former <= set(node.links))
        before = self.linked(nodes)
        world.run(600)
        self.assertLessEqual(self.linked(nodes) - before, 10, "feelers aside")
        self.assertEqual(crowd.report().faults, [])
