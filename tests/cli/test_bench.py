"""The command that measures: its JSON, CSV and text, its exit code, and its page."""

from __future__ import annotations

import csv
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from positron.bench import local, micro
from tests.cli.running import Result, clean, keys, run
from tests.test_docs import page, section, table

FIGURES = keys(
    "nodes messages size rate authors slow halting idle delivery repeated messages_per_second latency_seconds "
    "cpu_seconds_per_1000 busiest_cpu_seconds wire_bytes_per_payload_byte duplicates_per_1000 rss_bytes "
    "rss_growth wall_seconds receivers"
)
RECEIVER = keys(
    "node author owed messages messages_per_second latency_seconds cpu_seconds rss_bytes duplicates"
)


class LocalTests(SynchronousTestCase):
    def setUp(self) -> None:
        clean(self)

    def test_json(self) -> None:
        """Two real processes, paced: the promised keys, and everything arrived."""
        done = run(["bench", "local", "--nodes", "2", "--messages", "200", "--rate", "400", "--json"])
        self.assertEqual((done.code, done.err), (0, ""))
        body = done.json()
        self.assertEqual(set(body), FIGURES | {"schema"})
        self.assertEqual((body["nodes"], body["messages"], body["size"], body["rate"]), (2, 200, 256, 400.0))
        self.assertEqual((body["delivery"], body["repeated"]), (1.0, 0))
        author, receiver = body["receivers"]
        self.assertEqual(set(receiver), RECEIVER)
        self.assertEqual((author["author"], author["owed"], author["messages"]), (True, 0, 0))
        self.assertEqual((receiver["author"], receiver["owed"], receiver["messages"]), (False, 200, 200))
        # Half a second of messages, and no faster than they were published.
        self.assertTrue(20 < receiver["messages_per_second"] < 440, receiver)
        self.assertLess(0, receiver["latency_seconds"]["p50"])
        self.assertLess(receiver["latency_seconds"]["p50"], 0.5)
        self.assertGreater(body["cpu_seconds_per_1000"], 0)

    def test_csv(self) -> None:
        """Two authors flat out, one with more links than a node has by default, as CSV: a row under its header."""
        done = run(
            ["bench", "local", "--nodes", "2", "--messages", "200", "--authors", "2", "--idle", "60", "--csv"]
        )
        self.assertEqual(done.code, 0, done.err)
        (row,) = csv.DictReader(done.lines)
        self.assertEqual((row["authors"], row["delivery"], row["rate"]), ("2", "1.0", ""))
        self.assertGreater(float(row["messages_per_second"]), 0)
        self.assertIn("latency_seconds.p99", row)

    def test_refuses(self) -> None:
        """What makes no sense ends with 2 and one sentence, before anything is started."""
        for flags in (("--nodes", "1"), ("--size", "1"), ("--authors", "9"), ("--rate", "-1")):
            done = run(["bench", "local", *flags])
            self.assertEqual((done.code, done.out), (2, ""), flags)
            self.assertIn(flags[0], done.err)

    def test_page(self) -> None:
        """The page says what each figure means."""
        listed = table(section(page("performance"), "What ``local`` tells"))
        self.assertEqual(set(listed) - {"figure"}, FIGURES - {"receivers"})


class EndTests(SynchronousTestCase):
    """How the command ends, with figures made up."""

    def setUp(self) -> None:
        clean(self)
        self.rows = [
            {"node": node, "author": not node, "owed": 10 * bool(node), "messages": 10 * bool(node)}
            | {"messages_per_second": 1.0, "latency_seconds": dict.fromkeys(keys("p50 p99 p999"), 0.001)}
            | {"cpu_seconds": 0.1, "rss_bytes": 1 << 26}
            for node in range(3)
        ]

    def command(self, *more: str, terminal: bool = False) -> Result:
        def measure(plan: local.Plan, progress: object) -> dict[str, Any]:
            return {"nodes": plan.nodes, "delivery": 1.0, "repeated": 0, "receivers": self.rows}

        self.patch(local, "measure", measure)
        return run(["bench", "local", "--nodes", "3", "--messages", "10", *more], terminal=terminal)

    def test_loss(self) -> None:
        """A loss ends with 1 and one sentence; the figures are there all the same."""
        self.rows[2]["messages"] = 9
        done = self.command("--json")
        self.assertEqual((done.code, done.err), (1, "1 of 20 deliveries were lost, at node 2\n"))
        self.assertEqual(done.json()["receivers"][2]["messages"], 9)

    def test_terminal(self) -> None:
        """A terminal gets a row for each node below the figures."""
        done = self.command(terminal=True)
        self.assertEqual((done.code, done.err), (0, ""))
        self.assertIn("PER SECOND", done.out)
        self.assertIn("64.0 MiB", done.out)

    def test_pipe(self) -> None:
        """A pipe gets names and values."""
        lines = self.command().lines
        self.assertEqual(lines[0], "name\tvalue")
        self.assertIn("nodes\t3", lines)


class MicroTests(SynchronousTestCase):
    """How ratios are shown, with figures made up."""

    def setUp(self) -> None:
        clean(self)
        self.quick: list[bool] = []

        def measure(progress: object, quick: bool) -> dict[str, Any]:
            self.quick.append(quick)
            raw = {goal.name: 1.0 for goal in micro.GOALS}
            return micro.figures({**raw, "receive": 45e-6, "simulator": 31_234.5}, 40e-6, 15e-6)

        self.patch(micro, "measure", measure)

    def test_json(self) -> None:
        """Every ratio, with its goal and whether it is met, and the two prices."""
        done = run(["bench", "micro", "--json"])
        self.assertEqual((done.code, done.err), (0, ""))
        body = done.json()
        self.assertEqual(set(body), keys("schema verify_seconds sign_seconds ratios"))
        self.assertEqual([row["name"] for row in body["ratios"]], [goal.name for goal in micro.GOALS])
        for row in body["ratios"]:
            self.assertEqual(set(row), keys("name value unit goal at_least met raw about"))
        self.assertEqual((body["ratios"][0]["met"], self.quick), (True, [False]))

    def test_csv(self) -> None:
        """A row for each ratio."""
        lines = run(["bench", "micro", "--quick", "--csv"]).lines
        found = list(csv.DictReader(lines))
        self.assertEqual([row["name"] for row in found], [goal.name for goal in micro.GOALS])
        self.assertEqual(self.quick, [True])

    def test_terminal(self) -> None:
        """What is missed stands out, and the prices are said."""
        shown = run(["bench", "micro"], terminal=True).out
        self.assertIn("MISSED", shown)
        self.assertIn("31,234", shown)
        self.assertIn("V = 40.0 µs, S = 15.0 µs", shown)
