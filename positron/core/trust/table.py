"""The scores of all nodes, bounded, with the rows and records that the store has not been given yet."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from positron.core.records import TrustChange, TrustKept
from positron.core.trust.score import FORGOTTEN, WINDOW, Score

MAX_KNOWN = 4_096
MAX_BANNED = 4_096
"""Nodes remembered. Two tables, so that neither a flood of banned ids nor one of good ones empties the other."""

EVICTION_SAMPLE = 64
"""Of so many that were not dealt with for longest, the one nearest to the baseline is forgotten."""


class Scores:
    """Scores by node id: those `known`, least recently changed first, and those `banned`.

    A score whose ban has run out may stay in `banned` until someone asks.
    """

    def __init__(self, baseline: int) -> None:
        self.baseline = baseline
        self.known: dict[bytes, Score] = {}
        self.banned: dict[bytes, Score] = {}
        self.rows: list[TrustChange] = []
        self._open: dict[bytes, Score] = {}
        self._changed: dict[bytes, None] = {}

    def load(self, records: Iterable[TrustKept]) -> None:
        """Take over records, the least recently changed first; when there are too many, the last ones."""
        for record in records:
            score = Score.from_record(record, self.baseline)
            (self.banned if score.banned_until else self.known)[record.node_id] = score
        for table, most in ((self.known, MAX_KNOWN), (self.banned, MAX_BANNED)):
            for node_id in list(table)[: max(0, len(table) - most)]:
                del table[node_id]

    def find(self, node_id: bytes) -> Score | None:
        """The score of this node, if it has one."""
        return self.known.get(node_id) or self.banned.get(node_id)

    def obtain(self, node_id: bytes, wall: float) -> Score:
        """The score of this node, a new one at the baseline if need be."""
        score = self.find(node_id)
        if score is None:
            score = Score(node_id, self.baseline, wall)
            self.file(score, wall)
        return score

    def settled(self, node_id: bytes, wall: float) -> Score:
        """The score of this node, with rows and value up to `wall`: what every change but a gain begins with."""
        score = self.obtain(node_id, wall)
        self._open.pop(node_id, None)
        score.settle(wall, self.rows)
        self.touch(score)
        return score

    def opened(self, score: Score) -> None:
        """Note that it has an aggregate of gains from now on."""
        self._open.pop(score.node_id, None)
        self._open[score.node_id] = score
        self.touch(score)

    def touch(self, score: Score) -> None:
        """Note that it changed, and that it is the most recent of its table."""
        self._changed[score.node_id] = None
        table = self.known if score.node_id in self.known else self.banned
        table[score.node_id] = table.pop(score.node_id)

    def file(self, score: Score, wall: float) -> None:
        """Put it in the table where it belongs now, and make room there."""
        self.known.pop(score.node_id, None)
        self.banned.pop(score.node_id, None)
        if score.banned_until > wall:
            self.banned[score.node_id] = score
            if len(self.banned) > MAX_BANNED:
                self.drop(min(self.banned.values(), key=lambda each: each.banned_until), wall)
            return
        self.known[score.node_id] = score
        if len(self.known) > MAX_KNOWN:
            idle = (each for each in self.known.values() if each.linked_since is None and each is not score)
            oldest = islice(idle, EVICTION_SAMPLE)
            gone = min(oldest, key=lambda each: abs(each.at(wall) - self.baseline), default=None)
            if gone is not None:
                self.drop(gone, wall)

    def drop(self, score: Score, wall: float) -> None:
        """Forget it, with a row that brings its trail back to the baseline."""
        if not score.is_blank():
            self.settled(score.node_id, wall)
            score.move(FORGOTTEN, self.baseline, wall, self.rows)
        self.known.pop(score.node_id, None)
        self.banned.pop(score.node_id, None)

    def take_rows(self, wall: float) -> list[TrustChange]:
        """See `Trust.take_rows`."""
        for node_id, score in list(self._open.items()):
            if score.count and 0 <= wall - score.time < WINDOW:
                break
            score.close(self.rows)
            del self._open[node_id]
            self._changed[node_id] = None
        rows, self.rows = self.rows, []
        return rows

    def take_records(self) -> list[TrustKept]:
        """See `Trust.take_records`."""
        changed, self._changed = self._changed, {}
        return [(self.find(node_id) or Score(node_id, self.baseline, 0.0)).record() for node_id in changed]
