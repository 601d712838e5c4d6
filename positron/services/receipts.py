"""Which published messages are on disk: the second half of a receipt.

Rule: sequence numbers become an envelope (`Sealed`), the envelope gets a mark, and the store reports marks. All three
rise without holes, so what is known is a number and a few stretches, and a receipt that nobody looks at costs nothing.
"""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import Deferred, succeed

from positron.errors import StoreError
from positron.services.waiting import Outcome


class Receipts:
    """What is known of the messages of one run, by sequence number. Numbers begin at 1."""

    def __init__(self) -> None:
        self.accepted = 0
        """The last sequence number given out."""
        self._healthy = True
        self._sealed = 0
        self._settled = 0
        self._failed: list[tuple[int, int]] = []
        self._marked: deque[tuple[int, int]] = deque()
        self._expected: dict[int, Outcome[None]] = {}
        self._end: Exception | None = None

    def expect(self, seq: int) -> Outcome[None]:
        """What is known, or will be, of message `seq`, which is accepted."""
        outcome = self._expected.get(seq)
        if outcome is None:
            outcome = Outcome()
            if seq <= self._settled:
                self._tell(outcome, seq)
            elif self._end is not None:
                outcome.fail(self._end)
            else:
                self._expected[seq] = outcome
        return outcome

    def settled(self) -> Deferred[None]:
        """Fires when everything accepted so far is stored; fails as the receipt of the last would. What is known to
        have failed already is not waited for."""
        return succeed(None) if self.accepted <= self._settled else self.expect(self.accepted).wait()

    def sealed(self, seq: int, count: int, mark: int) -> None:
        """Messages `seq .. seq + count - 1` are stored when `mark` is; marks rise."""
        self._sealed = seq + count - 1
        if self._healthy:
            self._marked.append((mark, self._sealed))
        else:
            self._fail()

    def stored(self, mark: int) -> None:
        """Everything up to `mark` is stored."""
        last = self._settled
        while self._marked and self._marked[0][0] <= mark:
            last = self._marked.popleft()[1]
        self._settle(last)

    def storing(self, healthy: bool) -> None:
        """Whether the store takes envelopes. When it stops, what is on its way to it counts as not stored."""
        self._healthy = healthy
        if not healthy:
            self._fail()

    def fail_all(self, error: Exception) -> None:
        """None of the rest will be stored."""
        self._end = error
        self._marked.clear()
        expected, self._expected = self._expected, {}
        for outcome in expected.values():
            outcome.fail(error)

    def _fail(self) -> None:
        """What is sealed and not stored will not be."""
        self._marked.clear()
        if self._sealed > self._settled:
            first = self._settled + 1
            if self._failed and self._failed[-1][1] + 1 == first:
                first = self._failed.pop()[0]
            self._failed.append((first, self._sealed))
            self._settle(self._sealed)

    def _settle(self, last: int) -> None:
        """Everything up to `last` is stored or failed: whoever asked is told."""
        first, self._settled = self._settled + 1, last
        if not self._expected:
            return
        for seq in range(first, last + 1):
            outcome = self._expected.pop(seq, None)
            if outcome is not None:
                self._tell(outcome, seq)

    def _tell(self, outcome: Outcome[None], seq: int) -> None:
        if any(first <= seq <= last for first, last in self._failed):
            outcome.fail(StoreError("the message is sent, but the store takes none at present"))
        else:
            outcome.succeed(None)
