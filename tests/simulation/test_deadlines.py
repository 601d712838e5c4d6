"""A core says when it next wants a tick: early is allowed, late is not, whatever it just heard."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from positron.core.events import Dial, Event, Received
from positron.core.messages import HAVE_TAG, PUSH_TAG
from positron.simulation.latencies import lognormal
from positron.simulation.world import World, WorldNode
from tests.simulation.networks import Crowd, chain, mesh


class _WatchedNode(WorldNode):
    """Looks after each event whether any part of the core wants to be called before the core says so."""

    def step(self, event: Event) -> None:
        """As any node, and then look."""
        super().step(event)
        if self.swarm is not None:
            late = self.swarm.deadline - self.swarm._next_due()
            if late > 0:
                raise AssertionError(f"{late} s late after {event}")
            if isinstance(event, Received):
                self.world.heard.extend(frame[0] for frame in event.frames)  # type: ignore[attr-defined]


class _WatchedWorld(World):
    """Counts the tags of what was heard, so that a test knows what it looked at."""

    node_kind = _WatchedNode

    def __init__(self, seed: int, **links: float) -> None:
        super().__init__(seed, latency=lognormal(0.030, 0.5), **links)
        self.heard: list[int] = []


class NeverLateTests(SynchronousTestCase):
    """Most of what a core hears tells nothing new, and it does not look at all of itself then."""

    def test_in_a_mesh(self) -> None:
        """Pushes, copies, announcements and what is asked for."""
        world = _WatchedWorld(1, loss=0.1)
        nodes = mesh(world, 12)
        crowd = Crowd(world, nodes)
        crowd.chatter(100)
        world.run(20)
        self.assertTrue(crowd.report().is_clean)
        self.assertGreater(world.heard.count(PUSH_TAG), 11 * 100)
        self.assertGreater(world.heard.count(HAVE_TAG), 1000)

    def test_what_is_announced_alone(self) -> None:
        """An envelope beyond its ttl is announced, and asked for when its timer runs out: that timer is the news."""
        world = _WatchedWorld(2)
        nodes = chain(world, 12, ttl=4)
        crowd = Crowd(world, nodes)
        crowd.say(nodes[0])
        world.run(10)
        self.assertTrue(crowd.report().is_clean)

    def test_a_sign_of_life(self) -> None:
        """A copy on the older link of a node ends the newer one, which asked for its place: that is news enough."""
        world = _WatchedWorld(4)
        nodes = chain(world, 2)
        nodes[0].publish("t", b"once")
        world.run(10)
        channel = next(iter(nodes[0].channels.values()))
        raw = next(iter(nodes[0].kept.envelopes.values())).raw
        world.dial(nodes[1], Dial(nodes[0].address, nodes[0].node_id))
        for _ in range(500):
            world.carry(channel, bytes((PUSH_TAG, 0)) + raw)
            world.run(0.001)
        self.assertIn((nodes[0].node_id, "refused: duplicate"), nodes[1].hangups)

    def test_over_budget(self) -> None:
        """Who repeats itself too often is not read for a while, and read again in time."""
        world = _WatchedWorld(3)
        nodes = chain(world, 2)
        nodes[0].publish("t", b"once")
        world.run(1)
        channel = next(iter(nodes[0].channels.values()))
        repeated = [message.raw for message in nodes[0].kept.envelopes.values()]
        for _ in range(4100):
            world.carry(channel, bytes((PUSH_TAG, 0)) + repeated[0])
        world.run(1)
        assert nodes[1].swarm is not None
        self.assertEqual(nodes[1].swarm.stats().counters["paused"], 1)
        nodes[0].publish("t", b"twice")
        world.run(60)
        self.assertEqual(nodes[1].delivered[-1].entries, [("t", b"twice")])
