"""Which published messages are on disk: the second half of a receipt.

Rule: sequence numbers become an envelope (`Sealed`), the envelope gets a mark, and the store reports marks. A receipt
that nobody looks at costs one object until its message is stored.
"""

from __future__ import annotations

from collections import deque

from positron.errors import StoreError
from positron.services.waiting import Outcome


class Receipts:
    """The receipts of one run that are not settled."""

    def __init__(self) -> None:
        self._healthy = True
        self._unsealed: dict[int, Outcome[None]] = {}
        self._marked: deque[tuple[int, list[Outcome[None]]]] = deque()

    def expect(self, seq: int) -> Outcome[None]:
        """What will be known of message `seq`, which is accepted and not sealed yet."""
        outcome: Outcome[None] = Outcome()
        self._unsealed[seq] = outcome
        return outcome

    def sealed(self, seq: int, count: int, mark: int) -> None:
        """Messages `seq .. seq + count - 1` are stored when `mark` is; marks rise."""
        expected = [self._unsealed.pop(each, None) for each in range(seq, seq + count)]
        outcomes = [outcome for outcome in expected if outcome is not None]
        if self._healthy:
            self._marked.append((mark, outcomes))
        else:
            _fail(outcomes)

    def stored(self, mark: int) -> None:
        """Everything up to `mark` is stored."""
        while self._marked and self._marked[0][0] <= mark:
            for outcome in self._marked.popleft()[1]:
                outcome.succeed(None)

    def storing(self, healthy: bool) -> None:
        """Whether the store takes envelopes. When it stops, what is on its way to it counts as not stored."""
        self._healthy = healthy
        while self._marked and not healthy:
            _fail(self._marked.popleft()[1])

    def fail_all(self, error: Exception) -> None:
        """None of the rest will be stored."""
        outcomes = list(self._unsealed.values())
        outcomes += [outcome for _, marked in self._marked for outcome in marked]
        self._unsealed.clear()
        self._marked.clear()
        for outcome in outcomes:
            outcome.fail(error)


def _fail(outcomes: list[Outcome[None]]) -> None:
    for outcome in outcomes:
        outcome.fail(StoreError("the message is sent, but the store takes none at present"))
