"""What an exchange costs follows the difference, not the set; and it is exact for sets made to be hard."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from positron.core.sync import Index
from tests.core.test_sync import CEILING, Entry, Talk, index_of


class CountingIndex(Index):
    """Counts the fingerprints that are asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.fingerprints = 0

    def fingerprint(self, low: bytes, high: bytes) -> bytes:
        """Count, and do it."""
        self.fingerprints += 1
        return super().fingerprint(low, high)


def random_entries(rng: Random, count: int) -> set[Entry]:
    """So many, scattered over all times."""
    return {(rng.randrange(CEILING), rng.randbytes(16)) for _ in range(count)}


def cost(left: set[Entry], right: set[Entry]) -> tuple[int, int, int]:
    """Messages, bytes and fingerprints of one exchange, which must be exact."""
    indexes = CountingIndex(), CountingIndex()
    for index, items in zip(indexes, (left, right), strict=True):
        for entry in items:
            index.add(*entry)
    talk = Talk(*indexes)
    assert talk.lack == [{i for _, i in right - left}, {i for _, i in left - right}]
    return len(talk.sizes), sum(talk.sizes), sum(index.fingerprints for index in indexes)


class CostTests(SynchronousTestCase):
    def test_in_sync_it_is_one_comparison_whatever_the_size(self) -> None:
        """From a hundred ids to the most there may be: one message of under 100 bytes, one fingerprint a side."""
        for size in (100, 1_000, 10_000, 65_536):
            items = random_entries(Random(size), size)
            messages, octets, fingerprints = cost(items, items)
            self.assertEqual((messages, fingerprints), (1, 2))
            self.assertLessEqual(octets, 100)

    def test_it_follows_the_difference(self) -> None:
        """Each difference costs at most one way down the tree of ranges, 16 branches wide, made and compared."""
        rng = Random(1)
        for size, levels in ((1_000, 2), (10_000, 3), (60_000, 4)):
            common = random_entries(rng, size)
            for difference in (1, 10, 100):
                more = random_entries(rng, difference)
                messages, octets, fingerprints = cost(common | more, common)
                self.assertLessEqual(messages, levels + 3)
                self.assertLessEqual(fingerprints, 2 + difference * levels * 32)
                self.assertLessEqual(octets, 100 + difference * (levels * 16 * 32 + 2 * 17 * 16))

    def test_what_lies_together_is_cheap(self) -> None:
        """Two thousand differences of one minute cost little more than their ids, whatever else both hold."""
        rng = Random(2)
        more = {(500_000 + rng.randrange(60_000), rng.randbytes(16)) for _ in range(2_000)}
        for size in (1_000, 10_000, 60_000):
            common = {entry for entry in random_entries(rng, size) if not 500_000 <= entry[0] < 560_000}
            _, octets, fingerprints = cost(common | more, common)
            self.assertLessEqual(octets, 2 * 2_000 * 16)
            self.assertLessEqual(fingerprints, 400)


prefixes = st.binary(min_size=15, max_size=15)
clusters = st.tuples(st.integers(0, CEILING - 1), prefixes, st.integers(0, 256), st.sampled_from("lrb"))
"""So many ids of one millisecond that differ in their last byte alone, and who holds them."""

spreads = st.tuples(
    st.integers(0, 2**32), st.integers(0, 1_500), st.integers(1, CEILING), st.sampled_from("lrb")
)
"""So many random ids within a span of time, and who holds them."""

bounds = st.one_of(st.just(0), st.integers(0, CEILING - 1))


def grown(
    dense: list[tuple[int, bytes, int, str]], wide: list[tuple[int, int, int, str]]
) -> list[set[Entry]]:
    """The two sets; an id that was drawn twice has one time."""
    times: dict[bytes, int] = {}
    sides: dict[str, set[bytes]] = {"l": set(), "r": set()}
    drawn = [(t, p + bytes([n]), w) for t, p, count, w in dense for n in range(count)]
    for seed, count, span, who in wide:
        rng = Random(seed)
        drawn += [(rng.randrange(span), rng.randbytes(16), who) for _ in range(count)]
    for created, id, who in drawn:
        times.setdefault(id, created)
        for side in "lr" if who == "b" else who:
            sides[side].add(id)
    return [{(times[id], id) for id in sides[side]} for side in "lr"]


class HardSetsTests(SynchronousTestCase):
    @settings(deadline=None, max_examples=100)
    @given(
        st.lists(clusters, max_size=6),
        st.lists(spreads, max_size=3),
        st.tuples(bounds, bounds),
        st.tuples(bounds, bounds),
    )
    def test_exact_within_the_common_window(
        self,
        dense: list[tuple[int, bytes, int, str]],
        wide: list[tuple[int, int, int, str]],
        floors: tuple[int, int],
        missing: tuple[int, int],
    ) -> None:
        """Clusters of one time, floors and ceilings that differ, thousands of ids: just what the other has, no more."""
        sets = grown(dense, wide)
        indexes = [index_of(items) for items in sets]
        for index, floor in zip(indexes, floors, strict=True):
            index.raise_floor(floor)
        ceilings = [CEILING - less for less in missing]
        floor, ceiling = max(floors), min(ceilings)
        inside = [{id for created, id in items if floor <= created < ceiling} for items in sets]
        talk = Talk(*indexes, ceilings=(ceilings[0], ceilings[1]))
        self.assertEqual(talk.lack, [inside[1] - inside[0], inside[0] - inside[1]])
        self.assertLessEqual(len(talk.sizes), 14)
