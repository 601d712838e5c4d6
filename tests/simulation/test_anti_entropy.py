"""Whole cores in virtual time: whoever missed something gets it, and then there is silence."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from positron.core.messages import PUSH_TAG, Have, Sync, Want
from positron.simulation.world import World
from tests.simulation.networks import Crowd, mesh


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
