"""A link over one of its budgets is not read for as long as it takes to be within it again."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from positron.core.events import Pause, Resume
from positron.core.gossip.budgets import Budgets
from positron.core.limits import Bucket
from tests.core.gossip_parts import Node, taken


class BudgetTests(SynchronousTestCase):
    def setUp(self) -> None:
        """A link that is up, and its budgets."""
        self.node = Node()
        self.context = self.node.context
        self.state = self.node.link(1)
        self.resumed: list[int] = []
        self.budgets = Budgets(
            self.context, self.node.gossip.states, lambda link: self.resumed.append(link.number)
        )
        self.context.actions.clear()

    def assert_paused(self, seconds: float) -> None:
        """The link is paused now, and read again after so long, not before."""
        self.assertEqual(taken(self.context, Pause), [Pause(1)])
        self.assertTrue(self.state.link.paused)
        self.assertAlmostEqual(self.budgets.deadline - self.context.now, seconds, places=3)
        due = self.budgets.deadline
        self.context.now = due - 0.001
        self.budgets.tick()
        self.assertEqual(taken(self.context, Resume), [])
        self.context.now = due
        self.budgets.tick()
        self.assertEqual(taken(self.context, Resume), [Resume(1)])
        self.assertEqual((self.resumed, self.state.link.paused), ([1], False))
        self.assertEqual(self.budgets.deadline, float("inf"))

    def test_bytes(self) -> None:
        """Bytes alone, whatever is in them: over the burst by a second's worth is a pause of a second."""
        bytes_in = self.state.bytes_in
        self.budgets.charge(self.state, int(bytes_in.burst) - 1)
        self.assertEqual(taken(self.context, Pause), [])
        self.budgets.charge(self.state, int(bytes_in.rate) + 1)
        self.assert_paused(1.0)

    def test_bytes_come_back_with_time(self) -> None:
        """A link at its rate is never paused, however long."""
        for _ in range(200):
            self.budgets.charge(self.state, int(self.state.bytes_in.rate))
            self.context.now += 1.0
        self.assertEqual(taken(self.context, Pause), [])

    def test_each_other_budget(self) -> None:
        """Envelopes, an author's own, and ids of HAVE: what was debited elsewhere pauses at the next frame."""
        for name in ("envelopes", "author", "have"):
            self.setUp()
            bucket: Bucket = getattr(self.state, name)
            bucket.debit(bucket.burst + bucket.rate, self.context.now)
            self.budgets.charge(self.state, 1)
            self.assert_paused(1.0)

    def test_once(self) -> None:
        """What is paused already is not paused again."""
        for _ in range(3):
            self.budgets.charge(self.state, int(self.state.bytes_in.burst))
        self.assertEqual(taken(self.context, Pause), [Pause(1)])

    def test_two_links(self) -> None:
        """Each is read again when its own time is over."""
        other = self.node.link(2)
        self.context.actions.clear()
        for state, seconds in ((self.state, 1), (other, 3)):
            self.budgets.charge(state, int(state.bytes_in.burst + seconds * state.bytes_in.rate))
        times = []
        while self.budgets.deadline < float("inf"):
            self.context.now = self.budgets.deadline
            self.budgets.tick()
            times += [(round(self.context.now), resume.link) for resume in taken(self.context, Resume)]
        self.assertEqual(times, [(1, 1), (3, 2)])

    def test_a_link_that_goes(self) -> None:
        """It is not read again."""
        self.budgets.charge(self.state, 2 * int(self.state.bytes_in.burst))
        self.budgets.link_down(self.state.link)
        self.context.now = self.budgets.deadline
        self.budgets.tick()
        self.assertEqual((taken(self.context, Resume), self.resumed), ([], []))
