"""One side of one conversation: what to answer to a message, and what it taught us."""

from __future__ import annotations

from itertools import pairwise
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

FIRST_LIST = 3
"""A first message is a list only of so many ids or fewer: mostly nothing differs, and a fingerprint says so in less."""

MAX_ROUNDS = 8
"""Messages that one side sends in one session. Two indexes of 65,536 need 6; what is left is the next session's."""

_PART = LEAF // 2


class Round(NamedTuple):
    """What one message led to.

    `message`: to be sent; empty: there is nothing more to say, and the other side, which asked, may be told so;
    None: the session is over and nobody waits. `waits`: whether `message` asks for an answer, else the session is
    over on this side. `lack`: ids that the other side holds and this index does not, in order of creation. `extra`:
    ids of ours that the other side lacks; it is told of them in `message`.
    """

    message: bytes | None
    waits: bool
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

    def start(self) -> Round:
        """The first message: the fingerprint of everything, or the ids if they are few.

        Its message is empty if the floor is not below the ceiling: then there is nothing to talk about.
        """
        if self._floor >= self._ceiling:
            return Round(b"", False, [], [])
        self.rounds += 1
        out = Writer(self._floor, self._ceiling, self._limit)
        low, high = bound(self._floor), bound(self._ceiling)
        ids: list[bytes] = []
        if self._index.count(low, high) <= FIRST_LIST:
            ids = self._index.ids(low, high)
            out.listing(low, high, LIST, ids)
        else:
            out.fingerprint(low, high, self._index.fingerprint(low, high))
        return Round(out.finish(), True, [], ids)

    def answer(self, message: bytes) -> Round:
        """What to answer to `message`, and what it says of the ids on both sides. `SyncError` if it is hostile."""
        if not message:
            return Round(None, False, [], [])
        floor, ceiling, ranges = parse(message)
        self._floor = max(self._floor, floor, self._index.floor)
        self._ceiling = min(self._ceiling, ceiling)
        asked = any(each.mode in (FINGERPRINT, LIST) for each in ranges)
        answer = _Answer()
        if self._floor < self._ceiling:
            out = Writer(self._floor, self._ceiling, self._limit)
            self._answer_all(ranges, out, answer)
            if self.rounds < MAX_ROUNDS:
                answer.message = out.finish()
        if answer.message:
            self.rounds += 1
        elif not asked:
            answer.message = None
        return Round(answer.message, bool(answer.message) and answer.asks, list(answer.lack), answer.extra)

    def _answer_all(self, ranges: list[Range], out: Writer, answer: _Answer) -> None:
        """Answer range by range; where the message is full, one fingerprint stands for all the rest."""
        floor, ceiling = bound(self._floor), bound(self._ceiling)
        for each in ranges:
            low, high = max(each.low, floor), min(each.high, ceiling)
            if low >= high or each.mode == SKIP:
                continue
            cut = low != each.low or high != each.high
            full_from = self._answer_one(each, low, high, cut, out, answer)
            if full_from is not None:
                out.rest(full_from, self._index.fingerprint(full_from, ceiling))
                answer.asks = True
                return

    def _answer_one(
        self, each: Range, low: bytes, high: bytes, cut: bool, out: Writer, answer: _Answer
    ) -> bytes | None:
        """Answer one range, clipped to what both sides hold; where the message became full, or None."""
        if each.mode == HAVE:
            ours = set(self._index.ids(low, high))
            answer.lack.update((id, None) for id in each.ids() if id not in ours)
            return None
        if each.mode == LIST and not cut:
            return self._compare(each, low, high, out, answer)
        if each.mode == FINGERPRINT and self._index.fingerprint(low, high) == each.content:
            return None
        # A list that reaches beyond our floor or ceiling names ids that are none of our business: we cannot tell
        # which, so we say what we have and let the other side compare.
        return self._split(low, high, out, answer)

    def _compare(self, each: Range, low: bytes, high: bytes, out: Writer, answer: _Answer) -> bytes | None:
        """Answer a LIST: note what we lack, and tell what the other side lacks, as far as there is room."""
        theirs, ours = each.ids(), self._index.ids(low, high)
        held, listed = set(ours), set(theirs)
        answer.lack.update((id, None) for id in theirs if id not in held)
        extra = [id for id in ours if id not in listed]
        if not extra:
            return None
        room = out.room()
        if len(extra) <= room:
            out.listing(low, high, HAVE, extra)
            answer.extra += extra
            return None
        if room < 1:
            return low
        (middle,) = self._index.cuts(low, high, [room])
        some = [id for id in ours[:room] if id not in listed]
        if some:
            out.listing(low, middle, HAVE, some)
            answer.extra += some
        return middle

    def _split(self, low: bytes, high: bytes, out: Writer, answer: _Answer) -> bytes | None:
        """Say what we have in a range that differs: a list if it is short, else fingerprints of its parts."""
        answer.asks = True
        count = self._index.count(low, high)
        if count <= LEAF:
            ids = self._index.ids(low, high)
            answer.extra += ids
            return None if out.listing(low, high, LIST, ids) else low
        parts = min(BRANCH, count // _PART)
        places = [
            low,
            *self._index.cuts(low, high, [count * part // parts for part in range(1, parts)]),
            high,
        ]
        for start, stop in pairwise(places):
            if not out.fingerprint(start, stop, self._index.fingerprint(start, stop)):
                return start
        return None


class _Answer:
    """An answer in the making; see `Round`."""

    def __init__(self) -> None:
        self.message: bytes | None = b""
        self.asks = False
        self.lack: dict[bytes, None] = {}
        self.extra: list[bytes] = []
