"""One side of one conversation: what to answer to a message, and what it taught us."""

from __future__ import annotations

from typing import NamedTuple

from positron.core.sync.index import Index, bound
from positron.core.sync.ranges import (
    FINGERPRINT,
    HAVE,
    LIST,
    MAX_MESSAGE,
    SKIP,
    Range,
    Writer,
    parse,
)

BRANCH = 16
"""The most ranges that one range is split into."""

LEAF = 16
"""A range of so many ids or fewer is sent as a list of ids."""

MAX_ROUNDS = 8
"""Messages that one side sends in one session. Two indexes of 65,536 need 5; what is left is the next session's."""

_PART = LEAF // 2


class Round(NamedTuple):
    """What one message led to.

    `message`: to be sent; empty: there is nothing more to say, and the other side, which asked, may be told so;
    None: the session is over and nobody waits. `lack`: ids that the other side holds and this index does not, in
    order of creation. `extra`: ids of ours that the other side lacks; it is told of them in `message`.
    """

    message: bytes | None
    lack: list[bytes]
    extra: list[bytes]


class Session:
    """One conversation over `index`, about what was created before `ceiling` (milliseconds, by our own clock).

    Of both sides' floors the higher rules, of their ceilings the lower. Either side makes one: who begins calls
    `start`, then each message received goes to `answer`. Ids may have come or gone in the index in between.
    """

    def __init__(self, index: Index, ceiling: int, limit: int = MAX_MESSAGE) -> None:
        self._index = index
        self._floor = index.floor
        self._ceiling = ceiling
        self._limit = limit
        self.rounds = 0
        """Messages sent so far, not counting empty ones."""

    def start(self) -> bytes:
        """The first message: the fingerprint of everything. Empty if the floor is not below the ceiling."""
        if self._floor >= self._ceiling:
            return b""
        self.rounds += 1
        out = Writer(self._floor, self._ceiling, self._limit)
        self._describe(bound(self._floor), bound(self._ceiling), out)
        return out.finish()

    def answer(self, message: bytes) -> Round:
        """What to answer to `message`, and what it says of the ids on both sides. `SyncError` if it is hostile."""
        if not message:
            return Round(None, [], [])
        floor, ceiling, ranges = parse(message)
        self._floor = max(self._floor, floor, self._index.floor)
        self._ceiling = min(self._ceiling, ceiling)
        asked = any(each.mode in (FINGERPRINT, LIST) for each in ranges)
        answer = _Answer(self._index)
        if self._floor < self._ceiling:
            out = Writer(self._floor, self._ceiling, self._limit)
            self._answer_all(ranges, out, answer)
            if self.rounds < MAX_ROUNDS:
                answer.message = out.finish()
        if answer.message:
            self.rounds += 1
        elif not asked:
            answer.message = None
        return Round(answer.message, list(answer.lack), answer.extra)
