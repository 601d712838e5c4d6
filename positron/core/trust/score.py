"""The first-hand score of one node: integer millionths, moved by what its own link did and by time alone.

Rule: a score is stored as a value at a time and decays by computation, so reading it any number of times changes
nothing. It is written down anew only when it moves, and every move is a row (`positron.core.records.TrustChange`)
whose `before` is the `after` of the row before it. Numbers: docs/security.rst.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import log2

from positron.core.records import TrustChange, TrustKept

SCALE = 1_000_000
"""Millionths in 1."""

HALF_LIFE_ABOVE = 6 * 3600.0
HALF_LIFE_BELOW = 24 * 3600.0
"""Seconds in which half of the distance to the baseline is gone: waiting is no laundry."""

WINDOW = 60.0
WINDOW_GAIN = 10_000
WINDOW_GAIN_AUTHOR = 5_000
"""The most a node gains in one minute, in all and by the envelopes of one author. A minute begins with a delivery."""

PROMISE_GAP = 10.0
"""Seconds in which a link is charged with one broken promise at most."""

BAN_FIRST = 600.0
BAN_LONGEST = 24 * 3600.0

USEFUL, DECAY, BAN, UNBAN, OPERATOR, FORGOTTEN, CHECKPOINT = (
    "useful",
    "decay",
    "ban",
    "unban",
    "operator",
    "forgotten",
    "checkpoint",
)
"""Causes of rows that are no offence. Any other cause is the word the offence was charged under."""


def decayed(value: int, baseline: int, elapsed: float) -> int:
    """`value` after `elapsed` seconds without news: nearer to `baseline`, never beyond it. Time never runs back."""
    if elapsed <= 0 or value == baseline:
        return value
    half_life = HALF_LIFE_ABOVE if value > baseline else HALF_LIFE_BELOW
    left: float = 2.0 ** (-elapsed / half_life)
    return baseline + round((value - baseline) * left)


def ban_seconds(bans: int) -> float:
    """How long the `bans`-th ban of a node lasts: 10 min, doubling to 24 h."""
    return float(min(BAN_LONGEST, BAN_FIRST * 2 ** min(bans - 1, 16)))


def recovery_seconds(value: int, threshold: int, baseline: int) -> float:
    """How long a score needs to rise from `value` to above `threshold` (below `baseline`) by itself."""
    if value > threshold:
        return 0.0
    return HALF_LIFE_BELOW * log2((baseline - value) / (baseline - threshold)) + 1.0


def replay(rows: Iterable[TrustChange], baseline: int, wall: float) -> int:
    """The score at `wall` that the rows of one node add up to, oldest first; without any, `baseline`.

    Raises ValueError if a row does not follow from the one before it.
    """
    value, time = baseline, wall
    for row in rows:
        if row.before != value and row.cause != CHECKPOINT:
            raise ValueError(f"the row at {row.time} starts at {row.before}, and the score was {value}")
        if row.before + row.delta != row.after:
            raise ValueError(f"the row at {row.time} does not add up")
        value, time = row.after, row.time
    return decayed(value, baseline, wall - time)


def checkpoint(rows: list[TrustChange]) -> TrustChange:
    """One row in place of `rows` (of one node, oldest first, at least one), so that the rest still replays."""
    first, last = rows[0], rows[-1]
    count = sum(row.count for row in rows)
    delta = last.after - first.before
    return TrustChange(last.time, last.node_id, CHECKPOINT, count, delta, first.before, last.after)


class Score:
    """What is known first-hand of one node. `Trust` moves it; here are the moves themselves."""

    __slots__ = (
        "authors",
        "banned_until",
        "bans",
        "baseline",
        "before",
        "count",
        "first_seen",
        "gained",
        "invalid",
        "linked_before",
        "linked_since",
        "node_id",
        "promise_at",
        "time",
        "valid",
        "value",
        "window",
    )

    def __init__(self, node_id: bytes, baseline: int, wall: float) -> None:
        self.node_id = node_id
        self.baseline = baseline
        self.value = baseline
        self.time = wall
        self.valid = 0
        self.invalid = 0
        self.bans = 0
        self.banned_until = 0.0
        self.first_seen = wall
        self.window: float | None = None
        self.gained = 0
        self.authors: dict[bytes, int] = {}
        self.before = 0
        self.count = 0
        self.promise_at: float | None = None
        self.linked_since: float | None = None
        self.linked_before = 0.0

    @classmethod
    def from_record(cls, record: TrustKept, baseline: int) -> Score:
        """As it was written down."""
        score = cls(record.node_id, baseline, record.time)
        score.value = min(max(record.value, 0), SCALE)
        score.bans, score.banned_until = record.bans, record.banned_until
        score.valid, score.invalid, score.first_seen = record.valid, record.invalid, record.first_seen
        return score

    def record(self) -> TrustKept:
        """To be written down: as of the last row, so without an aggregate that is still open."""
        return TrustKept(
            self.node_id,
            self.before if self.count else self.value,
            self.time,
            self.bans,
            self.banned_until,
            self.valid,
            self.invalid,
            self.first_seen,
        )

    def at(self, wall: float) -> int:
        """The score at `wall`, in millionths."""
        value = self.value
        return value if value == self.baseline else decayed(value, self.baseline, wall - self.time)

    def uptime(self, wall: float) -> float:
        """Seconds linked to it since this node started."""
        if self.linked_since is None:
            return self.linked_before
        return self.linked_before + max(0.0, wall - self.linked_since)

    def is_blank(self) -> bool:
        """Whether there is nothing to remember."""
        return self.value == self.baseline and not (self.bans or self.valid or self.invalid)

    def gain(self, author: bytes, most: int, wall: float, rows: list[TrustChange]) -> bool:
        """A useful delivery of `author`'s envelope, worth up to `most`; whether the score rose.

        Rises are gathered in one aggregate per minute, which becomes a row when it is closed.
        """
        window = self.window
        if window is None or wall - window >= WINDOW:
            self.close(rows)
            self.window, self.gained = wall, 0
            self.authors.clear()
        elif wall < window:
            self.window = wall  # the clock went back: the minute begins anew, its allowance does not
        if self.gained >= WINDOW_GAIN:
            return False
        by_author = self.authors.get(author, 0)
        value = self.value if self.count else self.at(wall)
        gain = min(most, WINDOW_GAIN - self.gained, WINDOW_GAIN_AUTHOR - by_author, SCALE - value)
        if gain <= 0:
            return False
        if not self.count:
            self.advance(wall, rows)
            self.before = self.value
        self.count += 1
        self.value += gain
        self.gained += gain
        self.authors[author] = by_author + gain
        return True

    def close(self, rows: list[TrustChange]) -> None:
        """Turn the open aggregate of gains, if there is one, into its row."""
        if self.count:
            delta = self.value - self.before
            rows.append(
                TrustChange(self.time, self.node_id, USEFUL, self.count, delta, self.before, self.value)
            )
            self.count = 0

    def advance(self, wall: float, rows: list[TrustChange]) -> None:
        """Write the decay up to `wall` down. Only when another change follows, so that rounding never adds up."""
        value = self.at(wall)
        if value != self.value:
            rows.append(TrustChange(wall, self.node_id, DECAY, 1, value - self.value, self.value, value))
        self.value, self.time = value, wall

    def move(self, cause: str, to: int, wall: float, rows: list[TrustChange], count: int = 1) -> None:
        """Set the score to `to`, clamped to 0..1, for `cause`; a row even if it stays where it is."""
        to = min(max(to, 0), SCALE)
        rows.append(TrustChange(wall, self.node_id, cause, count, to - self.value, self.value, to))
        self.value, self.time = to, wall

    def settle(self, wall: float, rows: list[TrustChange]) -> None:
        """Bring rows and value up to `wall`, before a change of another kind."""
        self.close(rows)
        self.advance(wall, rows)
