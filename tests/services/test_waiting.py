"""Results that several wait for, receipts, and the table of what the core has yet to answer."""

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from positron.core.events import Settle
from positron.errors import NoPeers, NotRunning, StoreError
from positron.services.receipts import Receipts
from positron.services.waiting import Outcome, Tokens


class OutcomeTests(SynchronousTestCase):
    def test_before_and_after(self):
        """Waits from before and after it is known get the first result, each its own Deferred."""
        outcome = Outcome()
        early = outcome.wait()
        self.assertNoResult(early)
        outcome.succeed(1)
        outcome.succeed(2)
        self.assertEqual(self.successResultOf(early), 1)
        self.assertEqual(self.successResultOf(outcome.wait()), 1)

    def test_cancelling_ends_one_wait(self):
        """Cancelling a wait leaves the others, and the outcome, alone."""
        outcome = Outcome()
        one, other = outcome.wait(), outcome.wait()
        one.cancel()
        self.failureResultOf(one, CancelledError)
        outcome.succeed(None)
        self.assertIsNone(self.successResultOf(other))

    def test_a_failure_nobody_waits_for(self):
        """It is not an unhandled error (trial would fail this test), and whoever asks later gets it."""
        outcome = Outcome()
        outcome.fail(NoPeers("none"))
        self.failureResultOf(outcome.wait(), NoPeers)


class TokensTests(SynchronousTestCase):
    def test_settle(self):
        """An answer is converted; an error fails."""
        tokens = Tokens()
        number, asked = tokens.ask(str)
        other, refused = tokens.ask(str)
        tokens.settle(Settle(other, error=NoPeers("none")))
        tokens.settle(Settle(number, 7))
        self.assertEqual(self.successResultOf(asked), "7")
        self.failureResultOf(refused, NoPeers)

    def test_an_answer_nobody_waits_for(self):
        """What was cancelled, or answered before, is forgotten."""
        tokens = Tokens()
        number, asked = tokens.ask(str)
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        tokens.settle(Settle(number, 7))
        self.assertEqual(len(tokens), 0)

    def test_the_core_is_gone(self):
        """Everything open fails."""
        tokens = Tokens()
        _, asked = tokens.ask(str)
        tokens.fail_all(NotRunning("stopped"))
        self.failureResultOf(asked, NotRunning)


class ReceiptsTests(SynchronousTestCase):
    def test_stored_by_mark(self):
        """A receipt is settled when the mark of its envelope, or a higher one, is reported."""
        receipts = Receipts()
        waits = [receipts.expect(seq).wait() for seq in (1, 2, 3)]
        receipts.sealed(1, 2, mark=10)
        receipts.sealed(3, 1, mark=11)
        receipts.stored(9)
        self.assertNoResult(waits[0])
        receipts.stored(10)
        self.successResultOf(waits[0])
        self.successResultOf(waits[1])
        self.assertNoResult(waits[2])
        receipts.stored(12)
        self.successResultOf(waits[2])

    def test_not_storing(self):
        """What is on its way when the store stops, and what comes after, fails; later ones do not."""
        receipts = Receipts()
        before, after = receipts.expect(1).wait(), receipts.expect(2).wait()
        receipts.sealed(1, 1, mark=1)
        receipts.storing(False)
        receipts.sealed(2, 1, mark=2)
        self.failureResultOf(before, StoreError)
        self.failureResultOf(after, StoreError)
        receipts.storing(True)
        later = receipts.expect(3).wait()
        receipts.sealed(3, 1, mark=3)
        receipts.stored(3)
        self.successResultOf(later)

    def test_asked_late(self):
        """Whoever asks when all is known is told the same as who asked before."""
        receipts = Receipts()
        receipts.sealed(1, 2, mark=1)
        receipts.stored(1)
        for seq in (3, 4):
            receipts.sealed(seq, 1, mark=seq)
        receipts.storing(False)
        receipts.sealed(5, 2, mark=5)
        receipts.storing(True)
        receipts.sealed(7, 1, mark=7)
        receipts.stored(7)
        receipts.sealed(8, 1, mark=8)
        receipts.fail_all(NotRunning("stopped"))
        for seq in (1, 2, 7):
            self.successResultOf(receipts.expect(seq).wait())
        for seq in (3, 4, 5, 6):
            self.failureResultOf(receipts.expect(seq).wait(), StoreError)
        for seq in (8, 9):
            self.failureResultOf(receipts.expect(seq).wait(), NotRunning)

    def test_settled(self):
        """Everything so far is settled once the last accepted is; what failed before is not waited for."""
        receipts = Receipts()
        self.assertIsNone(self.successResultOf(receipts.settled()))
        receipts.accepted = 2
        settled = receipts.settled()
        receipts.sealed(1, 1, 5)
        receipts.stored(5)
        self.assertNoResult(settled)
        receipts.sealed(2, 1, 6)
        receipts.storing(False)
        self.failureResultOf(settled, StoreError)
        self.assertIsNone(self.successResultOf(receipts.settled()))

    def test_two_stretches(self):
        """A store that stops twice: what it took in between is stored."""
        receipts = Receipts()
        for seq, healthy in ((1, False), (2, True), (3, False), (4, True)):
            receipts.storing(healthy)
            receipts.sealed(seq, 1, mark=seq)
            if healthy:
                receipts.stored(seq)
        for seq in (2, 4):
            self.successResultOf(receipts.expect(seq).wait())
        for seq in (1, 3):
            self.failureResultOf(receipts.expect(seq).wait(), StoreError)

    def test_the_end(self):
        """Sealed or not, the rest fails when the node stops."""
        receipts = Receipts()
        waits = [receipts.expect(seq).wait() for seq in (1, 2)]
        receipts.sealed(1, 1, mark=1)
        receipts.fail_all(NotRunning("stopped"))
        for waiting in waits:
            self.failureResultOf(waiting, NotRunning)
