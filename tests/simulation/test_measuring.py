"""The simulator as a measuring instrument: the same figures for the same seed, and figures that mean what they say."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from positron.core import messages
from positron.simulation.cheap import CheapSigner, cheap_verify
from positron.simulation.latencies import steady
from positron.simulation.measure import measure, percentile
from positron.simulation.network import Delivery, Published, Traffic
from positron.simulation.report import as_json, curve
from positron.simulation.running import Outcome, simulate
from positron.simulation.scenario import BEHAVIOURS, Crash, Malicious, Partition, Scenario
from positron.simulation.world import World


def play(**values: Any) -> Outcome:
    """A small run."""
    return simulate(Scenario(**{"nodes": 24, "duration": 2.0, "rate": 7.5, "seed": 5, **values}))


def figures(outcome: Outcome) -> str:
    """All that a seed decides, as text."""
    report = as_json(outcome)
    del report["wall_seconds"]
    return json.dumps([report, sorted(outcome.measurement.samples), outcome.faults])


class RunTests(SynchronousTestCase):
    def assertClean(self, outcome: Outcome) -> None:
        """All that was owed arrived, once, and the checker is content."""
        self.assertEqual(outcome.faults, [])
        self.assertEqual(outcome.measurement.delivery, 1.0)
        self.assertTrue(outcome.is_clean)

    def test_one_seed_one_result(self) -> None:
        """Two runs of one seed agree in every byte, faults and all; another seed gives other figures."""
        values: dict[str, Any] = {
            "loss": 0.1,
            "crash": Crash(0.2, 1.0),
            "churn": True,
            "malicious": (Malicious(0.2, "teasing"), Malicious(0.1, "lying")),
            "partition": Partition(2.0, 1.0),
            "latency": "regional",
            "bandwidth": 5e6,
            "skew": 3.0,
            "warm_up": 1.0,
        }
        first = figures(play(**values))
        self.assertEqual(first, figures(play(**values)))
        self.assertNotEqual(first, figures(play(**{**values, "seed": 6})))

    def test_it_all_arrives(self) -> None:
        """Without faults every node has every message, at the latencies of its links, with few copies."""
        outcome = play(rate=15.0)
        self.assertClean(outcome)
        found = outcome.measurement
        self.assertEqual((found.messages, found.owed), (30, 30 * 23))
        assert found.latency["p50"] is not None and found.latency["p99"] is not None
        self.assertTrue(0.02 < found.latency["p50"] < found.latency["p99"] < 0.3, found.latency)
        assert found.copies is not None and found.bytes is not None and found.control_bytes is not None
        self.assertTrue(1.0 <= found.copies < 8.0, found.copies)
        self.assertGreater(found.bytes, found.copies * 1200)
        self.assertGreater(found.bytes - found.control_bytes, found.copies * 1200)
        self.assertIsNone(found.heal)

    def test_liars_are_owed_nothing_and_stop_nothing(self) -> None:
        """A third of the nodes misbehaves, in each way there is: the others have everything."""
        for behaviour in BEHAVIOURS:
            outcome = play(nodes=15, malicious=Malicious(0.33, behaviour))
            self.assertClean(outcome)
            self.assertEqual(outcome.measurement.owed, 15 * 9)

    def test_silence_is_silence(self) -> None:
        """Who was told to relay nothing pushes nothing: the honest pushes stand for all payload bytes."""
        loud, hushed = play(), play(malicious=Malicious(0.5, "silent"))
        assert loud.measurement.copies is not None and hushed.measurement.copies is not None
        self.assertLess(hushed.measurement.copies, loud.measurement.copies * 0.8)

    def test_the_crashed_are_owed_nothing(self) -> None:
        """A third is gone at once: the survivors have everything, also what was said afterwards."""
        outcome = play(crash=Crash(0.33, 1.5))
        self.assertClean(outcome)
        self.assertLess(outcome.measurement.owed, 15 * 16)

    def test_a_partition_heals(self) -> None:
        """Both halves have everything soon after the cut, and the cut shows in the latencies."""
        outcome = play(partition=Partition(6.0, 1.0))
        self.assertClean(outcome)
        assert outcome.measurement.heal is not None
        self.assertTrue(0 < outcome.measurement.heal < 5, outcome.measurement.heal)
        bridge, after = outcome.measurement.bridge, outcome.measurement.heal_after_bridge
        assert bridge is not None and after is not None
        self.assertTrue(0 < bridge < outcome.measurement.heal, bridge)
        self.assertAlmostEqual(bridge + after, outcome.measurement.heal)
        self.assertGreater(outcome.measurement.latencies[-1], 4.0)

    def test_mixtures(self) -> None:
        """Several faults, and several of a kind, in one run: who is left and honest has everything."""
        outcome = play(
            nodes=30,
            duration=4.0,
            malicious=(
                Malicious(0.1, "silent"),
                Malicious(0.1, "teasing", 1.0),
                Malicious(0.1, "turning", 2.0),
            ),
            crash=(Crash(0.1, 0.5), Crash(0.1, 1.5)),
            partition=(Partition(2.0, 1.0), Partition(2.0, 5.0)),
            loss=0.05,
            churn=True,
        )
        self.assertClean(outcome)
        # 21 honest, 17 of them left: an author that lives is not owed its own.
        self.assertTrue(30 * 16 <= outcome.measurement.owed <= 30 * 17, outcome.measurement.owed)
        assert outcome.measurement.heal is not None

    def test_loss_delays(self) -> None:
        """A lost chunk comes later, and nothing is missing."""
        clean, lossy = play(), play(loss=0.2)
        self.assertClean(lossy)
        assert clean.measurement.latency["p99"] is not None and lossy.measurement.latency["p99"] is not None
        self.assertGreater(lossy.measurement.latency["p99"], clean.measurement.latency["p99"])

    def test_rivals_meet_the_same(self) -> None:
        """A rival publishes the same messages at the same times from the same nodes."""
        own, rival = play(), play(protocol="gossipsub")
        self.assertEqual(rival.measurement.messages, own.measurement.messages)
        self.assertEqual(rival.measurement.owed, own.measurement.owed)
        assert own.measurement.bytes is not None and rival.measurement.bytes is not None
        self.assertLess(own.measurement.bytes, rival.measurement.bytes)

    def test_a_rival_is_bridged(self) -> None:
        """The first link across a cut is told of a rival too."""
        found = play(protocol="gossipsub", partition=Partition(3.0, 1.0)).measurement
        assert found.bridge is not None
        self.assertTrue(0 < found.bridge < 15, found.bridge)

    def test_warm_up(self) -> None:
        """What is said before is not measured: neither its arrivals nor its bytes; times count from what is."""
        for protocol in ("positron", "gossipsub"):
            cold = play(protocol=protocol)
            warm = play(
                protocol=protocol, warm_up=4.0, crash=Crash(0.2, 1.0), malicious=Malicious(0.1, "silent")
            )
            self.assertEqual(warm.measurement.messages, cold.measurement.messages)
            self.assertTrue(warm.is_clean, warm.faults)
            assert warm.measurement.bytes is not None and cold.measurement.bytes is not None
            self.assertTrue(0.3 < warm.measurement.bytes / cold.measurement.bytes < 1.5)
            self.assertEqual({one.message for one in warm.measurement.samples}, set(range(15)))
            first = warm.measurement.windows["first_6s"]
            self.assertEqual((warm.scenario.event, first.messages), (1.0, 7))

    def test_the_quiet_afterwards_costs_nothing(self) -> None:
        """What is sent for a minute after the last arrival is no price of the messages; what was sent before is."""
        for protocol in ("positron", "gossipsub"):
            short = play(protocol=protocol).measurement
            longer = play(protocol=protocol, partition=Partition(1.0, 60.0)).measurement
            self.assertEqual((longer.bytes, longer.copies), (short.bytes, short.copies))
            assert short.control_bytes is not None
            self.assertGreater(short.control_bytes, 100)

    def test_progress_grows_to_one(self) -> None:
        """Who watches is told shares that never fall, the last of them 1."""
        told: list[float] = []
        simulate(Scenario(nodes=5, duration=1.0, warm_up=1.0), told.append)
        self.assertEqual(told, sorted(told))
        self.assertAlmostEqual(told[-1], 1.0)

    def test_it_ends_when_nothing_is_missing(self) -> None:
        """Ten seconds after the last arrival if nothing goes wrong, half a minute after the last message if it may."""
        for protocol in ("positron", "gossipsub"):
            calm: list[float] = []
            self.assertEqual(
                simulate(Scenario(nodes=12, duration=2.0, protocol=protocol), calm.append).faults, []
            )
            faulty: list[float] = []
            crash = Crash(0.1, 0.5)
            simulate(Scenario(nodes=12, duration=2.0, protocol=protocol, crash=crash), faulty.append)
            seconds = len(faulty) - len(calm)
            self.assertTrue(17 <= seconds <= 20, seconds)


class FigureTests(SynchronousTestCase):
    """What becomes of a log that was made by hand."""

    def figures(self, deliveries: list[Delivery], **more: Any) -> Any:
        """Three nodes; node 0 said message 0 at 10 s."""
        published = [Published(0, 10.0, 100)]
        values: dict[str, Any] = {"owing": {0, 1, 2}, "outages": {}, "healed": None, **more}
        return measure(published, deliveries, Traffic(600, 60, 6), **values)

    def test_shares(self) -> None:
        """What is spent is divided by first arrivals; what is missing lowers the delivery."""
        found = self.figures([Delivery(0, 1, 10.5, 1)])
        self.assertEqual((found.owed, found.arrived, found.delivery), (2, 1, 0.5))
        self.assertEqual((found.copies, found.bytes, found.control_bytes), (6.0, 660.0, 60.0))
        self.assertEqual(found.latency, {"p50": 0.5, "p99": 0.5, "p999": 0.5})

    def test_twice_is_one_arrival(self) -> None:
        """A second arrival at one node counts for nothing."""
        found = self.figures([Delivery(0, 1, 10.5, 1), Delivery(0, 1, 11.0, 3)])
        self.assertEqual((found.arrived, found.latencies), (1, [0.5]))

    def test_outages_are_no_latency(self) -> None:
        """Who was gone meanwhile is owed the message, but its waiting says nothing about the network."""
        log = [Delivery(0, 1, 10.5, 1), Delivery(0, 2, 50.0, 2)]
        self.assertEqual(self.figures(log, outages={2: [(9.0, 40.0)]}).latencies, [0.5])
        self.assertEqual(self.figures(log, outages={2: [(9.0, 40.0)]}).delivery, 1.0)
        self.assertEqual(self.figures(log, outages={2: [(1.0, 9.0)]}).latencies, [0.5, 40.0])

    def test_heal(self) -> None:
        """The time from the end of a cut to the last arrival of what was said before; none if anything is missing."""
        log = [Delivery(0, 1, 10.5, 1), Delivery(0, 2, 21.5, 2)]
        self.assertEqual(self.figures(log, healed=20.0).heal, 1.5)
        self.assertIsNone(self.figures(log[:1], healed=20.0).heal)

    def test_bridge(self) -> None:
        """From the end of a cut to the first link across it, and from there to the last arrival."""
        log = [Delivery(0, 1, 10.5, 1), Delivery(0, 2, 21.5, 2)]
        found = self.figures(log, healed=20.0, bridged=20.25)
        self.assertEqual((found.bridge, found.heal_after_bridge), (0.25, 1.25))
        self.assertEqual(self.figures(log[:1], healed=20.0, bridged=20.25).heal_after_bridge, None)
        self.assertEqual(self.figures(log[:1]).bridge, None)

    def test_within(self) -> None:
        """The share that had arrived by then, of those who were there all the time."""
        log = [Delivery(0, 1, 19.0, 1), Delivery(0, 2, 21.0, 2)]
        self.assertEqual(self.figures(log).within, {"10s": 0.5, "30s": 1.0})
        self.assertEqual(self.figures(log, outages={2: [(19.0, 20.5)]}).within, {"10s": 1.0, "30s": 1.0})
        self.assertEqual(self.figures(log, outages={2: [(20.5, 20.7)]}).within, {"10s": 0.5, "30s": 1.0})
        self.assertEqual(self.figures(log[:1], outages={1: [(0.0, 9.0)]}).within, {"10s": 0.5, "30s": 0.5})

    def test_windows(self) -> None:
        """What is said in the first 6 s after an event, and what is said over 20 s after it, each by itself."""
        published = [Published(0, at, 100) for at in (1.0, 2.0, 7.9, 8.0, 22.0, 90.0)]
        log = [Delivery(number, 1, said.time + number, 1) for number, said in enumerate(published)]
        values: dict[str, Any] = {"owing": {0, 1, 2}, "outages": {}}
        found = measure(published, log, Traffic(0, 0, 0), event=2.0, **values)
        first, later = found.windows["first_6s"], found.windows["after_20s"]
        self.assertEqual((first.messages, first.delivery, first.latency["p99"]), (2, 0.5, 2.0))
        self.assertEqual((later.messages, later.owed, later.latency["p50"]), (2, 4, 4.0))
        self.assertEqual((found.messages, found.arrived), (6, 6))
        self.assertEqual(measure(published, log, Traffic(0, 0, 0), **values).windows, {})

    def test_percentiles(self) -> None:
        """The smallest value that the share does not exceed."""
        values = [float(value) for value in range(1, 101)]
        self.assertEqual(
            [percentile(values, share) for share in (0.0, 0.5, 0.99, 1.0)], [1.0, 50.0, 99.0, 100.0]
        )
        self.assertIsNone(percentile([], 0.5))

    def test_curve(self) -> None:
        """The coverage grows to the delivery."""
        outcome = play()
        points = curve(outcome)
        self.assertEqual(points, sorted(points))
        self.assertEqual(points[-1][1], 1.0)


class ScenarioTests(SynchronousTestCase):
    def test_nonsense_is_refused(self) -> None:
        """Values that cannot be are a ValueError with a sentence."""
        for values in (
            {"nodes": 1},
            {"rate": 0.0},
            {"size": 4},
            {"loss": 1.0},
            {"fanout": 0},
            {"malicious": Malicious(0.2, "lazy")},
            {"malicious": Malicious(0.99, "silent"), "nodes": 10},
            {"crash": Crash(1.5, 1.0)},
            {"latency": "fast"},
            {"latency": "@"},
            {"bandwidth": 10.0},
            {"skew": -1.0},
            {"warm_up": -1.0},
            {"malicious": (Malicious(0.5, "silent"), Malicious(0.5, "teasing"))},
            {"partition": (Partition(5.0, 1.0), Partition(5.0, 4.0))},
        ):
            self.assertRaises(ValueError, Scenario, **values)
        self.assertRaises(ValueError, play, protocol="carrier pigeon")
        self.assertRaises(ValueError, play, protocol="push", malicious=Malicious(0.1, "forging"))

    def test_the_event(self) -> None:
        """The first crash or turn; what is so from the beginning, or is no event, has no windows."""
        for values, event in (
            ({}, None),
            ({"malicious": Malicious(0.3, "teasing"), "partition": Partition(5.0, 1.0)}, None),
            ({"malicious": Malicious(0.3, "teasing", 0.0)}, 0.0),
            ({"malicious": Malicious(0.3, "turning"), "duration": 8.0}, 4.0),
            ({"malicious": Malicious(0.3, "turning", 7.0), "crash": (Crash(0.1, 9.0), Crash(0.1, 5.0))}, 5.0),
        ):
            self.assertEqual(Scenario(**values).event, event, values)


class CheapTests(SynchronousTestCase):
    def test_signatures(self) -> None:
        """They hold for their message and their node only, and are as long as the real ones."""
        one, two = CheapSigner(1), CheapSigner(2)
        signature = one.sign(b"this")
        self.assertEqual((len(one.node_id), len(signature)), (32, 64))
        self.assertTrue(cheap_verify(one.node_id, b"this", signature))
        self.assertFalse(cheap_verify(one.node_id, b"that", signature))
        self.assertFalse(cheap_verify(two.node_id, b"this", signature))


class ChunkTests(SynchronousTestCase):
    def arrivals(self, seconds: float) -> list[int]:
        """How many frames each chunk holds when three are sent at one moment on a link that takes so long."""
        world = World(1, latency=steady(seconds))
        first = world.node()
        second = world.node(bootstrap=(first.address,))
        world.run(4.567)
        (channel,) = second.channels.values()
        got: list[int] = []
        self.patch(first, "receive", lambda _channel, frames: got.append(len(frames)))
        for nonce in (1, 2, 3):
            world.carry(channel, messages.encode(messages.Ping(nonce)))
        world.run(0.0101)
        return got

    def test_what_is_sent_at_once_arrives_at_once(self) -> None:
        """Frames of one moment are one chunk."""
        self.assertEqual(self.arrivals(0.01), [3])

    def test_nothing_is_added_to_what_has_arrived(self) -> None:
        """On a link that takes no time each frame is a chunk of its own, and none is lost."""
        self.assertEqual(self.arrivals(0.0), [1, 1, 1])
