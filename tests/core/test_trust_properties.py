"""The twelve properties of trust (docs/design.rst, Figures), over random histories.

A history is a list of steps: how many seconds pass, what happens, to which of a few peers.
"""

from __future__ import annotations

from math import inf, isfinite, nan
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from positron.core.records import TrustChange
from positron.core.statements import TrustStatement
from positron.core.trust import SCALE, Trust, replay
from positron.core.trust.opinion import weighted_median
from positron.core.trust.score import decayed

NOW = 1_800_000_000.0
HOUR = 3600.0
BASE = 500_000


def node(number: int) -> bytes:
    return number.to_bytes(32, "big")


SUBJECT = node(9_999)
PEERS = [node(number) for number in range(1, 4)]
KINDS = (
    "useful",
    "useful",
    "useful",
    "offence",
    "promise",
    "violation",
    "hear",
    "set",
    "unban",
    "met",
    "parted",
)
STEPS = st.lists(
    st.tuples(
        st.one_of(st.floats(0, 5), st.floats(0, 2 * 24 * HOUR)),
        st.sampled_from(KINDS),
        st.sampled_from(PEERS),
        st.integers(0, 1_000_000),
    ),
    max_size=60,
)
VALUES = st.integers(0, SCALE)
SECONDS = st.floats(0, 1e7)


def perform(trust: Trust, kind: str, peer: bytes, number: int, wall: float) -> None:
    """One step of a history."""
    if kind == "useful":
        trust.useful(peer, node(100 + number % 5), wall)
    elif kind == "offence":
        trust.offence(peer, "graft", wall)
    elif kind == "promise":
        trust.broken_promise(peer, wall)
    elif kind == "violation":
        trust.violation(peer, "signature", wall)
    elif kind == "hear":
        about = PEERS[number % 3]
        trust.hear(TrustStatement(peer, about, number, int(wall * 1000), b""), str(number % 2), wall)
    elif kind == "set":
        trust.set_score(peer, number / SCALE, wall)
    else:
        getattr(trust, kind)(peer, wall)


def play(trust: Trust, steps: list[tuple[float, str, bytes, int]], wall: float = NOW) -> float:
    """All steps of a history; the time at the end."""
    for seconds, kind, peer, number in steps:
        wall += seconds
        perform(trust, kind, peer, number, wall)
    return wall


def vouch(trust: Trust, peers: dict[bytes, int], scores: list[int], groups: list[str] | None = None) -> None:
    """Peers of an hour's standing at those D, each of its group, say those scores of SUBJECT."""
    for index, (peer, standing) in enumerate(peers.items()):
        trust.met(peer, NOW - HOUR)
        trust.set_score(peer, standing / SCALE, NOW)
        group = groups[index] if groups else str(index)
        trust.hear(TrustStatement(peer, SUBJECT, scores[index], int(NOW * 1000), b""), group, NOW)


class ScoreProperties(SynchronousTestCase):
    @given(STEPS)
    def test_bounded_and_equal_to_its_replayed_rows(self, steps: list[Any]) -> None:
        """1. At any moment D is within 0..1, and the rows of each peer add up to it exactly."""
        trust, rows, wall = Trust(), list[TrustChange](), NOW
        for step in steps:
            wall = play(trust, [step], wall)
            rows += trust.take_rows(wall)
            for peer in PEERS:
                self.assertTrue(0 <= trust.millionths(peer, wall) <= SCALE)
                self.assertTrue(0 <= trust.score(peer, wall) <= 1)
        rows += trust.take_rows(inf)
        records = {record.node_id: record for record in trust.take_records()}
        for peer in PEERS:
            own = [row for row in rows if row.node_id == peer]
            self.assertEqual(replay(own, BASE, wall + HOUR), trust.millionths(peer, wall + HOUR))
            if own:
                record = records[peer]
                self.assertEqual((record.value, record.time), (own[-1].after, own[-1].time))

    @given(STEPS, st.sampled_from(PEERS))
    def test_valid_never_lowers_and_invalid_never_raises(self, steps: list[Any], peer: bytes) -> None:
        """2. At the moment of an event, service moves D up or not at all, an offence down or not at all."""
        trust = Trust()
        wall = play(trust, steps)
        for kind in ("useful", "offence", "useful", "promise", "violation", "useful"):
            before = trust.millionths(peer, wall)
            perform(trust, kind, peer, 0, wall)
            after = trust.millionths(peer, wall)
            self.assertTrue(after >= before if kind == "useful" else after <= before, (kind, before, after))

    @given(VALUES, st.integers(1, SCALE - 1), SECONDS, SECONDS)
    def test_decay_never_crosses_the_baseline_and_composes(
        self, value: int, baseline: int, first: float, second: float
    ) -> None:
        """3. Time brings D nearer to the baseline and never across; two steps are one, within a millionth."""
        once = decayed(value, baseline, first + second)
        twice = decayed(decayed(value, baseline, first), baseline, second)
        low, high = min(value, baseline), max(value, baseline)
        self.assertTrue(low <= once <= high and low <= twice <= high)
        self.assertLessEqual(abs(once - baseline), abs(decayed(value, baseline, first) - baseline))
        self.assertLessEqual(abs(once - twice), 1)

    @given(STEPS, st.lists(SECONDS, max_size=20))
    def test_asking_changes_nothing(self, steps: list[Any], questions: list[float]) -> None:
        """3b. However often a score is read on the way, it ends where it would have ended."""
        asked, left = Trust(), Trust()
        wall = play(asked, steps)
        play(left, steps)
        for seconds in questions:
            for peer in PEERS:
                asked.explain(peer, wall + seconds)
        for peer in PEERS:
            self.assertEqual(asked.millionths(peer, wall + 1e7), left.millionths(peer, wall + 1e7))

    @given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 50)), min_size=1, max_size=300))
    def test_gains_are_bounded_by_time(self, deliveries: list[tuple[float, int]]) -> None:
        """4. Whatever is delivered, the gain is at most 0.01 x (1 + minutes), and half of that by one author."""
        trust, one_author, wall = Trust(), Trust(), NOW
        for seconds, author in deliveries:
            wall += seconds
            trust.useful(PEERS[0], node(100 + author), wall)
            one_author.useful(PEERS[0], node(100), wall)
        minutes = (wall - (NOW + deliveries[0][0])) / 60
        self.assertLessEqual(trust.millionths(PEERS[0], wall) - BASE, 10_000 * (1 + minutes))
        self.assertLessEqual(one_author.millionths(PEERS[0], wall) - BASE, 5_000 * (1 + minutes))

    @given(STEPS, SECONDS, st.sampled_from(PEERS))
    def test_a_clock_that_goes_back_is_neutral(self, steps: list[Any], back: float, peer: bytes) -> None:
        """10. A step back by any length moves no score, and buys no second allowance of the minute."""
        trust = Trust()
        wall = play(trust, steps)
        now = trust.millionths(peer, wall)
        earlier = trust.millionths(peer, wall - back)
        self.assertLessEqual(abs(now - BASE), abs(earlier - BASE))
        for author in range(100):
            trust.useful(peer, node(100 + author), wall)
        full = trust.millionths(peer, wall)
        for author in range(100):
            trust.useful(peer, node(100 + author), wall - back)
        self.assertEqual(trust.millionths(peer, wall), full)

    @given(STEPS, STEPS)
    def test_no_bytes_of_one_link_change_anothers_score(self, steps: list[Any], others: list[Any]) -> None:
        """11. What comes on the links of others, statements about it included, leaves D of a peer exactly alone."""
        alone, crowded, wall = Trust(), Trust(), NOW
        other_steps = iter(others)
        for seconds, kind, peer, number in steps:
            wall += seconds
            perform(alone, kind, peer, number, wall)
            perform(crowded, kind, peer, number, wall)
            for _, other_kind, _, other_number in [each for each in [next(other_steps, None)] if each]:
                perform(crowded, other_kind, node(77), other_number, wall)
        for peer in PEERS:
            self.assertEqual(alone.millionths(peer, wall), crowded.millionths(peer, wall))
            self.assertEqual(alone.banned_until(peer, wall), crowded.banned_until(peer, wall))

    @given(STEPS, st.integers(BASE, SCALE))
    def test_a_fresh_id_gains_nothing_over_one_that_stayed(self, steps: list[Any], standing: int) -> None:
        """12. Whoever comes back under a new id has at most the score, and the voice, of any that stayed >= 0.5."""
        trust, fresh, stayed = Trust(), node(77), node(78)
        trust.met(stayed, NOW - HOUR)
        wall = play(trust, steps)
        trust.set_score(stayed, standing / SCALE, wall)
        trust.met(fresh, wall)
        self.assertLessEqual(trust.millionths(fresh, wall), trust.millionths(stayed, wall))
        for voucher in (stayed, fresh):
            trust.hear(TrustStatement(voucher, SUBJECT, SCALE, int(wall * 1000), b""), voucher.hex(), wall)
        self.assertLessEqual(trust.explain(SUBJECT, wall).voices, 1)


class OpinionProperties(SynchronousTestCase):
    @given(st.lists(st.tuples(st.integers(0, BASE), VALUES), max_size=50))
    def test_who_did_not_serve_us_changes_nothing(self, vouchers: list[tuple[int, int]]) -> None:
        """5. Any number of vouchers at or below the baseline leave every T exactly as it was."""
        trust = Trust()
        peers = {node(100 + index): standing for index, (standing, _) in enumerate(vouchers)}
        vouch(trust, peers, [score for _, score in vouchers])
        self.assertEqual(trust.score(SUBJECT, NOW), 0.5)
        self.assertEqual(trust.explain(SUBJECT, NOW).voices, 0)

    @given(VALUES, st.lists(st.tuples(VALUES, VALUES, st.integers(0, 9)), max_size=30))
    def test_nobody_is_moved_by_more_than_15_hundredths(
        self, standing: int, vouchers: list[tuple[int, int, int]]
    ) -> None:
        """6. |T - D| <= 0.15 whoever speaks; from D = 0.5, T stays between 0.1 and 0.7."""
        trust = Trust()
        peers = {node(100 + index): earned for index, (earned, _, _) in enumerate(vouchers)}
        vouch(trust, peers, [score for _, score, _ in vouchers], [str(group) for _, _, group in vouchers])
        self.assertTrue(0.1 < trust.score(SUBJECT, NOW) < 0.7)
        trust.set_score(SUBJECT, standing / SCALE, NOW)
        moved = round((trust.score(SUBJECT, NOW) - trust.first_hand(SUBJECT, NOW)) * SCALE)
        self.assertLessEqual(abs(moved), 150_000)

    @given(
        st.lists(st.tuples(VALUES, st.integers(1, SCALE)), max_size=20),
        st.lists(st.tuples(VALUES, st.integers(1, SCALE)), max_size=20),
    )
    def test_a_minority_stays_inside_the_honest_range(
        self, honest: list[tuple[int, int]], attackers: list[tuple[int, int]]
    ) -> None:
        """7. Attackers of less earned weight than the honest and our own leave the median in the honest range."""
        own = (BASE, SCALE)
        budget = sum(weight for _, weight in [*honest, own]) - 1
        kept = []
        for score, weight in attackers:
            if weight <= budget:
                budget -= weight
                kept.append((score, weight))
        scores = [score for score, _ in [*honest, own]]
        median = weighted_median([*honest, own, *kept], BASE)
        self.assertTrue(min(scores) <= median <= max(scores))

    @given(st.one_of(st.floats(), st.integers(), st.booleans(), st.text(max_size=3), st.none()))
    def test_nonsense_is_never_kept(self, score: Any) -> None:
        """8. NaN, infinities, what is out of range or no integer, and self-praise change nothing."""
        trust = Trust()
        peers = {node(100 + index): SCALE for index in range(5)}
        vouch(trust, peers, [BASE] * 5)
        for author, about in ((node(100), SUBJECT), (node(100), node(100))):
            statement = TrustStatement(author, about, score, int(NOW * 1000) + 1, b"")
            good = type(score) is int and 0 <= score <= SCALE and author != about
            self.assertEqual(trust.hear(statement, "group", NOW), good)
        self.assertTrue(isfinite(trust.score(SUBJECT, NOW)))
        self.assertRaises(ValueError, trust.set_score, SUBJECT, nan, NOW)

    @given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=20), st.integers(1, 5))
    def test_saying_it_again_changes_nothing(self, vouchers: list[tuple[int, int]], again: int) -> None:
        """9. A statement counts once however often it comes, and an older one does not replace a newer."""
        trust = Trust()
        peers = {node(100 + index): standing for index, (standing, _) in enumerate(vouchers)}
        scores = [score for _, score in vouchers]
        vouch(trust, peers, scores)
        before = trust.explain(SUBJECT, NOW)
        for _ in range(again):
            for index, peer in enumerate(peers):
                same = TrustStatement(peer, SUBJECT, scores[index], int(NOW * 1000), b"")
                older = TrustStatement(peer, SUBJECT, SCALE - scores[index], int(NOW * 1000) - 1, b"")
                self.assertFalse(trust.hear(same, str(index), NOW))
                self.assertFalse(trust.hear(older, str(index), NOW))
        self.assertEqual(trust.explain(SUBJECT, NOW), before)

    @given(st.lists(st.tuples(VALUES, st.integers(1, 1000)), max_size=30))
    def test_the_median_is_one(self, opinions: list[tuple[int, int]]) -> None:
        """At most half of the weight lies on either side of the weighted median."""
        median = weighted_median(opinions, BASE)
        total = sum(weight for _, weight in opinions)
        for side in (
            sum(weight for score, weight in opinions if score < median),
            sum(weight for score, weight in opinions if score > median),
        ):
            self.assertLessEqual(2 * side, total)
