"""The plan of a measurement, its figures, and its processes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from positron.bench.local import Plan, _growth, fault
from positron.bench.processes import MeasureError, Process, Processes, halting

ECHO = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    if asked["ask"] == "die":
        sys.exit("out of luck")
    answer = {"answer": asked["ask"], **({"error": "no"} if asked["ask"] == "fail" else {"got": asked})}
    if asked["ask"] != "ignore":
        print(json.dumps(answer), flush=True)
"""


class PlanTests(SynchronousTestCase):
    def test_shares(self) -> None:
        """Authors share the messages without gap or overlap, and each owes all but its own to each node."""
        for messages, authors in ((10, 1), (10, 3), (2, 3), (1000, 7)):
            plan = Plan(nodes=8, messages=messages, authors=authors)
            numbers = []
            for author in range(authors):
                first, count = plan.share_of(author)
                numbers += range(first, first + count)
            self.assertEqual(numbers, list(range(messages)))
            owed = sum(plan.owed_to(node) for node in range(8))
            self.assertEqual(owed, messages * 7)

    def test_refuses(self) -> None:
        """What makes no sense is said in a sentence."""
        for wrong in (
            {"nodes": 1},
            {"messages": 0},
            {"size": 8},
            {"size": 1 << 16},
            {"rate": -1.0},
            {"rate": float("nan")},
            {"authors": 6},
            {"slow": 4},
            {"slow": -1},
            {"halting": 6},
            {"idle": -1},
        ):
            error = self.assertRaises(ValueError, Plan, **wrong)
            self.assertIn("--" + next(iter(wrong)), str(error))


class FaultTests(SynchronousTestCase):
    def figures(self, *messages: int, repeated: int = 0) -> dict[str, Any]:
        rows = [{"node": node, "owed": 10, "messages": one} for node, one in enumerate(messages)]
        return {"receivers": rows, "repeated": repeated}

    def test_nothing(self) -> None:
        """All there, once: no fault."""
        self.assertIsNone(fault(self.figures(10, 10)))

    def test_lost(self) -> None:
        """What was lost, of how much, and where."""
        found = fault(self.figures(10, 8, 9, repeated=2))
        self.assertEqual(found, "3 of 30 deliveries were lost, at node 1, 2")

    def test_twice(self) -> None:
        """A repetition is a fault too."""
        self.assertEqual(fault(self.figures(10, repeated=2)), "2 deliveries came twice")


class GrowthTests(SynchronousTestCase):
    def test_slope(self) -> None:
        """Only the second half counts: what a node takes once is no growth."""
        looks = [(count, 50_000 + min(count, 10) * 1_000 + 7 * max(0, count - 20)) for count in range(41)]
        self.assertAlmostEqual(_growth(looks) or 0, 7)

    def test_too_few(self) -> None:
        """Of one look, or of looks between which nothing came, nothing follows."""
        self.assertIsNone(_growth([(5, 100)]))
        self.assertIsNone(_growth([(0, 100), (5, 100), (5, 200)]))


class ProcessTests(SynchronousTestCase):
    """With a worker that only echoes."""

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "echoing.py").write_text(ECHO)
        sys.path.append(str(folder.absolute()))
        self.addCleanup(sys.path.remove, str(folder.absolute()))
        self.nodes = Processes([Process(folder, str(index), ["-m", "echoing"]) for index in range(2)])
        self.addCleanup(self.nodes.__exit__)

    def test_answers(self) -> None:
        """An answer is that of what was asked, whatever else was asked before."""
        first = self.nodes[0]
        first.tell("later", number=1)
        self.assertEqual(first.ask("now", number=2)["got"]["number"], 2)
        self.assertEqual(first.answer("later")["got"]["number"], 1)
        self.assertEqual(len(self.nodes.ask_all("both")), 2)

    def test_error(self) -> None:
        """What the worker says went wrong is the error's text."""
        error = self.assertRaises(MeasureError, self.nodes[1].ask, "fail")
        self.assertEqual(str(error), "node 1 failed at 'fail': no")

    def test_death(self) -> None:
        """A worker that ends is an error that says its last words; so is asking it anything more."""
        error = self.assertRaises(MeasureError, self.nodes[0].ask, "die")
        self.assertEqual(str(error), "node 0 ended with 1: out of luck")
        self.assertRaises(MeasureError, self.nodes[0].ask, "now")

    def test_halting(self) -> None:
        """A halting process answers, later; afterwards it goes on as ever."""
        with halting(self.nodes[:1]):
            for number in range(20):
                self.assertEqual(self.nodes[0].ask("slowly", number=number)["got"]["number"], number)
        self.assertEqual(self.nodes[0].ask("now", 5, number=1)["got"]["number"], 1)

    def test_silence(self) -> None:
        """An answer that does not come is an error."""
        error = self.assertRaises(MeasureError, self.nodes[0].ask, "ignore", 0.05)
        self.assertIn("did not answer 'ignore'", str(error))
        self.assertFalse(self.nodes[0].has("ignore"))
