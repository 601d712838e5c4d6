"""The measurement with real nodes on loopback."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks, succeed
from twisted.trial.unittest import TestCase

from positron.node import Node
from positron.services.values import Message
from positron.simulation import real
from positron.simulation.real import run_real
from positron.simulation.report import as_json
from positron.simulation.scenario import Scenario

SMALL = Scenario(nodes=3, rate=20.0, duration=0.3, size=100)


class RealTests(TestCase):
    timeout = 60

    @inlineCallbacks
    def test_it_all_arrives(self):
        """Three nodes have each other's messages, once, and leave nothing behind."""
        told = []
        outcome = yield Deferred.fromCoroutine(run_real(reactor, SMALL, told.append))
        self.assertEqual(outcome.faults, [])
        self.assertTrue(outcome.is_clean)
        self.assertEqual((outcome.measurement.messages, outcome.measurement.owed), (6, 12))
        self.assertEqual(told[-1], 1.0)
        report = as_json(outcome)
        self.assertGreaterEqual(report["copies_per_delivery"], 1.0)
        self.assertGreater(report["bytes_per_delivery"], 100)
        self.assertIsNone(report["control_bytes_per_delivery"])
        self.assertTrue(0 < report["latency_seconds"]["p50"] < 5)

    @inlineCallbacks
    def test_loss_is_a_fault(self):
        """What did not arrive in time is said, and the outcome is not clean."""
        self.patch(real, "QUIET", 0.5)
        self.patch(Node, "publish", lambda node, topic, data: succeed(None))
        outcome = yield Deferred.fromCoroutine(run_real(reactor, SMALL))
        self.assertEqual(outcome.faults, ["0 of 18 delivered"])
        self.assertFalse(outcome.is_clean)

    @inlineCallbacks
    def test_twice_and_strange_are_faults(self):
        """A message that is heard twice is a fault, and so is one that nobody published."""
        got = real._Fleet._got

        def stutter(fleet, index: int, message: Message) -> None:
            got(fleet, index, message)
            got(fleet, index, message)
            fleet.strange += 1

        self.patch(real._Fleet, "_got", stutter)
        outcome = yield Deferred.fromCoroutine(run_real(reactor, SMALL))
        self.assertEqual(outcome.faults, ["18 delivered more than once", "18 delivered that nobody said"])
