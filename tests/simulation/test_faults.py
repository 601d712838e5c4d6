"""Malicious nodes misbehave as their names say, and what comes of it is counted right."""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from positron.core import messages
from positron.core.envelope import Sealer, network_id_of
from positron.core.events import SetTrust
from positron.core.statements import sign_address_record
from positron.simulation.faults import Liar, Teaser, teased
from positron.simulation.running import simulate
from positron.simulation.scenario import Malicious, Scenario
from positron.simulation.world import World, WorldNode
from tests.simulation.networks import mesh


class LiarTests(SynchronousTestCase):
    def test_it_tells_of_liars_and_phantoms(self) -> None:
        """Who asks it for peers hears of its fellows and of nobody else who exists; of itself it says the truth."""
        world = World(3)
        nodes = mesh(world, 8)
        liars = nodes[5:]
        for node in liars:
            Liar(node, liars)
        heard: list[bytes] = []
        tamper = liars[0].tamper
        assert tamper is not None
        true = sign_address_record(liars[0].identity, bytes(16), (liars[0].address,), 1, 1).raw
        honest = [
            sign_address_record(node.identity, bytes(16), (node.address,), 1, 1).raw for node in nodes[:5]
        ]
        for records in ((true,), tuple(honest)):
            frame = tamper(nodes[1], messages.encode(messages.Peers(records)))
            assert frame is not None
            message = messages.decode(frame)
            assert isinstance(message, messages.Peers)
            heard.append(b"".join(message.records))
        self.assertEqual(heard[0], true)
        self.assertEqual(
            [node.node_id in heard[1] for node in nodes],
            [False] * 5 + [False, True, True],
            "fellows, not itself",
        )
        self.assertIsNotNone(tamper(nodes[1], messages.encode(messages.Ping(1))))

    def test_honest_nodes_stay_together(self) -> None:
        """A third lies while the network forms: the records are believed to be signed, and harm nothing."""
        outcome = simulate(Scenario(nodes=18, duration=2.0, malicious=Malicious(0.33, "lying")))
        self.assertEqual((outcome.faults, outcome.measurement.delivery), ([], 1.0))
        late = simulate(Scenario(nodes=18, duration=2.0, malicious=Malicious(0.33, "lying", 1.0)))
        self.assertNotEqual(outcome.events, late.events)

    def test_the_bootstrap_does_not_lie(self) -> None:
        """Nobody is drawn twice, and node 0 never lies from birth."""
        for seed in range(20):
            shares = (Malicious(0.5, "lying"), Malicious(0.3, "silent"))
            liars, silent = Scenario(nodes=10, malicious=shares).cast(Random(seed))
            self.assertEqual((len(set(liars)), len(set(silent)), set(liars) & set(silent)), (5, 3, set()))
            self.assertNotIn(0, liars)


class TeaserTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(3)
        self.nodes = mesh(self.world, 3)
        self.teaser = Teaser(self.nodes[0])
        self.push = messages.push_frame(0, b"an envelope" + bytes(200))
        self.envelope_id = Sealer(network_id_of("positron")).envelope_id(self.push[2:])

    def sent(self, to: WorldNode, frame: bytes) -> bytes | None:
        """What becomes of a frame that the teaser's core sends."""
        assert self.nodes[0].tamper is not None
        return self.nodes[0].tamper(to, frame)

    def test_it_announces_once_and_never_delivers(self) -> None:
        """The first push to a peer becomes an announcement; every other is kept back. The rest passes."""
        announced = messages.encode(messages.Have(self.envelope_id))
        for to in self.nodes[1:]:
            self.assertEqual([self.sent(to, self.push) for _ in range(3)], [announced, None, None])
        ping = messages.encode(messages.Ping(7))
        self.assertEqual(self.sent(self.nodes[1], ping), ping)

    def test_broken_promises_are_counted(self) -> None:
        """Each delivery kept back after an announcement, whoever made that, counts until the peer ignores it."""
        announced = messages.encode(messages.Have(self.envelope_id))
        one, two = self.nodes[1:]
        self.assertEqual(self.sent(one, announced), announced)
        self.assertIsNone(self.sent(one, self.push))
        self.sent(two, self.push)
        self.assertEqual(self.teaser.broken, {(one.number, 1): 1})
        for _ in range(3):
            self.sent(two, self.push)
        self.assertFalse(self.teaser.is_ignored_by(two))
        two.step(SetTrust(self.nodes[0].node_id, 0.15))
        self.assertTrue(self.teaser.is_ignored_by(two))
        self.sent(two, self.push)
        self.assertEqual(self.teaser.broken, {(one.number, 1): 1, (two.number, 1): 3})
        found = teased([self.teaser], self.nodes[1:])
        assert found is not None
        self.assertEqual((found.broken_max, found.charged_max, found.pairs, found.ignored), (3, 0, 2, 0.5))
        self.assertIsNone(teased([self.teaser], [self.nodes[0]]), "only what those saw who are asked")

    def test_who_was_born_again_counts_anew(self) -> None:
        """It has forgotten what was broken, so four more are no fault of it."""
        one = self.nodes[1]
        for _ in range(2):
            for _ in range(4):
                self.sent(one, self.push)
            one.kill()
            one.start()
        found = teased([self.teaser], [one])
        assert found is not None
        self.assertEqual((found.broken_max, found.pairs), (4, 2))

    def test_nobody_believes_one_for_long(self) -> None:
        """Half of 40 nodes turn to teasing while there are many messages, and everybody else ignores each after four
        broken promises at most, also when an exchange of sets shows a lot to ask for."""
        outcome = simulate(
            Scenario(
                nodes=40,
                rate=50.0,
                duration=8.0,
                warm_up=4.0,
                seed=5,
                malicious=Malicious(0.5, "teasing", 0.0),
            )
        )
        assert outcome.teased is not None
        self.assertLessEqual(outcome.teased.broken_max, 4)
        self.assertGreaterEqual(outcome.teased.broken_max, 3, "or nothing was tried")
        self.assertTrue(outcome.is_clean, outcome.faults)

    def test_a_run_counts_them(self) -> None:
        """A run with teasers tells how long they were believed; one without says nothing, nor does a rival's."""
        values = {"nodes": 20, "rate": 10.0, "duration": 8.0, "seed": 4}
        outcome = simulate(Scenario(**values, malicious=Malicious(0.5, "teasing", 1.0)))  # type: ignore[arg-type]
        found = outcome.teased
        assert found is not None
        self.assertTrue(found.pairs > 0 and found.broken_max >= 1, found)
        self.assertTrue(1 <= found.charged_max <= 4, found)
        self.assertTrue(outcome.is_clean, outcome.faults)
        self.assertIsNone(simulate(Scenario(**values)).teased)  # type: ignore[arg-type]
        rival = Scenario(**values, protocol="gossipsub", malicious=Malicious(0.5, "teasing"))  # type: ignore[arg-type]
        self.assertIsNone(simulate(rival).teased)
