"""`Trust`: the scores of all nodes, the bans, and what follows from both."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from itertools import chain, islice

from attrs import frozen

from positron.core.records import TrustChange, TrustKept
from positron.core.statements import TrustStatement
from positron.core.trust.opinion import FULL_AGE, Opinions, Said, is_statement, weighted_median
from positron.core.trust.score import (
    BAN,
    BAN_LONGEST,
    OPERATOR,
    PROMISE_GAP,
    SCALE,
    UNBAN,
    Score,
    ban_seconds,
    recovery_seconds,
)
from positron.core.trust.table import Scores

MAX_STATEMENTS = 16
"""Trust statements given to a neighbour at once."""

DOUBTFUL = 300_000
"""Below this a peer is no eager source and the first to be evicted."""

IGNORED = 200_000
"""Below this a peer's HAVE is ignored."""

OPINION_SHARE = 300_000
OPINION_LIMIT = 150_000
"""How much of the others' opinion reaches T, and the most it moves anyone by."""

_SPOKEN_OF = 256


@frozen(kw_only=True)
class Explanation:
    """The parts of one node's trust. Scores are 0 to 1; `opinion` is the median that counts, `voices` how many
    groups spoke with any weight; `uptime_seconds` is time linked since this node started."""

    node_id: bytes
    trust: float
    first_hand: float
    opinion: float
    voices: int
    uptime_seconds: float
    valid: int
    invalid: int
    bans: int
    banned_until: float | None
    first_seen: float | None


class Trust:
    """The scores of the nodes we met. A node nobody knows stands at `baseline`.

    `me` is our own id. The other parameters are the configuration's `trust_...`, 0 to 1 with
    `ban < baseline < 1`; ValueError otherwise.
    """

    def __init__(
        self,
        *,
        me: bytes = b"",
        baseline: float = 0.5,
        gain: float = 0.001,
        penalty: float = 0.1,
        ban: float = 0.1,
    ) -> None:
        if not (0 <= ban < baseline < 1 and 0 <= gain <= 1 and 0 <= penalty <= 1):
            raise ValueError("trust needs 0 <= ban < baseline < 1, and gain and penalty from 0 to 1")
        self._me = me
        self.baseline, self._gain, self._penalty, self._threshold = (
            round(value * SCALE) for value in (baseline, gain, penalty, ban)
        )
        self._scores = Scores(self.baseline)
        self._opinions = Opinions()

    def load(self, records: Iterable[TrustKept]) -> None:
        """Take over what the store held, the least recently changed first."""
        self._scores.load(records)

    def __len__(self) -> int:
        """How many nodes are remembered; at most `MAX_KNOWN + MAX_BANNED`."""
        return len(self._scores.known) + len(self._scores.banned)

    # ------------------------------------------------------------------------------------ what a link did

    def met(self, node_id: bytes, wall: float) -> None:
        """A link to this node is up: from now on its acquaintance ages. Again is no harm."""
        score = self._scores.obtain(node_id, wall)
        if score.linked_since is None:
            score.linked_since = wall

    def parted(self, node_id: bytes, wall: float) -> None:
        """The last link to this node is down. A node that left nothing to remember is forgotten."""
        score = self._scores.find(node_id)
        if score is None:
            return
        score.linked_before, score.linked_since = score.uptime(wall), None
        if score.is_blank():
            self._scores.known.pop(node_id, None)

    def useful(self, node_id: bytes, author: bytes, wall: float) -> None:
        """This node's link was the first to bring a valid envelope of `author`. Its own earns it nothing."""
        score = self._scores.obtain(node_id, wall)
        score.valid += 1
        if author == node_id:
            return
        if score.gain(author, self._gain, wall, self._scores.rows) and score.count == 1:
            self._scores.opened(score)

    def offence(self, node_id: bytes, cause: str, wall: float) -> float:
        """Charge a proven offence of this node's own link; seconds of the ban that it brought, or 0."""
        score = self._scores.settled(node_id, wall)
        score.invalid += 1
        score.move(cause, score.value - self._penalty, wall, self._scores.rows)
        return self._ban_if_low(score, wall)

    def broken_promise(self, node_id: bytes, wall: float) -> bool:
        """Charge a promise that was not kept; False, and nothing charged, within 10 s of the last.

        It may bring a ban, as any offence: ask `banned_until`.
        """
        score = self._scores.obtain(node_id, wall)
        if score.promise_at is not None and abs(wall - score.promise_at) < PROMISE_GAP:
            return False
        score.promise_at = wall
        self.offence(node_id, "promise", wall)
        return True

    def violation(self, node_id: bytes, cause: str, wall: float) -> float:
        """A breach of the protocol: an offence, and a ban whatever the score. Seconds of the ban.

        10 min, doubling to 24 h with each ban, and not before the score is above the threshold of bans again. What
        comes while the ban lasts does not double it.
        """
        remaining = self.banned_until(node_id, wall)
        self.offence(node_id, cause, wall)
        if remaining is None and self.banned_until(node_id, wall) is None:
            self._ban(self._scores.obtain(node_id, wall), wall)
        until = self.banned_until(node_id, wall)
        return 0.0 if until is None else until - wall

    # -------------------------------------------------------------------------------------- the operator

    def set_score(self, node_id: bytes, score: float, wall: float) -> None:
        """The operator's own judgement, 0 to 1, from which it decays as usual. ValueError outside that range."""
        if not 0 <= score <= 1:
            raise ValueError(f"a score is 0 to 1, not {score}")
        subject = self._scores.settled(node_id, wall)
        subject.move(OPERATOR, round(score * SCALE), wall, self._scores.rows)
        self._ban_if_low(subject, wall)

    def ban(self, node_id: bytes, seconds: float, wall: float) -> None:
        """The operator bans this node for `seconds` (> 0, may be `inf`), in place of any ban it had."""
        if not seconds > 0:
            raise ValueError(f"a ban lasts more than 0 seconds, not {seconds}")
        self._ban(self._scores.settled(node_id, wall), wall, seconds)

    def unban(self, node_id: bytes, wall: float) -> bool:
        """The operator lifts a ban; False if there was none. How often it was banned stays known."""
        if self.banned_until(node_id, wall) is None:
            return False
        score = self._scores.settled(node_id, wall)
        score.move(UNBAN, score.value, wall, self._scores.rows, count=score.bans)
        score.banned_until = 0.0
        self._scores.file(score, wall)
        return True

    def forget(self, node_id: bytes, wall: float) -> None:
        """Remove all that is known of this node, and what it said of others."""
        self._opinions.forget(node_id)
        score = self._scores.find(node_id)
        if score is not None:
            self._scores.drop(score, wall)
            if score.linked_since is not None:
                self.met(node_id, wall)

    # ----------------------------------------------------------------------------------------- questions

    def banned_until(self, node_id: bytes, wall: float) -> float | None:
        """When this node's ban ends (Unix seconds, `inf` for never), or None if it is not banned."""
        score = self._scores.banned.get(node_id)
        if score is None:
            return None
        if score.banned_until > wall:
            return score.banned_until
        self._scores.file(score, wall)
        return None

    def millionths(self, node_id: bytes, wall: float) -> int:
        """The first-hand score D, in whole millionths."""
        score = self._scores.find(node_id)
        return self.baseline if score is None else score.at(wall)

    def first_hand(self, node_id: bytes, wall: float) -> float:
        """The first-hand score D, 0 to 1."""
        return self.millionths(node_id, wall) / SCALE

    def is_doubtful(self, node_id: bytes, wall: float) -> bool:
        """D < 0.3: no eager source, and the first to be evicted."""
        return self.millionths(node_id, wall) < DOUBTFUL

    def is_ignored(self, node_id: bytes, wall: float) -> bool:
        """D < 0.2: what it announces is ignored."""
        return self.millionths(node_id, wall) < IGNORED

    def score(self, node_id: bytes, wall: float) -> float:
        """Trust T, 0 to 1: D moved by what others say. It orders equal choices and decides nothing."""
        return self._trust(node_id, self._median(self._voices(node_id, wall)), wall) / SCALE

    def opinion(self, node_id: bytes, wall: float) -> float:
        """What the others think of this node, 0 to 1: the weighted median, our own baseline among it."""
        return self._median(self._voices(node_id, wall)) / SCALE

    def explain(self, node_id: bytes, wall: float) -> Explanation:
        """The score of this node with all its parts."""
        score = self._scores.find(node_id)
        voices = self._voices(node_id, wall)
        opinion = self._median(voices)
        return Explanation(
            node_id=node_id,
            trust=self._trust(node_id, opinion, wall) / SCALE,
            first_hand=self.first_hand(node_id, wall),
            opinion=opinion / SCALE,
            voices=len(voices),
            uptime_seconds=score.uptime(wall) if score else 0.0,
            valid=score.valid if score else 0,
            invalid=score.invalid if score else 0,
            bans=score.bans if score else 0,
            banned_until=self.banned_until(node_id, wall),
            first_seen=score.first_seen if score else None,
        )

    def banned_count(self, wall: float) -> int:
        """How many nodes are banned at `wall`."""
        return sum(1 for score in self._scores.banned.values() if score.banned_until > wall)

    def judged(self) -> list[bytes]:
        """Every node that has a score."""
        return [*self._scores.known, *self._scores.banned]

    # ------------------------------------------------------------------------------------- what others say

    def hear(self, statement: TrustStatement, group: Hashable, wall: float) -> bool:
        """Keep a statement whose signature the caller verified; `group` is the network group of its author's link.

        False, and nothing kept, if its author was never linked to us, if it is about its author or about us, out of
        range, from the future, over a day old, or not newer than the last one.
        """
        said = Said(statement.score, statement.time_ms / 1000)
        if self._scores.find(statement.author) is None:
            return False
        if not is_statement(statement.author, statement.about, self._me, said, wall):
            return False
        return self._opinions.hear(
            statement.author, group, statement.about, said, lambda author: self.millionths(author, wall)
        )

    def statements(self, wall: float, asker: bytes = b"") -> list[tuple[bytes, int]]:
        """(node id, D in millionths) to sign and give to `asker`: at most 16, of those recently dealt with the ones
        we have most to say about, never of `asker` itself, never second-hand."""
        recent = chain(
            islice(reversed(self._scores.known.values()), _SPOKEN_OF),
            islice(reversed(self._scores.banned.values()), _SPOKEN_OF),
        )
        scores = ((each.node_id, each.at(wall)) for each in recent if each.node_id != asker)
        worth_saying = [each for each in scores if each[1] != self.baseline]
        worth_saying.sort(key=lambda each: (-abs(each[1] - self.baseline), each[0]))
        return worth_saying[:MAX_STATEMENTS]

    # ----------------------------------------------------------------------------------------- for the store

    def take_rows(self, wall: float) -> list[TrustChange]:
        """The audit rows since the last call, in order. Gains come when their minute is over: with `inf`, at once."""
        return self._scores.take_rows(wall)

    def take_records(self) -> list[TrustKept]:
        """What the rows taken so far add up to, for each node that they moved since the last call.

        Call it after `take_rows` and write both together. A record without counts, bans and a value of its own is
        that of a node now forgotten.
        """
        return self._scores.take_records()

    # ---------------------------------------------------------------------------------------------- inside

    def _ban_if_low(self, score: Score, wall: float) -> float:
        if score.value > self._threshold or self.banned_until(score.node_id, wall) is not None:
            return 0.0
        return self._ban(score, wall)

    def _ban(self, score: Score, wall: float, seconds: float | None = None) -> float:
        """Ban a settled score, for as long as the rule says if not for `seconds`."""
        score.bans += 1
        if seconds is None:
            recovery = recovery_seconds(score.value, self._threshold, self.baseline)
            seconds = min(BAN_LONGEST, max(ban_seconds(score.bans), recovery))
        score.banned_until = wall + seconds
        score.move(BAN, score.value, wall, self._scores.rows, count=score.bans)
        self._scores.file(score, wall)
        return seconds

    def _voices(self, node_id: bytes, wall: float) -> list[tuple[int, int]]:
        return self._opinions.about(node_id, wall, lambda author: self._weight(author, wall))

    def _weight(self, author: bytes, wall: float) -> int:
        """What this voucher earned: 0 for a newcomer, a stranger, or whoever is banned."""
        score = self._scores.known.get(author)
        if score is None:
            return 0
        age = min(max(int(wall - score.first_seen), 0), FULL_AGE)
        return max(0, score.at(wall) - self.baseline) * age

    def _median(self, voices: list[tuple[int, int]]) -> int:
        own = (self.baseline, (SCALE - self.baseline) * FULL_AGE)
        return weighted_median([*voices, own], self.baseline)

    def _trust(self, node_id: bytes, opinion: int, wall: float) -> int:
        shift = round(OPINION_SHARE * (opinion - self.baseline) / SCALE)
        shift = min(max(shift, -OPINION_LIMIT), OPINION_LIMIT)
        return min(max(self.millionths(node_id, wall) + shift, 0), SCALE)
