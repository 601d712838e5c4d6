"""What neighbours told us of others, and how little it may weigh.

Only first-hand statements count, one per network group, each with the weight its author earned by serving us. Whoever
did not serve us for an hour weighs nothing, so any number of fresh identities says exactly nothing; and our own
`baseline` has a weight of 1, so it takes more earned weight than that to be heard at all. Numbers: docs/security.rst.

Rule: nothing here changes a first-hand score.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import NamedTuple

from positron.core.trust.score import SCALE

MAX_VOUCHERS = 256
MAX_ABOUT = 64
"""Statements kept of one voucher (docs/design.rst, Figures); the oldest goes first."""

STATEMENT_LIFE = 24 * 3600.0
STATEMENT_FUTURE = 30.0
"""Seconds a statement counts, and how far ahead of our clock it may be."""

FULL_AGE = 3600
"""Seconds of acquaintance until a voucher weighs in full."""


class Said(NamedTuple):
    """One statement: a score in millionths, and when it was made (Unix seconds)."""

    score: int
    time: float


class Voucher:
    """One node that told us something, the network group of its link, and what it said of whom."""

    __slots__ = ("group", "said")

    def __init__(self, group: Hashable) -> None:
        self.group = group
        self.said: dict[bytes, Said] = {}


def weighted_median(opinions: Iterable[tuple[int, int]], own: int) -> int:
    """The weighted median of (score, weight > 0) pairs; where it is not unique, the value nearest to `own`."""
    ordered = sorted(opinions)
    total = sum(weight for _, weight in ordered)
    below, low, high = 0, None, own
    for score, weight in ordered:
        if 2 * below <= total:
            high = score  # at most half of the weight lies below this one
        below += weight
        if low is None and 2 * below >= total:
            low = score  # at least half of the weight lies at or below this one
    return high if low is None else min(max(own, low), high)


class Opinions:
    """The statements heard, by who made them. Bounded in every direction."""

    def __init__(self) -> None:
        self._vouchers: dict[bytes, Voucher] = {}

    def hear(
        self, author: bytes, group: Hashable, about: bytes, said: Said, worth: Callable[[bytes], int]
    ) -> bool:
        """Keep a statement, if it is newer than what its author said of `about` before.

        When too many have spoken, the one of least `worth` (the first-hand score) is forgotten.
        """
        voucher = self._vouchers.get(author)
        if voucher is None:
            if len(self._vouchers) >= MAX_VOUCHERS:
                least = min(self._vouchers, key=worth)
                if worth(least) > worth(author):
                    return False
                del self._vouchers[least]
            voucher = self._vouchers[author] = Voucher(group)
        voucher.group = group
        old = voucher.said.get(about)
        if old is not None and old.time >= said.time:
            return False
        if old is None and len(voucher.said) >= MAX_ABOUT:
            del voucher.said[min(voucher.said, key=lambda each: voucher.said[each].time)]
        voucher.said[about] = said
        return True

    def about(self, node_id: bytes, wall: float, weigh: Callable[[bytes], int]) -> list[tuple[int, int]]:
        """(score, weight) of what is said of `node_id`: of each group its weightiest voice, none of weight 0."""
        best: dict[Hashable, tuple[int, bytes, int]] = {}
        for author, voucher in self._vouchers.items():
            said = voucher.said.get(node_id)
            if said is None or wall - said.time > STATEMENT_LIFE:
                continue
            candidate = (weigh(author), author, said.score)
            if candidate[0] > 0 and (voucher.group not in best or candidate > best[voucher.group]):
                best[voucher.group] = candidate
        return [(score, weight) for weight, _, score in best.values()]

    def forget(self, node_id: bytes) -> None:
        """Drop what `node_id` said."""
        self._vouchers.pop(node_id, None)

    def __len__(self) -> int:
        return sum(len(voucher.said) for voucher in self._vouchers.values())


def is_statement(author: bytes, about: bytes, me: bytes, said: Said, wall: float) -> bool:
    """Whether a verified statement may be kept: in range, of its time, and of a third node."""
    return (
        author != about
        and me not in (author, about)
        and type(said.score) is int
        and 0 <= said.score <= SCALE
        and wall - STATEMENT_LIFE <= said.time <= wall + STATEMENT_FUTURE
    )
