"""The trace of one message agrees with what was measured, and changes nothing of it."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from positron.simulation.report import as_json
from positron.simulation.running import Outcome, simulate
from positron.simulation.scenario import Malicious, Partition, Scenario


def play(trace: int | None, **values: Any) -> Outcome:
    """A small run."""
    return simulate(Scenario(**{"nodes": 24, "duration": 3.0, "seed": 5, **values}), trace=trace)


class TraceTests(SynchronousTestCase):
    def ways(self, outcome: Outcome) -> set[str]:
        """How the message came to those who have it, after a look at whether the trace is in order."""
        assert outcome.trace is not None
        times: dict[int, float] = {}
        for step in outcome.trace:
            self.assertNotIn(step.node, times, "once each")
            if step.source is not None:
                self.assertLess(times[step.source], step.seconds, "from somebody who had it")
            self.assertGreaterEqual(step.seconds, max(times.values(), default=0.0), "in the order of time")
            times[step.node] = step.seconds
        return {step.way for step in outcome.trace}

    def test_it_agrees_with_the_measurement(self) -> None:
        """Everybody is in it, at the time and the hop that were measured; the figures are those of a run without."""
        outcome = play(4, warm_up=2.0)
        self.assertEqual(self.ways(outcome), {"published", "push"})
        assert outcome.trace is not None
        self.assertEqual(len(outcome.trace), 24)
        self.assertEqual(outcome.trace[0][1:4], (None, 0.0, 0))
        measured = {
            (sample.node, round(sample.latency, 9), sample.hops)
            for sample in outcome.measurement.samples
            if sample.message == 4
        }
        self.assertEqual({(one.node, round(one.seconds, 9), one.hops) for one in outcome.trace[1:]}, measured)
        with_it, without = as_json(outcome), as_json(play(None, warm_up=2.0))
        del with_it["trace"], with_it["wall_seconds"], without["wall_seconds"]
        self.assertEqual(with_it, without)

    def test_pulls(self) -> None:
        """Who is pushed to by silent sources asks for it; who hears of nothing is shown it by strangers."""
        ways = set()
        for message in range(4):
            outcome = play(message, nodes=60, malicious=Malicious(0.7, "silent"), duration=1.0)
            ways |= self.ways(outcome)
        self.assertEqual(ways - {"sync"}, {"published", "push", "pull"})

    def test_syncs(self) -> None:
        """What was said on the other side of a cut comes by an exchange of sets, and goes on by push."""
        ways = self.ways(play(12, partition=Partition(4.0, 1.0)))
        self.assertEqual(ways - {"pull"}, {"published", "push", "sync"})

    def test_misuse(self) -> None:
        """Only messages that are measured, and only positron's."""
        for trace, values in ((-1, {}), (15, {}), (0, {"protocol": "push"})):
            self.assertRaises(ValueError, play, trace, **values)
