"""Each author's order: what is accepted once, held back, given up, recovered, history, and bounded."""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from positron.core import sequences as module
from positron.core.context import Context
from positron.core.envelope import DIRECT, Envelope, decode_entries
from positron.core.events import Deliver, Remember
from positron.core.identity import to_text
from positron.core.intervals import insert, overlaps
from positron.core.limits import Rate
from positron.core.notices import Gap, Recovered
from positron.core.records import SequencesDropped, SequencesKept
from positron.core.sequences import (
    AUTHORS_FORGOTTEN,
    EPOCHS_FORGOTTEN,
    HOLD_SECONDS,
    MAX_AUTHORS,
    MAX_EPOCHS,
    MAX_INTERVALS,
    Sequences,
)
from tests.core.gossip_parts import ALICE, BOB, ME, WALL, Cheap, chosen, context_of, entries_of, sealed, taken

START = WALL * 1000
OWED, OLD = START, START - 1
"""An epoch that began with this node or after it, and one that began before."""

P, Q = b"p" * 32, b"q" * 32


A: Any = Cheap(ALICE.node_id)


class Case(SynchronousTestCase):
    """Sequences at time 0, and words for what happens to them."""

    limits: dict[str, Any] = {}

    def setUp(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.context: Context = context_of(ME, limits=self.limits)
        self.sequences = Sequences(self.context, first_start_ms=START)
        self.all: list[Any] = []

    def come(
        self, seq: int, count: int = 1, *, epoch: int = OWED, live: bool = True, **more: Any
    ) -> str | None:
        """One envelope arrives and is accepted if its numbers are new; why not, if not."""
        envelope = sealed(self.context, more.pop("author", A), seq, count, epoch=epoch, **more)
        reason = self.sequences.judge(envelope, P)
        if reason is None:
            self.sequences.accept(envelope, entries_of(envelope), 1, P, live=live)
        return reason

    def wait(self, seconds: float) -> None:
        """Time passes and whatever falls due is done, at its time."""
        until = self.context.now + seconds
        while self.sequences.deadline <= until:
            self.context.now = max(self.context.now, self.sequences.deadline)
            self.sequences.tick()
        self.context.now = until

    def told(self) -> list[str]:
        """What came out since the last call, a word each: `3-5`, `3 late`, `3 history`, `gap 3-5`, `recovered 3`."""
        actions, self.context.actions = self.context.actions, []
        self.all += actions
        words = []
        for action in actions:
            for deliver in chosen([action], Deliver):
                last = deliver.seq + len(deliver.entries) - 1
                mark = " late" if deliver.late else " history" if deliver.history else ""
                words.append(span(deliver.seq, last) + mark)
            for gap in chosen([action], Gap):
                words.append("gap " + span(gap.first_seq, gap.last_seq))
            for recovered in chosen([action], Recovered):
                words.append("recovered " + span(recovered.first_seq, recovered.last_seq))
        return words


def span(first: int, last: int) -> str:
    """`3` or `3-5`."""
    return str(first) if first == last else f"{first}-{last}"


class IntervalTests(SynchronousTestCase):
    @given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 8)), max_size=30))
    def test_a_set_of_numbers(self, pairs: list[tuple[int, int]]) -> None:
        """Intervals are the set of numbers put in, sorted, disjoint and not touching."""
        intervals: list[tuple[int, int]] = []
        numbers: set[int] = set()
        for low, more in pairs:
            span = set(range(low, low + more + 1))
            self.assertEqual(overlaps(intervals, low, low + more), bool(numbers & span))
            if numbers & span:
                continue  # never put in twice
            insert(intervals, low, low + more)
            numbers |= span
            self.assertEqual({n for a, b in intervals for n in range(a, b + 1)}, numbers)
            self.assertTrue(all(one[1] + 1 < two[0] for one, two in pairwise(intervals)))


class OrderTests(Case):
    def test_in_order(self) -> None:
        """What comes in order is delivered at once."""
        for seq, count in ((1, 1), (2, 3), (5, 2)):
            self.come(seq, count)
        self.assertEqual(self.told(), ["1", "2-4", "5-6"])
        self.assertEqual(self.sequences.deadline, float("inf"))

    def test_what_is_delivered(self) -> None:
        """A delivery says author, epoch, creation, arrival, hops and the entries."""
        self.context.now = 5.0
        envelope = sealed(self.context, A, 1, 2, age=3)
        self.sequences.accept(envelope, entries_of(envelope), 4, P, live=True)
        self.assertEqual(
            taken(self.context, Deliver),
            [Deliver(ALICE.node_id, OWED, 1, (WALL + 2) * 1000, WALL + 5.0, 4, [("t", b"1"), ("t", b"2")])],
        )

    def test_what_is_held_takes_its_bytes_alone(self) -> None:
        """Nothing of what was decoded is kept until its turn comes; then it is as it was."""
        envelope = sealed(self.context, A, 3, 2, size=300)
        entries = decode_entries(envelope)
        references = sys.getrefcount(entries), sys.getrefcount(entries[0])
        self.sequences.accept(envelope, entries, 1, P, live=True)
        self.assertEqual((sys.getrefcount(entries), sys.getrefcount(entries[0])), references)
        self.come(1, 2)
        *_, late = chosen(self.context.actions, Deliver)
        self.assertEqual((late.seq, len(late.entries), list(late.entries)), (3, 2, entries))
        self.assertEqual(late.entries[1], entries[1])

    def test_early_is_held(self) -> None:
        """What comes early waits for what is missing, and then all goes on in order, without a word of a gap."""
        self.come(3)
        self.come(2)
        self.assertEqual(self.told(), [])
        self.assertEqual(self.sequences.gaps_open, 1)
        self.wait(1.9)
        self.come(1)
        self.assertEqual(self.told(), ["1", "2", "3"])
        self.assertEqual(self.sequences.gaps_open, 0)
        self.wait(10)
        self.assertEqual(self.told(), [])

    def test_two_seconds(self) -> None:
        """After 2 s of waiting, and not before, the gap is told and delivery goes on behind it."""
        self.come(3)
        self.assertEqual(self.sequences.deadline, HOLD_SECONDS)
        self.wait(1.999)
        self.assertEqual(self.told(), [])
        self.wait(0.001)
        self.assertEqual(self.told(), ["gap 1-2", "3"])
        self.come(4)
        self.assertEqual(self.told(), ["4"])
        self.assertEqual(self.context.counters["gaps"], 1)

    def test_leaving(self) -> None:
        """Who leaves gives up on every gap at once: what was held back is not taken again after a restart."""
        self.come(2)
        self.come(3)
        self.come(6)
        self.come(2, author=Cheap(BOB.node_id))
        self.sequences.leave()
        self.assertEqual(self.told(), ["gap 1", "2", "3", "gap 1", "2", "gap 4-5", "6"])
        self.assertEqual(self.sequences.gaps_open, 0)
        self.assertEqual(self.sequences.deadline, float("inf"))

    def test_two_gaps(self) -> None:
        """Each held envelope waits its own 2 s."""
        self.come(2)
        self.wait(1)
        self.come(4)
        self.wait(1)
        self.assertEqual(self.told(), ["gap 1", "2"])
        self.wait(0.9)
        self.assertEqual(self.told(), [])
        self.wait(0.1)
        self.assertEqual(self.told(), ["gap 3", "4"])

    def test_late(self) -> None:
        """What fills a told gap is late and told as recovered, with the numbers it has."""
        self.come(4)
        self.wait(2)
        self.told()
        self.come(2, 2)
        self.assertEqual(self.told(), ["2-3 late", "recovered 2-3"])
        self.come(1)
        self.assertEqual(self.told(), ["1 late", "recovered 1"])
        self.assertEqual(self.context.counters["recovered"], 3)
        self.assertEqual(self.context.counters["delivered"], 4)

    def test_notices_name_the_author(self) -> None:
        """By the text form and the epoch."""
        self.come(2)
        self.wait(2)
        self.come(1)
        text = to_text(ALICE.node_id)
        actions, self.context.actions = self.context.actions, []
        self.assertEqual(chosen(actions, Gap), [Gap(author=text, epoch=OWED, first_seq=1, last_seq=1)])
        self.assertEqual(
            chosen(actions, Recovered), [Recovered(author=text, epoch=OWED, first_seq=1, last_seq=1)]
        )

    def test_epochs_are_apart(self) -> None:
        """A new epoch starts at 1, whatever is missing in the one before."""
        self.come(2)
        self.come(1, epoch=OWED + 1)
        self.assertEqual(self.told(), ["1"])
        self.wait(2)
        self.assertEqual(self.told(), ["gap 1", "2"])

    def test_authors_are_apart(self) -> None:
        """One author's gap holds nobody else up."""
        self.come(2)
        self.come(1, author=Cheap(BOB.node_id))
        self.assertEqual(self.told(), ["1"])

    @given(
        st.lists(st.integers(1, 4), min_size=1, max_size=12).flatmap(
            lambda counts: st.tuples(
                st.just(counts),
                st.permutations(range(len(counts))),
                st.lists(st.booleans(), min_size=12, max_size=12),
            )
        )
    )
    def test_any_order_in_time(self, case: tuple[list[int], list[int], list[bool]]) -> None:
        """Bundles in any order within 2 s, live or by sync, are delivered once each, in order, without a gap."""
        counts, order, live = case
        self.begin()
        starts = [1 + sum(counts[:place]) for place in range(len(counts))]
        for step, place in enumerate(order):
            self.assertIsNone(self.come(starts[place], counts[place], live=live[step]))
            self.assertEqual(self.come(starts[place], counts[place]), "replay")
            self.wait(1.9 / len(counts))
        expected = [span(start, start + count - 1) for start, count in zip(starts, counts, strict=True)]
        self.assertEqual(self.told(), expected)

    @given(
        st.lists(st.integers(1, 4), min_size=1, max_size=12).flatmap(
            lambda counts: st.tuples(
                st.just(counts),
                st.permutations(range(len(counts))),
                st.lists(st.floats(0, 3), min_size=12, max_size=12),
                st.lists(st.booleans(), min_size=12, max_size=12),
                st.booleans(),
            )
        )
    )
    def test_any_order_at_any_time(
        self, case: tuple[list[int], list[int], list[float], list[bool], bool]
    ) -> None:
        """Whatever the delays, every message comes out exactly once and in order, or late and recovered."""
        counts, order, delays, live, owed = case
        self.begin()
        starts = [1 + sum(counts[:place]) for place in range(len(counts))]
        for step, place in enumerate(order):
            self.come(starts[place], counts[place], live=live[step], epoch=OWED if owed else OLD)
            self.wait(delays[step])
        self.wait(10)
        self.told()
        delivered = chosen(self.all, Deliver)
        numbers = [deliver.seq + place for deliver in delivered for place in range(len(deliver.entries))]
        self.assertEqual(sorted(numbers), list(range(1, sum(counts) + 1)))
        on_time = [deliver.seq for deliver in delivered if not deliver.late and not deliver.history]
        self.assertEqual(on_time, sorted(on_time))
        lost = {n for gap in chosen(self.all, Gap) for n in range(gap.first_seq, gap.last_seq + 1)}
        found = {n for r in chosen(self.all, Recovered) for n in range(r.first_seq, r.last_seq + 1)}
        late = {d.seq + place for d in delivered if d.late for place in range(len(d.entries))}
        self.assertEqual((lost, found), (late, late))
        if owed:
            self.assertFalse([deliver for deliver in delivered if deliver.history])


class HistoryTests(Case):
    def test_of_an_old_epoch_by_sync(self) -> None:
        """Of an epoch older than this node, what sync brings before anything live is history, in any order."""
        for seq in (5, 3, 4):
            self.come(seq, epoch=OLD, live=False)
        self.assertEqual(self.told(), ["5 history", "3 history", "4 history"])
        self.assertNotIn("gaps", self.context.counters)
        self.assertEqual(self.context.counters["delivered"], 0)

    def test_the_first_live_begins_what_is_owed(self) -> None:
        """From the first live number on the order holds; what lies before stays history."""
        self.come(7, epoch=OLD)
        self.come(6, epoch=OLD, live=False)
        self.come(9, epoch=OLD, live=False)
        self.come(8, epoch=OLD)
        self.assertEqual(self.told(), ["7", "6 history", "8", "9"])

    def test_live_below_history(self) -> None:
        """A live number may come after sync brought higher ones: these are no gap to wait for."""
        self.come(5, 2, epoch=OLD, live=False)
        self.come(3, epoch=OLD)
        self.come(4, epoch=OLD)
        self.come(7, epoch=OLD)
        self.assertEqual(self.told(), ["5-6 history", "3", "4", "7"])
        self.wait(5)
        self.assertEqual(self.told(), [])

    def test_an_owed_epoch_by_sync(self) -> None:
        """Of an epoch that began with this node or later everything is owed from 1, however it came."""
        self.come(1, live=False)
        self.come(3, live=False)
        self.wait(2)
        self.assertEqual(self.told(), ["1", "gap 2", "3"])


class ReplayTests(Case):
    def test_overlaps(self) -> None:
        """Any number a second time is a replay, whole or in part, in whatever bundle."""
        self.come(3, 3)
        for seq, count in ((3, 3), (3, 1), (5, 1), (1, 3), (5, 9), (1, 9)):
            self.assertEqual(self.come(seq, count), "replay", (seq, count))
        self.assertIsNone(self.come(1, 2))
        self.assertIsNone(self.come(6, 2))

    def test_kinds_and_recipients_are_apart(self) -> None:
        """A sequence belongs to author, kind and recipient; only broadcasts are ordered."""
        self.come(1)
        for recipient in (P, Q):
            direct = sealed(self.context, A, 1, kind=DIRECT, recipient=recipient, body=b"")
            self.assertIsNone(self.sequences.judge(direct, P))
            self.sequences.accept(direct, [], 1, P, live=True)
            self.assertEqual(self.sequences.judge(direct, P), "replay")
        self.assertEqual(self.told(), ["1"])

    def test_after_a_restart(self) -> None:
        """What was seen before is still a replay, and what was missing then comes late."""
        self.come(1)
        self.come(4, 2)
        self.come(9, epoch=OLD)
        self.sequences.flush()
        kept = taken(self.context, SequencesKept)
        self.assertEqual(
            {(k.epoch, tuple(k.seen), k.first_live) for k in kept},
            {
                (OWED, ((1, 1), (4, 5)), 1),
                (OLD, ((9, 9),), 9),
            },
        )
        self.sequences = Sequences(self.context, first_start_ms=START)
        self.sequences.load(kept, [])
        for seq in (1, 4, 5):
            self.assertEqual(self.come(seq), "replay")
        self.come(2)
        self.come(6)
        self.come(8, epoch=OLD)
        self.come(10, epoch=OLD)
        self.assertEqual(self.told(), ["2 late", "recovered 2", "6", "8 history", "10"])
        self.assertTrue(self.sequences.tracks(ALICE.node_id))
        self.assertFalse(self.sequences.tracks(BOB.node_id))

    def test_flush(self) -> None:
        """The store hears once of each epoch that changed, and nothing when nothing did."""
        self.come(1)
        self.come(2)
        self.sequences.flush()
        self.assertEqual([kept.seen for kept in taken(self.context, SequencesKept)], [[(1, 2)]])
        self.sequences.flush()
        self.assertEqual(taken(self.context, SequencesKept), [])

    def test_loaded_floors(self) -> None:
        """What was forgotten before the restart is refused as old."""
        self.sequences.load([], [SequencesDropped(ALICE.node_id, 1, b"", OWED)])
        self.assertEqual(self.come(1), "old")
        self.assertIsNone(self.come(1, epoch=OWED + 1))


class LimitTests(Case):
    def test_intervals(self) -> None:
        """Beyond 512 intervals the oldest merge: the numbers between count as seen, and the store is told so."""
        self.come(1)
        for place in range(1, MAX_INTERVALS + 5):
            self.come(1 + 2 * place)
            self.wait(3)
        self.sequences.flush()
        (kept,) = taken(self.context, SequencesKept)
        self.assertEqual(len(kept.seen), MAX_INTERVALS)
        self.assertEqual(kept.seen[0], (1, 11))
        self.assertEqual(self.come(10), "replay")
        self.assertIsNone(self.come(12))

    def test_gaps_are_told_beyond_the_intervals(self) -> None:
        """A number that falls to the limit of intervals while it is waited for is still told as a gap."""
        for place in range(1, MAX_INTERVALS + 10):
            self.come(2 * place)
        self.wait(3)
        gaps = [word for word in self.told() if word.startswith("gap")]
        self.assertEqual(gaps, [f"gap {2 * place - 1}" for place in range(1, MAX_INTERVALS + 10)])

    def test_epochs(self) -> None:
        """Beyond 256 epochs the oldest 64 are forgotten, on disk too, and refused as old."""
        for number in range(MAX_EPOCHS + 1):
            self.assertIsNone(self.come(1, epoch=OWED + number))
        floor = OWED + EPOCHS_FORGOTTEN - 1
        self.assertEqual(
            taken(self.context, SequencesDropped), [SequencesDropped(ALICE.node_id, 1, b"", floor)]
        )
        self.assertEqual(self.come(2, epoch=OWED), "old")
        self.assertEqual(self.come(2, epoch=floor), "old")
        self.assertEqual(self.come(1, epoch=floor + 1), "replay")
        self.sequences.flush()
        self.assertEqual(len(taken(self.context, SequencesKept)), MAX_EPOCHS + 1 - EPOCHS_FORGOTTEN)

    def test_an_epoch_older_than_all(self) -> None:
        """T43: one that would be the first to be forgotten is refused, not held: what waits in it would be missed."""
        for number in range(1, MAX_EPOCHS + 1):
            self.come(1, epoch=OWED + number)
        self.assertEqual(self.come(5, epoch=OWED), "old")
        self.assertIsNone(self.come(5, epoch=OWED + 1), "this one is known")
        self.wait(3)
        self.assertEqual(self.sequences.deadline, float("inf"))

    def test_an_epoch_older_than_most(self) -> None:
        """T43: nor is one forgotten for which there is room just made."""
        epochs = [OWED, *range(OWED + 2, OWED + 1 + MAX_EPOCHS)]
        for epoch in epochs:
            self.come(1, epoch=epoch)
        self.assertIsNone(self.come(5, epoch=OWED + 1))
        self.assertEqual(self.come(2, epoch=OWED), "old")
        self.wait(3)
        self.assertIn("5", self.told())

    def test_a_flood_of_epochs(self) -> None:
        """T33: an author that begins a new epoch with each envelope has us write a few rows for each, not hundreds."""
        rows = 0
        for number in range(1000):
            self.come(1, epoch=OWED + number)
            self.sequences.flush()
            rows += len(taken(self.context, SequencesKept))
        self.assertTrue(rows < 5 * 1000, rows)

    def test_two_gaps_each_in_its_time(self) -> None:
        """What waits for a second gap is given up two seconds after it came, the first being filled meanwhile."""
        self.come(1)
        self.come(3)
        self.context.now = 1.0
        self.come(5)
        self.come(2)
        self.told()
        self.wait(1.999)
        self.assertEqual(self.told(), [])
        self.wait(0.002)
        self.assertEqual(self.told(), ["gap 4", "5"])

    def test_a_forgotten_epoch_frees_what_it_held(self) -> None:
        """No deadline and no budget of an epoch outlives it."""
        self.come(5)
        for number in range(1, MAX_EPOCHS + 1):
            self.come(1, epoch=OWED + number)
        self.wait(5)
        self.assertNotIn("5", self.told())
        self.assertEqual(self.sequences.deadline, float("inf"))

    def fill(self, stale: int = 0) -> None:
        """10,000 authors: `stale` of long ago and one by Q, the others by P."""
        for number in range(MAX_AUTHORS):
            author = Cheap(number.to_bytes(32, "big"))
            age = 25 * 3600 if number < stale else 0
            envelope = sealed(self.context, author, 1, age=age)
            self.sequences.accept(envelope, [], 1, Q if number == MAX_AUTHORS - 1 else P, live=True)
            self.context.now += 0.001
        self.context.actions.clear()

    def test_authors(self) -> None:
        """When full, the youngest authors of the link that introduced most make room."""
        self.fill()
        self.come(1)
        self.assertEqual(len(self.sequences), MAX_AUTHORS - AUTHORS_FORGOTTEN + 1)
        youngest = range(MAX_AUTHORS - 2, MAX_AUTHORS - 2 - AUTHORS_FORGOTTEN, -1)
        gone = [number.to_bytes(32, "big") for number in youngest]
        self.assertEqual([drop.author for drop in taken(self.context, SequencesDropped)], gone)
        self.assertFalse(self.sequences.tracks(gone[0]))
        self.assertTrue(self.sequences.tracks((MAX_AUTHORS - 1).to_bytes(32, "big")))

    def test_loaded_after_a_flood_of_authors(self) -> None:
        """A store holds floors and rows of many times the authors: as many as ever are taken over, the newest rows."""
        names = [number.to_bytes(32, "big") for number in range(MAX_AUTHORS + 100)]
        rows = [SequencesKept(name, 1, b"", OWED, [(1, 1)], 1, place) for place, name in enumerate(names)]
        floors = [SequencesDropped(bytes([1]) + name[1:], 1, b"", OWED) for name in names]
        self.sequences.load(rows, floors)
        self.assertEqual(len(self.sequences), MAX_AUTHORS)
        self.assertEqual(
            [self.sequences.tracks(name) for name in names], [False] * 100 + [True] * MAX_AUTHORS
        )

    def test_a_flood_of_authors(self) -> None:
        """T32: authors made up by the thousand have us look at all of them now and then, not for each new one."""
        self.fill()
        dropped = []
        for number in range(1000):
            self.come(1, author=Cheap(b"f" + number.to_bytes(31, "big")))
            dropped.append(len(taken(self.context, SequencesDropped)))
            self.assertTrue(len(self.sequences) <= MAX_AUTHORS)
        self.assertTrue(sum(map(bool, dropped)) <= 20)

    def test_a_flood_of_gaps(self) -> None:
        """T32: authors that leave out every other number are remembered by no more than a bound of all together."""
        self.patch(module, "MAX_INTERVALS_ALL", 4000)
        self.patch(module, "CHECK_EVERY", 1000)
        self.come(1, author=Cheap(bytes(32)))
        self.come(3, author=Cheap(bytes(32)))
        rows: dict[tuple[bytes, int], SequencesKept] = {}
        for number in range(10_000):
            author, seq = Cheap((number % 8 + 1).to_bytes(32, "big")), number // 8 % 200 * 2 + 1
            self.come(seq, author=author, epoch=OWED + number // 1600, live=False)
            self.sequences.flush()
            for record in [each.record for each in self.context.actions if isinstance(each, Remember)]:
                if isinstance(record, SequencesKept):
                    rows[record.author, record.epoch] = record
                elif isinstance(record, SequencesDropped):
                    for key in [
                        key for key in rows if key[0] == record.author and key[1] <= record.floor_epoch
                    ]:
                        del rows[key]
            self.context.actions.clear()
        self.assertTrue(sum(len(row.seen) for row in rows.values()) < 5000)
        self.assertEqual(rows[bytes(32), OWED].seen, [(1, 1), (3, 3)], "whoever has few keeps them")
        self.assertEqual(self.come(1, author=Cheap(bytes(32))), "replay")
        self.assertEqual(self.come(2, author=Cheap((1).to_bytes(32, "big"))), "old")

    def test_stale_authors_go_first(self) -> None:
        """Whoever has nothing within retention goes before anybody else."""
        self.fill(stale=3)
        self.come(1)
        self.assertEqual(len(self.sequences), MAX_AUTHORS - 3 + 1)
        gone = {drop.author for drop in taken(self.context, SequencesDropped)}
        self.assertEqual(gone, {number.to_bytes(32, "big") for number in range(3)})

    def test_introductions(self) -> None:
        """A link introduces so many new authors; more are left to sync, which is exempt, and known ones pass."""
        self.context = context_of(ME, limits={"new_authors": Rate(1, 3)})
        self.sequences = Sequences(self.context, first_start_ms=START)
        reasons = [self.come(1, author=Cheap(bytes([number]) * 32)) for number in range(4)]
        self.assertEqual(reasons, [None, None, None, "budget"])
        envelope = sealed(self.context, A)
        self.assertEqual(self.sequences.judge(envelope, P), "budget")
        self.assertIsNone(self.sequences.judge(envelope, P, exempt=True))
        self.assertIsNone(self.sequences.judge(envelope, Q))
        self.assertIsNone(self.come(2, author=Cheap(bytes(32))))
        self.sequences.link_down()
        self.assertEqual(self.sequences.judge(envelope, P), "budget", "a reconnect refills nothing")
        self.context.now += 1
        self.assertIsNone(self.sequences.judge(envelope, P))

    def test_sealed_introduces_nobody(self) -> None:
        """A relay keeps no sequence of what is sealed to others."""
        self.context = context_of(ME, limits={"new_authors": Rate(1, 1)})
        self.sequences = Sequences(self.context, first_start_ms=START)
        self.come(1, author=Cheap(BOB.node_id))
        direct: Envelope = sealed(self.context, A, 1, kind=DIRECT, recipient=P, body=b"")
        self.assertIsNone(self.sequences.judge(direct, P))

    def test_a_flood_of_waiting_streams(self) -> None:
        """T32: authors made up to wait for what never comes have no tick look at all of them."""
        for number in range(4000):
            self.come(2, author=Cheap(number.to_bytes(32, "big")))
        self.context.now = now = Asked(HOLD_SECONDS / 2)
        for seq in range(1, 101):
            self.come(seq)
            self.sequences.tick()
        self.assertTrue(now.times < 1000, now.times)
        self.wait(HOLD_SECONDS)
        self.assertEqual(self.sequences.gaps_open, 0)


class Asked(float):
    """A time that counts how often another one was compared with it."""

    times = 0

    def __ge__(self, other: float) -> bool:
        self.times += 1
        return super().__ge__(other)


class HeldTests(Case):
    def hold(self, **limits: Any) -> None:
        self.limits = limits
        self.begin()

    def test_envelopes(self) -> None:
        """Over the author's count the gap is told at once and delivery goes on."""
        self.hold(held_envelopes=3)
        for seq in (3, 4, 5):
            self.come(seq)
        self.assertEqual(self.told(), [])
        self.come(6)
        self.assertEqual(self.told(), ["gap 1-2", "3", "4", "5", "6"])

    def test_bytes(self) -> None:
        """Over the author's bytes likewise."""
        self.hold(held_bytes=3000)
        for seq in (3, 5):
            self.come(seq, size=1000)
        self.assertEqual(self.told(), [])
        self.come(7, size=1000)
        self.assertEqual(self.told(), ["gap 1-2", "3"])

    def test_bytes_in_all(self) -> None:
        """The sum over all authors is bounded too; a fast author pays for itself."""
        self.hold(held_bytes_all=3000)
        self.come(3, size=1000)
        self.come(3, size=1000, author=Cheap(BOB.node_id))
        self.assertEqual(self.told(), [])
        self.come(5, size=1000)
        self.assertEqual(self.told(), ["gap 1-2", "3"])

    def test_budget_is_given_back(self) -> None:
        """What was released or given up no longer counts."""
        self.hold(held_envelopes=2, held_bytes=5000, held_bytes_all=5000)
        for step in range(20):
            self.come(3 * step + 3, size=1000)
            self.come(3 * step + 2, size=1000)
            self.assertEqual(self.told(), [])
            self.come(3 * step + 1, size=1000)
            self.assertEqual(self.told(), [str(3 * step + place) for place in (1, 2, 3)])

    def test_profiles(self) -> None:
        """The numbers of the three profiles are those of the design."""
        limits = {name: context_of(profile=name).parameters.limits for name in ("wan", "lan", "local")}
        mib = 1 << 20
        for name, expected in (("wan", (256, mib, 8 * mib)), ("lan", (1024, 8 * mib, 32 * mib))):
            held = limits[name]
            self.assertEqual((held.held_envelopes, held.held_bytes, held.held_bytes_all), expected)
        self.assertEqual(evolve(limits["local"]).held_envelopes, 1024)
