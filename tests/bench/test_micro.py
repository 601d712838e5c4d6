"""The ratios, and the small processes that they are measured with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from positron.bench import micro
from positron.bench.counting import LOOK_EVERY, Lateness
from positron.bench.primitives import prices
from tests.test_docs import page, rows, section


class RatioTests(SynchronousTestCase):
    def figures(self, **raw: float) -> dict[str, dict[str, object]]:
        """With V = 40 and S = 15 microseconds."""
        found = micro.figures({goal.name: raw.get(goal.name, 1.0) for goal in micro.GOALS}, 40e-6, 15e-6)
        return {row["name"]: row for row in found["ratios"]}

    def test_values(self) -> None:
        """Each is in its own unit: V, S, KiB, a share of V or S, or what it is."""
        found = self.figures(
            receive=50e-6,
            receive_rest=5e-6,
            receive_rate=20_000,
            publish=20e-6,
            publish_bundle=6e-6,
            idle_link=51_200,
            lateness=0.004,
            simulator=60_000,
        )
        expected = {
            "receive": 0.8,
            "receive_rest": 0.125,
            "receive_rate": 0.8,
            "publish": 0.75,
            "publish_bundle": 0.4,
            "idle_link": 50,
            "lateness": 0.004,
            "simulator": 60_000,
        }
        for name, value in expected.items():
            self.assertAlmostEqual(found[name]["value"], value, msg=name)

    def test_met(self) -> None:
        """A goal is met from either side, and at its very border."""
        found = self.figures(
            receive=50e-6, receive_rest=5e-6, stored_row=10e-6, idle_link=1e6, simulator=50_000
        )
        met = {
            name: found[name]["met"]
            for name in ("receive", "receive_rest", "stored_row", "idle_link", "simulator")
        }
        self.assertEqual(
            met,
            {
                "receive": True,
                "receive_rest": False,
                "stored_row": True,
                "idle_link": False,
                "simulator": True,
            },
        )

    def test_page(self) -> None:
        """The page has every ratio, with its goal."""
        listed = [cells[:3] for cells in rows(section(page("performance"), "What ``micro`` tells"))[1:]]
        expected = []
        for goal in micro.GOALS:
            sign = "at least" if goal.at_least else "at most"
            expected.append([f"``{goal.name}``", goal.about, f"{sign} {goal.goal:,.10g} {goal.unit}".strip()])
        self.assertEqual(listed, expected)

    def test_prices(self) -> None:
        """Both cost something."""
        verify, sign = prices()
        self.assertTrue(sign > 0 < verify, (verify, sign))


class LatenessTests(SynchronousTestCase):
    def test_late(self) -> None:
        """A loop that is held up is late by as much; one that is not is not."""
        clock = Clock()
        watched = Lateness(clock)
        clock.advance(LOOK_EVERY + 0.25)
        self.assertAlmostEqual(watched.end(), 0.25)
        watched = Lateness(clock)
        for _ in range(10):
            clock.advance(LOOK_EVERY)
        self.assertAlmostEqual(watched.end(), 0.0)
        self.assertEqual(clock.getDelayedCalls(), [])


class MeasureTests(SynchronousTestCase):
    """Real processes, with little to do."""

    def setUp(self) -> None:
        for name, count in (
            ("SINGLES", 2_000),
            ("AUTHORED", 200),
            ("AUTHORED_BUNDLES", 100),
            ("ROWS", 2_000),
        ):
            self.patch(micro, name, count)
        self.patch(micro, "LINKS", 5)
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.bench = micro._Bench(folder, quick=True)
        self.raw = self.bench.raw

    def test_receive(self) -> None:
        """All that follows from being fed, verified and not, is measured."""
        self.bench._receive()
        self.bench._receive_rest()
        for name in ("receive", "receive_rest", "receive_rate"):
            self.assertGreater(self.raw[name], 0, name)
        self.assertGreaterEqual(self.raw["lateness"], 0)

    def test_unverified(self) -> None:
        """The worker that is to show what all but verifying costs verifies nothing; any other process does."""
        script = (
            "import contextlib, runpy, sys\n"
            "with contextlib.suppress(SystemExit, IndexError):\n"
            "    runpy.run_module(sys.argv.pop(), run_name='__main__', alter_sys=True)\n"
            "from positron.core.swarm import Swarm\n"
            "print(Swarm.__init__.__kwdefaults__['verify'](bytes(32), b'', bytes(64)))"
        )
        for module, verdict in (("positron.bench.unverified", "True"), ("positron.bench.worker", "False")):
            ran = subprocess.run(
                [sys.executable, "-c", script, module], capture_output=True, text=True, check=False
            )
            self.assertEqual(ran.stdout.split()[-1:], [verdict], ran.stderr)

    def test_publish(self) -> None:
        """Alone and in bundles."""
        self.bench._publish()
        for name in ("publish", "publish_bundle"):
            self.assertGreater(self.raw[name], 0, name)

    def test_links_and_rows(self) -> None:
        """What a handshake, an idle link and a stored row cost."""
        self.bench._links()
        self.bench._store()
        for name in ("handshake", "stored_row"):
            self.assertGreater(self.raw[name], 0, name)
        self.assertIn("idle_link", self.raw)

    def test_loss(self) -> None:
        """What does not arrive is an error with one sentence."""
        self.patch(micro, "PATIENCE", 0.0)
        with self.bench._nodes(1) as (node, _):
            error = self.assertRaises(micro.MeasureError, self.bench._until_there, [node], 10)
        self.assertEqual(str(error), "10 of 10 messages did not arrive")
