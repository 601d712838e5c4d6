"""Links of a simulated network: how long they take, how much goes through, and clocks that disagree."""

from __future__ import annotations

from math import log
from pathlib import Path
from random import Random
from statistics import mean, median, pstdev
from typing import Any, NamedTuple

from twisted.trial.unittest import SynchronousTestCase

from positron.core import messages
from positron.simulation.latencies import REGIONS, Latency, from_file, latency_of, lognormal, regional, steady
from positron.simulation.narrow import FRAMING, NarrowWorld, Uplinks
from positron.simulation.rivals import RIVALS
from positron.simulation.running import Outcome, simulate
from positron.simulation.scenario import Scenario


class Node(NamedTuple):
    """A node as a latency sees it."""

    number: int


def delays(latency: Latency, nodes: int = 60) -> list[float]:
    """The latencies of all pairs."""
    rng = Random(0)
    return [
        latency(Node(one), Node(other), rng) for one in range(1, nodes) for other in range(one + 1, nodes + 1)
    ]


def play(**values: Any) -> Outcome:
    """A small run."""
    return simulate(Scenario(**{"nodes": 20, "duration": 2.0, "seed": 3, **values}))


class LatencyTests(SynchronousTestCase):
    def test_lognormal(self) -> None:
        """The median and the spread are as asked for, and the same both ways."""
        latency = lognormal(0.05, 0.5, 1)
        logs = [log(seconds / 0.05) for seconds in delays(latency)]
        self.assertTrue(abs(mean(logs)) < 0.05 and 0.45 < pstdev(logs) < 0.55, (mean(logs), pstdev(logs)))
        self.assertEqual(latency(Node(3), Node(9), Random(1)), latency(Node(9), Node(3), Random(2)))

    def test_everybody_meets_the_same_links(self) -> None:
        """A pair's delay follows from the seed, not from who asks first; another seed has others."""
        for rule in (0.05, "regional"):
            self.assertEqual(delays(latency_of(rule, 0.5, 4)), delays(latency_of(rule, 0.5, 4)))
            backwards = latency_of(rule, 0.5, 4)
            rng = Random(0)
            later = [backwards(Node(one), Node(7), rng) for one in range(60, 7, -1)]
            first = latency_of(rule, 0.5, 4)
            self.assertEqual(later, [first(Node(7), Node(one), rng) for one in range(8, 61)][::-1])
            self.assertNotEqual(delays(latency_of(rule, 0.5, 4)), delays(latency_of(rule, 0.5, 5)))

    def test_regions(self) -> None:
        """Delays gather about the medians between and inside five regions."""
        seconds = delays(regional(2), 100)
        self.assertTrue(0.003 < min(seconds) < 0.008, min(seconds))
        self.assertTrue(0.14 < max(seconds) < 0.14 * 2.5, max(seconds))
        near = sum(one < 0.02 for one in seconds) / len(seconds)
        self.assertTrue(0.1 < near < 0.35, near)
        self.assertTrue(0.05 < median(seconds) < 0.1, median(seconds))
        for one, row in enumerate(REGIONS):
            self.assertEqual([other[one] for other in REGIONS], list(row), "the same both ways")

    def test_file(self) -> None:
        """A matrix of milliseconds from place to place; nodes take the places in turn."""
        path = self.mktemp()
        Path(path).write_text("# three places\n1 20, 30\n\n40 2 50  # from the second\n60,70,3\n")
        latency = latency_of("@" + path, 0.5, 1)
        for one, other, expected in ((1, 2, 20), (2, 1, 40), (3, 2, 70), (1, 4, 1), (6, 3, 3), (5, 6, 50)):
            self.assertAlmostEqual(latency(Node(one), Node(other), Random(1)), expected / 1000)

    def test_bad_files(self) -> None:
        """What is no matrix of latencies is refused with a sentence that names the file."""
        for text in ("", "1 2\n3\n", "1 x\n2 3\n", "1 2\n3 0\n", "1 2\n3 nan\n", "1 2\n3 20000\n"):
            path = self.mktemp()
            Path(path).write_text(text)
            error = self.assertRaises(ValueError, from_file, path)
            self.assertIn(path, str(error))
        self.assertRaises(OSError, from_file, self.mktemp())

    def test_runs(self) -> None:
        """positron and a rival run over each kind, and far places are late."""
        path = self.mktemp()
        Path(path).write_text("1 100\n100 1\n")
        for protocol in ("positron", "gossipsub"):
            for rule in ("regional", "@" + path):
                outcome = play(protocol=protocol, latency=rule)
                self.assertEqual((outcome.faults, outcome.measurement.delivery), ([], 1.0))
            near = [one.latency for one in outcome.measurement.samples if one.latency < 0.05]
            self.assertTrue(0.3 < len(near) / outcome.measurement.arrived < 0.7, (protocol, len(near)))


class BandwidthTests(SynchronousTestCase):
    def test_one_queue_for_a_node(self) -> None:
        """Each waits for those before it, whatever the link; an idle uplink starts at once."""
        uplinks = Uplinks(8000.0)
        self.assertAlmostEqual(uplinks.wait(1, 100, 5.0), 0.1)
        self.assertAlmostEqual(uplinks.wait(1, 100, 5.0), 0.2)
        self.assertAlmostEqual(uplinks.wait(2, 100, 5.0), 0.1)
        self.assertAlmostEqual(uplinks.wait(1, 100, 5.15), 0.15)
        self.assertAlmostEqual(uplinks.wait(1, 100, 9.0), 0.1)
        self.assertEqual(Uplinks(0.0).wait(1, 10**9, 0.0), 0.0)

    def arrivals(self, bandwidth: float) -> list[float]:
        """When three frames of one moment arrive, two of them on one link, in delays of the link."""
        world = NarrowWorld(1, latency=steady(0.010), bandwidth=bandwidth)
        nodes = [world.node() for _ in range(1)]
        nodes += [world.node(bootstrap=(nodes[0].address,), discovery=False) for _ in range(2)]
        world.run(6.543)
        began = world.now
        got: list[float] = []
        for node in nodes[1:]:
            self.patch(
                node, "receive", lambda _channel, frames: got.extend([world.now - began] * len(frames))
            )
        first, second = list(nodes[0].channels.values())[:2]
        for channel in (first, first, second):
            world.carry(channel, messages.encode(messages.Ping(1)))
        world.run(1.0)
        return got[:3]

    def test_frames_wait_for_the_uplink(self) -> None:
        """Frames of one moment arrive one after the other, as fast as their bits are out."""
        size = (len(messages.encode(messages.Ping(1))) + FRAMING) * 8
        for found, expected in zip(self.arrivals(size / 0.1), (0.11, 0.21, 0.31), strict=True):
            self.assertAlmostEqual(found, expected)
        for found in self.arrivals(0.0):
            self.assertAlmostEqual(found, 0.01)

    def test_rivals_wait_as_well(self) -> None:
        """A rival's payloads leave one after the other too."""
        network = RIVALS["push"](nodes=20, seed=1, latency=steady(0.01), bandwidth=1e6)
        network.publish(0, 1200)
        network.run(5)
        first = [it.time for it in network.deliveries if it.hops == 1]
        size = (1200 + 1 + FRAMING) * 8
        for found, expected in zip(first, (1, 2, 3), strict=True):
            self.assertAlmostEqual(found, 0.01 + expected * size / 1e6)

    def test_a_narrow_network_is_slower(self) -> None:
        """Everything arrives, later than without a limit, for positron and a rival; with a trace it is the same."""
        for protocol in ("positron", "gossipsub"):
            wide, narrow = play(protocol=protocol), play(protocol=protocol, bandwidth=1e6)
            self.assertEqual((narrow.faults, narrow.measurement.delivery), ([], 1.0))
            assert (
                wide.measurement.latency["p99"] is not None and narrow.measurement.latency["p99"] is not None
            )
            self.assertGreater(narrow.measurement.latency["p99"], wide.measurement.latency["p99"] * 1.1)
        followed = simulate(Scenario(nodes=20, duration=2.0, seed=3, bandwidth=1e6), trace=1)
        self.assertEqual(followed.measurement, play(bandwidth=1e6).measurement)


class SkewTests(SynchronousTestCase):
    def test_clocks_that_disagree(self) -> None:
        """With clocks a few seconds off everything arrives; the rivals have none."""
        for protocol in ("positron", "push"):
            outcome = play(protocol=protocol, skew=8.0)
            self.assertEqual((outcome.faults, outcome.refused), ([], 0))
        self.assertNotEqual(play(skew=8.0).events, play().events)

    def test_who_is_too_far_off_says_nothing(self) -> None:
        """A node that refuses to publish, its clock being wrong, is told of, and its message is owed to nobody."""
        outcome = play(skew=120.0, rate=20.0)
        self.assertGreater(outcome.refused, 0)
        self.assertEqual(outcome.refused + outcome.measurement.messages, 40)
