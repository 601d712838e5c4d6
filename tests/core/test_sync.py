"""Range reconciliation: exact against a set at every difference, cheap in sync, and unmoved by hostile bytes."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from positron.core.sync import MAX_ENTRIES, MAX_MESSAGE, Index, Session, SyncError, bound

CEILING = 1_000_000
Entry = tuple[int, bytes]

times = st.one_of(st.integers(0, CEILING - 1), st.sampled_from([0, 1, 500, 501, CEILING - 1]))
holders = st.sampled_from(["left", "right", "both"])
worlds = st.dictionaries(st.binary(min_size=16, max_size=16), st.tuples(times, holders), max_size=120)
"""Who holds what: an id has one time, for it is a hash over it."""


def index_of(items: set[Entry]) -> Index:
    """An index of these."""
    index = Index()
    for created, envelope_id in items:
        index.add(created, envelope_id)
    return index


class Talk:
    """One whole session between two indexes: what each side learned, and what it cost."""

    def __init__(
        self,
        left: Index,
        right: Index,
        limit: int = MAX_MESSAGE,
        ceiling: int = CEILING,
        ceilings: tuple[int, int] | None = None,
    ) -> None:
        ceilings = ceilings or (ceiling, ceiling)
        sides = [Session(index, end, limit) for index, end in zip((left, right), ceilings, strict=True)]
        self.lack: list[set[bytes]] = [set(), set()]
        self.extra: list[set[bytes]] = [set(), set()]
        self.sizes: list[int] = []
        first = sides[0].start()
        self.extra[0].update(first.extra)
        message, turn = first.message, 1
        while message:
            self.sizes.append(len(message))
            answer = sides[turn].answer(message)
            self.lack[turn].update(answer.lack)
            self.extra[turn].update(answer.extra)
            message, turn = answer.message, 1 - turn


class ExactTests(SynchronousTestCase):
    """Both sides learn just what they lack."""

    def check(self, left: set[Entry], right: set[Entry]) -> Talk:
        """Hold one session against the sets themselves."""
        talk = Talk(index_of(left), index_of(right))
        ours, theirs = {i for _, i in left}, {i for _, i in right}
        self.assertEqual(talk.lack[0], theirs - ours)
        self.assertEqual(talk.lack[1], ours - theirs)
        self.assertLessEqual(ours - theirs, talk.extra[0])
        self.assertLessEqual(theirs - ours, talk.extra[1])
        self.assertLessEqual(len(talk.sizes), 12)
        self.assertLessEqual(max(talk.sizes, default=0), MAX_MESSAGE)
        return talk

    @settings(deadline=None, max_examples=150)
    @given(worlds)
    def test_any_difference(self, world: dict[bytes, tuple[int, str]]) -> None:
        """Random sets, equal times and all, one side empty or not."""
        left = {(created, id) for id, (created, holder) in world.items() if holder != "right"}
        right = {(created, id) for id, (created, holder) in world.items() if holder != "left"}
        self.check(left, right)

    def test_large_differences(self) -> None:
        """Thousands in common, differences of 0 to 2,000, scattered or all of one time, as after a partition."""
        rng = Random(7)
        for size in (0, 20, 3000):
            common = {(rng.randrange(CEILING), rng.randbytes(16)) for _ in range(size)}
            for difference in (1, 17, 300, 2000):
                scattered = {(rng.randrange(CEILING), rng.randbytes(16)) for _ in range(difference)}
                self.check(common | scattered, common)
                self.check(common, common | scattered)
                torn = {(400_000 + rng.randrange(500), rng.randbytes(16)) for _ in range(difference)}
                self.check(common | torn, common | scattered)

    def test_in_sync_costs_one_small_message(self) -> None:
        """Ten thousand ids in sync: one message of at most 100 bytes, and nothing is learned."""
        rng = Random(3)
        items = {(rng.randrange(CEILING), rng.randbytes(16)) for _ in range(10_000)}
        talk = self.check(items, set(items))
        self.assertEqual(len(talk.sizes), 1)
        self.assertLessEqual(talk.sizes[0], 100)

    def test_short_messages_leave_the_rest_to_the_next_session(self) -> None:
        """With little room a session ends early; sessions in a row, each fetching what it learned, end exact."""
        rng = Random(5)
        left = {(rng.randrange(CEILING), rng.randbytes(16)) for _ in range(1500)}
        right = {(rng.randrange(CEILING), rng.randbytes(16)) for _ in range(1500)}
        by_id = {i: (c, i) for c, i in left | right}
        for _ in range(60):
            talk = Talk(index_of(left), index_of(right), limit=2048)
            self.assertLessEqual(max(talk.sizes), 2048)
            left |= {by_id[i] for i in talk.lack[0]}
            right |= {by_id[i] for i in talk.lack[1]}
        self.assertEqual(left, right)

    def test_the_higher_floor_and_the_lower_ceiling_rule(self) -> None:
        """Nobody learns of what lies below the other's floor or above the other's ceiling."""
        rng = Random(9)
        left = {(rng.randrange(CEILING), rng.randbytes(16)) for _ in range(400)}
        low, high = index_of(left), index_of(set())
        high.raise_floor(300_000)
        talk = Talk(low, high, ceiling=800_000)
        self.assertEqual(talk.lack[1], {i for c, i in left if 300_000 <= c < 800_000})
        self.assertEqual(Talk(high, low).lack[0], {i for c, i in left if 300_000 <= c})


class HostileTests(SynchronousTestCase):
    """Bytes of a stranger."""

    @settings(deadline=None, max_examples=300)
    @given(st.binary(max_size=300))
    def test_any_bytes(self, data: bytes) -> None:
        """Whatever comes is answered or is a SyncError."""
        session = Session(index_of({(5, bytes(16)), (6, bytes([1] * 16))}), CEILING)
        try:
            session.answer(data)
        except SyncError:
            return

    def test_every_truncation(self) -> None:
        """A real message cut anywhere."""
        rng = Random(2)
        index = index_of({(rng.randrange(CEILING), rng.randbytes(16)) for _ in range(100)})
        other = index_of({(rng.randrange(CEILING), rng.randbytes(16)) for _ in range(100)})
        first = Session(index, CEILING).start().message
        assert first is not None
        answer = Session(other, CEILING).answer(first).message
        assert answer is not None
        for message in (first, answer):
            for length in range(1, len(message)):
                try:
                    Session(index, CEILING).answer(message[:length])
                except SyncError:
                    continue

    def test_endless_talk_ends(self) -> None:
        """A side that always differs gets at most eight messages out of a session."""
        rng = Random(4)
        index = index_of({(rng.randrange(CEILING), rng.randbytes(16)) for _ in range(5000)})
        session, sent = Session(index, CEILING), 0
        liar = bound(0)[:8] + CEILING.to_bytes(8, "big")
        for _ in range(50):
            lie = liar + bytes([0xBF, 0x84, 0x3D, 1 << 5]) + rng.randbytes(16)
            sent += bool(session.answer(lie).message)
        self.assertLessEqual(sent, 8)


class IndexTests(SynchronousTestCase):
    """The sorted set itself."""

    @settings(deadline=None, max_examples=60)
    @given(st.lists(st.tuples(st.booleans(), st.integers(0, 50), st.integers(0, 20)), max_size=300))
    def test_it_is_a_sorted_set(self, steps: list[tuple[bool, int, int]]) -> None:
        """Adds and discards in any order leave what a set would have, in order."""
        index, model = Index(), set()
        for add, created, number in steps:
            entry = (created, bytes([number] * 16))
            if add:
                index.add(*entry)
                model.add(entry)
            else:
                self.assertEqual(index.discard(*entry), entry in model)
                model.discard(entry)
        self.assertEqual(index.items(bound(0), bound(100)), sorted(model))
        self.assertEqual(len(index), len(model))

    def test_it_is_bounded(self) -> None:
        """One entry too many drops the oldest and raises the floor for good."""
        index = Index()
        for number in range(MAX_ENTRIES + 10):
            index.add(number, number.to_bytes(16, "big"))
        self.assertLessEqual(len(index), MAX_ENTRIES)
        self.assertGreater(index.floor, 0)
        index.add(0, bytes(16))
        self.assertFalse(index.contains(0, bytes(16)))

    def test_it_may_be_asked_at_any_time(self) -> None:
        """Thousands of entries, mostly newer ones, some older, some twice: each question sees all that was added."""
        rng, index, model = Random(11), Index(), set[Entry]()
        for step in range(4_000):
            late = rng.choice([0, 0, 0, rng.randrange(50), rng.randrange(4_000)])
            entry = (4_000 + step - late, rng.randbytes(16))
            for _ in range(rng.choice([1, 1, 1, 2])):
                index.add(*entry)
            model.add(entry)
            if rng.random() < 0.01:
                index.add(*rng.choice(sorted(model)))
                self.assertEqual(index.items(bound(0), bound(CEILING)), sorted(model))
            elif rng.random() < 0.01:
                floor = rng.randrange(step + 1)
                model = {entry for entry in model if entry[0] >= max(floor, index.floor)}
                index.raise_floor(floor)
                self.assertEqual(len(index), len(model))

    def test_the_oldest_go_though_nobody_asked(self) -> None:
        """The floor is right after each entry: what is refused for it depends on that."""
        index = Index()
        for number in range(MAX_ENTRIES):
            index.add(10 + number, number.to_bytes(16, "big"))
        self.assertEqual(index.floor, 0)
        index.add(10 + MAX_ENTRIES, bytes(16))
        self.assertEqual(index.floor, 11)
