"""One link against a whole core: what the shortest messages may cost, and what comes before a greeting."""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from positron.core import events, messages
from positron.core.conduct import MAX_UNKNOWN
from positron.core.context import Parameters
from positron.core.envelope import network_id_of
from positron.core.limits import CONTROL_MESSAGES, PROFILES
from positron.core.records import Loaded
from positron.core.swarm import Swarm
from tests.core.gossip_parts import ALICE, ME, WALL

LATER = bytes([99])
"""A message that only a later protocol knows."""

PING = messages.encode(messages.Ping(7))


class Case(SynchronousTestCase):
    def begin(self, profile: str = "lan") -> None:
        """A core, and a channel to a peer that has not greeted."""
        self.now = 0.0
        parameters = Parameters(network="lab", profile=profile, discovery=False)
        self.swarm = Swarm(ME, parameters, Loaded(WALL * 1000), Random(1), wall=float(WALL))
        self.paused = False
        self.ended: list[str] = []
        self.handle(events.Connected(1, ALICE.node_id, False, "10.0.0.1:1", bytes(32)))

    def greet(self) -> None:
        """The peer says what makes it a link."""
        hello = messages.Hello(1, 1, network_id_of("lab"), "", 5, 0, (), WALL * 1000, "")
        self.say([messages.encode(hello), messages.encode(messages.Welcome(1))])
        self.assertEqual(len(self.swarm.peers()), 1)

    def handle(self, event: events.Event) -> None:
        """The core's answer decides whether the link is read, and whether it is."""
        for action in self.swarm.handle(event, self.now):
            if isinstance(action, events.Pause | events.Resume):
                self.paused = isinstance(action, events.Pause)
            elif isinstance(action, events.Hangup):
                self.ended.append(action.reason)

    def say(self, frames: list[bytes]) -> None:
        """One read brought these."""
        self.handle(events.Received(1, frames))

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds
        if self.swarm.deadline <= self.now:
            self.handle(events.Tick())


class ControlTests(Case):
    def test_a_flood_of_the_shortest(self) -> None:
        """T32: however short, so many messages a second are taken of a link, whatever they say and in any profile."""
        for profile, frame in (("lan", PING), ("wan", PING), ("local", PING), ("lan", LATER)):
            self.begin(profile)
            self.greet()
            taken = 0
            for _ in range(300):
                if not self.paused:
                    self.say([frame] * 250)
                    taken += 250
                self.wait(0.01)
            budget = PROFILES[profile].bytes
            most = CONTROL_MESSAGES * (3 + budget.burst / budget.rate)
            self.assertTrue(taken < 1.02 * most, (profile, taken))
            self.assertEqual(self.ended, [])

    def test_a_flood_of_ids(self) -> None:
        """T19: nor may the longest WANT and MISS have millions of ids looked up a second."""
        for kind in (messages.Want, messages.Miss):
            self.begin()
            self.greet()
            frame = messages.encode(kind(bytes(16 * messages.MAX_IDS)))
            taken = 0
            for _ in range(200):
                if not self.paused:
                    self.say([frame] * 5)
                    taken += 5 * messages.MAX_IDS
                self.wait(0.001)
            self.assertTrue(taken < 64 * CONTROL_MESSAGES * (0.2 + 2) * 1.02, (kind, taken))

    def test_who_asks_for_history(self) -> None:
        """Thousands of WANT and PING a second, as of one that fetches all that is held, are never held back."""
        self.begin()
        self.greet()
        for _ in range(500):
            self.say([messages.encode(messages.Want(bytes(16)))] * 40 + [PING] * 40)
            self.assertFalse(self.paused)
            self.wait(0.01)


class GreetingTests(Case):
    def test_unknown_messages_and_no_greeting(self) -> None:
        """T3: a link that says what nobody knows instead of greeting is cut; no budget counts what it says."""
        self.begin()
        self.say([LATER] * MAX_UNKNOWN)
        self.assertEqual(self.ended, [])
        self.say([LATER])
        self.assertEqual(len(self.ended), 1)

    def test_unknown_messages_and_a_greeting(self) -> None:
        """A peer of a later version may say more than we know, before it is up and after."""
        self.begin()
        self.say([LATER] * MAX_UNKNOWN)
        self.greet()
        self.say([LATER] * 1000)
        self.assertEqual((self.ended, self.paused), ([], False))
        self.assertEqual(self.swarm.stats().counters["unknown_messages"], MAX_UNKNOWN + 1000)
