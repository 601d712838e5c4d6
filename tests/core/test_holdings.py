"""What a node holds and knows of: memory, store, stubs, seen ids, expiry, the floor and the quota."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from positron.core.envelope import DIRECT, Envelope, Sealer
from positron.core.gossip.holdings import (
    MAX_ENVELOPES,
    MAX_SEEN,
    STORE_OVERHEAD,
    STORE_SHARE,
    Holdings,
)
from positron.core.gossip.recents import RECENT_BYTES, RECENT_OVERHEAD, RECENT_SECONDS, Recents
from positron.core.records import EnvelopeKept, EnvelopesDropped, IndexEntry, StateKept, StubKept
from positron.core.sync import Index
from tests.core.gossip_parts import ALICE, BOB, CAROL, WALL, Cheap, Node, context_of, sealed, taken


class Case(SynchronousTestCase):
    parameters: dict[str, Any] = {}

    def setUp(self) -> None:
        self.context = context_of(**self.parameters)
        self.index = Index()
        self.holdings = Holdings(self.context, self.index)
        self.holdings.load([], {})
        self.context.actions.clear()

    def keep(self, seq: int = 1, **more: Any) -> Envelope:
        """An envelope is accepted and kept."""
        envelope = sealed(self.context, seq=seq, **more)
        self.holdings.keep(envelope, 1, ("t",))
        return envelope

    def wait(self, seconds: float) -> None:
        """Time passes, and the second's housekeeping is done at its end."""
        self.context.now += seconds
        self.holdings.tick()

    def ids(self) -> set[bytes]:
        """What stands in the index, as an exchange would see it."""
        return set(self.index.ids(bytes(24), b"\xff" * 24))

    def assert_books(self) -> None:
        """The sums kept along the way are those of what is held."""
        entries = list(self.holdings.known.values())
        self.assertEqual(self.holdings.bytes, sum(entry.size for entry in entries))
        self.assertEqual(self.holdings.envelopes, sum(1 for entry in entries if entry.size))
        self.assertEqual(self.ids(), set(self.holdings.known))


class KeepTests(Case):
    def test_keep(self) -> None:
        """What is kept is known, held, in the index, and handed to the store with all that the store needs."""
        envelope = self.keep(3, count=2)
        self.assertTrue(self.holdings.is_known(envelope.id))
        self.assertTrue(self.holdings.is_held(envelope.id))
        self.assertFalse(self.holdings.is_stub(envelope.id))
        self.assertEqual(self.ids(), {envelope.id})
        (kept,) = taken(self.context, EnvelopeKept)
        self.assertEqual((kept.id, kept.raw, kept.author), (envelope.id, envelope.raw, ALICE.node_id))
        self.assertEqual((kept.seq, kept.count, kept.topics, kept.hops), (3, 2, ("t",), 1))
        self.assertEqual((kept.received, kept.created_ms), (float(WALL), WALL * 1000))
        self.assert_books()

    def test_memory_of_ten_seconds(self) -> None:
        """The envelope itself stays in memory for 10 s; after that it is held by the store."""
        envelope = self.keep()
        self.wait(RECENT_SECONDS - 0.1)
        self.assertIn(envelope.id, self.holdings.recent)
        self.wait(0.1)
        self.assertNotIn(envelope.id, self.holdings.recent)
        self.assertTrue(self.holdings.is_held(envelope.id))

    def test_memory_is_bounded(self) -> None:
        """12 MiB of recent envelopes; the oldest leave first, and the store holds them."""
        size = 60_000
        kept = [self.keep(seq, size=size) for seq in range(1, RECENT_BYTES // size + 20)]
        total = sum(len(recent.envelope.raw) + RECENT_OVERHEAD for recent in self.holdings.recent.values())
        self.assertTrue(RECENT_BYTES - 2 * size < total <= RECENT_BYTES, total)
        self.assertNotIn(kept[0].id, self.holdings.recent)
        self.assertIn(kept[-1].id, self.holdings.recent)
        self.assertTrue(self.holdings.is_held(kept[0].id))

    def test_memory_of_many_short_ones(self) -> None:
        """What an envelope takes beside its bytes counts, too."""
        gc.collect()
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for seq in range(1, 15_001):
            envelope = sealed(self.context, Cheap(ALICE.node_id), seq=seq)
            self.holdings.carry(Sealer(self.context.network_id).parse(bytes(bytearray(envelope.raw))), 1)
        kept, _ = tracemalloc.get_traced_memory()
        self.wait(RECENT_SECONDS)
        after, _ = tracemalloc.get_traced_memory()
        self.assertTrue(0.8 * RECENT_BYTES < kept - after < 1.1 * RECENT_BYTES, kept - after)

    def test_memory_of_a_flood(self) -> None:
        """What left the recent ones is in memory no more, though its sources and announcements are looked at later."""
        node = Node()
        links = [node.link(number) for number in range(1, 10)]
        before = _envelopes()
        size = 60_000
        for seq in range(1, 2 * RECENT_BYTES // size):
            node.gossip.push(links[0], 0, sealed(node.context, seq=seq, size=size).raw)
            node.context.actions.clear()
        self.assertEqual(_envelopes() - before, len(node.gossip.holdings.recent))

    def test_sealed_ones_are_carried(self) -> None:
        """A DIRECT is known and in memory for seconds; never in the index, never in the store."""
        envelope = sealed(self.context, kind=DIRECT, recipient=BOB.node_id, body=b"x")
        self.holdings.carry(envelope, 1)
        self.assertTrue(self.holdings.is_known(envelope.id))
        self.assertEqual(self.ids(), set())
        self.assertEqual(self.context.actions, [])
        self.wait(RECENT_SECONDS)
        self.assertFalse(self.holdings.is_held(envelope.id))
        self.assertTrue(self.holdings.is_known(envelope.id))

    def test_the_same_sealed_one_again_and_again(self) -> None:
        """Who repeats a direct message has its receipt sent again each time; that fills no memory for good."""
        receipt = sealed(self.context, kind=DIRECT, recipient=BOB.node_id, body=b"x")
        for _ in range(RECENT_BYTES // RECENT_OVERHEAD):
            self.holdings.carry(receipt, 0)
        kept = self.keep()
        self.assertIn(kept.id, self.holdings.recent)
        self.wait(RECENT_SECONDS)
        self.assertEqual(len(self.holdings.recent), 0)

    def test_overlapping(self) -> None:
        """An overlap is found in memory only with another id of the same author, epoch, kind and recipient."""
        first = self.keep(5, count=3)
        self.assertIsNone(self.holdings.overlapping(first))
        for seq, count, found in ((3, 2, None), (3, 3, first), (7, 1, first), (8, 1, None), (6, 1, first)):
            other = sealed(self.context, seq=seq, count=count, topic="other")
            self.assertIs(self.holdings.overlapping(other), found, (seq, count))
        self.assertIsNone(self.holdings.overlapping(sealed(self.context, BOB, 5, 3)))
        self.assertIsNone(self.holdings.overlapping(sealed(self.context, ALICE, 5, 3, epoch=7)))
        self.wait(RECENT_SECONDS)
        self.assertIsNone(self.holdings.overlapping(sealed(self.context, seq=6, topic="other")))

    def test_overlapping_beside_sealed_ones(self) -> None:
        """A DIRECT of the same numbers is no conflict, and takes nothing along when it goes."""
        self.holdings.carry(sealed(self.context, kind=DIRECT, recipient=BOB.node_id, body=b"x"), 1)
        self.context.now += 1
        other = sealed(self.context, topic="other")
        self.assertIsNone(self.holdings.overlapping(other))
        first = self.keep()
        self.wait(RECENT_SECONDS - 1)
        self.assertIs(self.holdings.overlapping(other), first)

    def test_overlapping_at_any_distance(self) -> None:
        """The longest bundle is found by its last number as by its first, and the one after it is not."""
        first = self.keep(1000, count=256)
        for seq, found in ((999, None), (1000, first), (1255, first), (1256, None)):
            other = sealed(self.context, seq=seq, topic="other")
            self.assertIs(self.holdings.overlapping(other), found, seq)

    def test_a_flood_of_replays(self) -> None:
        """T32: who signs its numbers once more has us look at what may claim them, not at all of the last seconds."""
        recents = Recents(self.context)
        for seq in range(1, 1001):
            recents.add(sealed(self.context, Cheap(ALICE.node_id), seq), 1)
        recents.by_id = Watched(recents.by_id)
        self.patch(Watched, "looks", 0)
        self.assertIsNotNone(recents.overlapping(sealed(self.context, seq=1000, topic="other")))
        self.assertIsNone(recents.overlapping(sealed(self.context, seq=1001, topic="other")))
        self.assertEqual(Watched.looks, 0)


class Watched(dict[bytes, Any]):
    """Counts how many of its values are looked at by whoever looks at all of them."""

    looks = 0

    def values(self) -> Any:
        for value in super().values():
            Watched.looks += 1
            yield value


class StubTests(Case):
    def test_refused(self) -> None:
        """What is refused for good is a stub: known, in the index, not held, told to the store."""
        envelope = sealed(self.context)
        self.holdings.refuse(envelope)
        self.assertTrue(self.holdings.is_known(envelope.id))
        self.assertTrue(self.holdings.is_stub(envelope.id))
        self.assertFalse(self.holdings.is_held(envelope.id))
        self.assertEqual(self.ids(), {envelope.id})
        stub = StubKept(envelope.id, envelope.created_ms, envelope.expires_ms)
        self.assertEqual(taken(self.context, StubKept), [stub])
        self.holdings.refuse(envelope)
        self.assertEqual(taken(self.context, StubKept), [])
        self.assert_books()

    def test_refused_outside_the_index(self) -> None:
        """Before the floor, ahead of the clock, or sealed: the id is remembered, the index is left alone."""
        for envelope in (
            sealed(self.context, age=25 * 3600, lifetime=48 * 3600),
            sealed(self.context, age=-20),
            sealed(self.context, kind=DIRECT, recipient=BOB.node_id, body=b"x"),
        ):
            self.holdings.refuse(envelope)
            self.assertTrue(self.holdings.is_known(envelope.id))
        self.assertEqual(self.ids(), set())
        self.assertEqual(self.context.actions, [])

    def test_filled_by_a_push(self) -> None:
        """A stub may be filled later; there is one entry of it then, and it is held."""
        envelope = sealed(self.context)
        self.holdings.refuse(envelope)
        self.holdings.keep(envelope, 1, ())
        self.assertTrue(self.holdings.is_held(envelope.id))
        self.assertFalse(self.holdings.is_stub(envelope.id))
        self.assert_books()

    def test_muted(self) -> None:
        """All that is held of a muted author becomes stubs."""
        ours, others = [self.keep(seq) for seq in (1, 2)], self.keep(author=BOB)
        taken(self.context, StubKept)
        self.holdings.mute(ALICE.node_id)
        self.assertEqual({stub.id for stub in taken(self.context, StubKept)}, {one.id for one in ours})
        self.assertTrue(self.holdings.is_held(others.id))
        self.assert_books()

    def test_a_flood_of_equivocators(self) -> None:
        """T20, T32: authors made up to equivocate have us look at all that is held once a second, not for each."""
        mine = self.keep()
        authors = [Cheap(bytes([number]) * 32) for number in range(100)]
        for author in authors:
            self.keep(author=author)
        self.holdings.known = Watched(self.holdings.known)
        self.patch(Watched, "looks", 0)
        for author in authors:
            self.holdings.mute(author.node_id)
        self.wait(1)
        self.assertTrue(Watched.looks < 3 * len(self.holdings.known), Watched.looks)
        held = [entry.id for entry in self.holdings.known.values() if entry.size]
        self.assertEqual(held, [mine.id])
        self.assert_books()

    def test_no_room(self) -> None:
        """While the store takes nothing, envelopes are kept in memory and stubs stand for them."""
        self.holdings.store_health(False)
        envelope = self.keep()
        self.assertTrue(self.holdings.is_held(envelope.id))
        self.assertEqual([stub.id for stub in taken(self.context, StubKept)], [envelope.id])
        self.wait(RECENT_SECONDS)
        self.assertFalse(self.holdings.is_held(envelope.id))
        self.assertTrue(self.holdings.is_known(envelope.id))
        self.holdings.store_health(True)
        self.assertTrue(self.holdings.is_held(self.keep(2).id))
        self.assertEqual(len(taken(self.context, EnvelopeKept)), 1)

    def test_room_is_made_when_the_store_stops(self) -> None:
        """A tenth of what is held goes, once."""
        for seq in range(1, 101):
            self.keep(seq, size=1000)
        before = self.holdings.bytes
        self.holdings.store_health(False)
        self.assertTrue(0.85 * before < self.holdings.bytes <= 0.9 * before)
        after = self.holdings.bytes
        self.holdings.store_health(False)
        self.assertEqual(self.holdings.bytes, after)
        self.assert_books()


class SeenTests(Case):
    def test_two_generations(self) -> None:
        """Of ids alone at least half the table's size is remembered, and never more than all of it."""
        ids = [number.to_bytes(16, "big") for number in range(2 * MAX_SEEN)]
        for envelope_id in ids:
            self.holdings.see(envelope_id)
        known = [self.holdings.is_known(envelope_id) for envelope_id in ids]
        self.assertTrue(all(known[-MAX_SEEN // 2 :]))
        self.assertTrue(MAX_SEEN // 2 <= sum(known) <= MAX_SEEN)
        self.assertFalse(known[0])
        self.assertEqual(self.ids(), set())


class ExpiryTests(Case):
    parameters = {"retention": 3600.0}

    def test_by_its_own_expiry(self) -> None:
        """Envelopes and stubs end when they expire: forgotten, out of the index, the store told."""
        kept, stub = self.keep(lifetime=100), sealed(self.context, seq=2, lifetime=100)
        self.holdings.refuse(stub)
        self.wait(99.9)
        self.assertTrue(self.holdings.is_known(kept.id) and self.holdings.is_known(stub.id))
        taken(self.context, EnvelopesDropped)
        self.wait(0.1)
        self.assertFalse(self.holdings.is_known(kept.id) or self.holdings.is_known(stub.id))
        dropped = [key for drop in taken(self.context, EnvelopesDropped) for key in drop.ids]
        self.assertEqual(sorted(dropped), sorted([kept.id, stub.id]))
        self.assert_books()

    def test_by_our_retention(self) -> None:
        """What lives longer than our retention ends with it, at most the floor's two steps early."""
        kept = self.keep(lifetime=7 * 86400)
        self.wait(3579)
        self.assertTrue(self.holdings.is_held(kept.id))
        self.wait(21)
        self.assertFalse(self.holdings.is_known(kept.id))

    def test_what_went_before_its_time(self) -> None:
        """T32: what a flood pushed below the floor takes no memory for the rest of its life, which is a day."""
        signer: Any = Cheap(CAROL.node_id)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before, _ = tracemalloc.get_traced_memory()
        for second in range(100):
            for place in range(50):
                seq = second * 50 + place + 1
                self.holdings.refuse(sealed(self.context, signer, seq=seq, body=b""))
            self.context.actions.clear()
            self.wait(1)
            self.index.raise_floor(self.context.wall_ms - 1000)  # as it does when there are too many entries
        self.wait(RECENT_SECONDS + 60)
        self.index.raise_floor(self.context.wall_ms)
        self.wait(1)
        self.context.actions.clear()
        self.assertEqual(len(self.holdings.known), 0)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        self.assertTrue(after - before < 300_000, after - before)

    def test_in_batches(self) -> None:
        """Thousands that end at once are let go over some seconds, 500 at a time, and all of them."""
        for seq in range(1, 1202):
            self.keep(seq, lifetime=100)
        self.wait(101)
        taken(self.context, EnvelopesDropped)
        left = [len(self.holdings.known)]
        while left[-1]:
            self.wait(1)
            self.assertTrue(all(len(drop.ids) <= 500 for drop in taken(self.context, EnvelopesDropped)))
            left.append(len(self.holdings.known))
        self.assertEqual(left, [701, 201, 0])
        self.assert_books()


class FloorTests(Case):
    parameters = {"retention": 3600.0}

    def test_by_age(self) -> None:
        """The floor lies one to two steps of 10 s above the edge of retention, on a step that all share."""
        for _ in range(50):
            self.wait(7.3)
            edge = self.context.wall_ms - 3_600_000
            self.assertTrue(edge + 10_000 <= self.holdings.floor_ms <= edge + 20_000)
            self.assertEqual(self.holdings.floor_ms % 10_000, 0)

    def test_kept(self) -> None:
        """The store hears of the floor each minute it moved, and a node born with it has it again."""
        taken(self.context, StateKept)
        self.wait(61)
        self.wait(10)
        kept = taken(self.context, StateKept)
        self.assertEqual([state.key for state in kept], ["floor_ms"])
        again = Holdings(context_of(retention=1e6), Index())
        again.load([], {"floor_ms": kept[0].value})
        self.assertEqual(again.floor_ms, int(kept[0].value))

    def test_ahead_of_the_clock(self) -> None:
        """A floor that a wrong clock left in the future is dropped at the start."""
        again = Holdings(context_of(retention=3600.0), Index())
        again.load([], {"floor_ms": str((WALL + 1) * 1000)})
        self.assertTrue(again.floor_ms < WALL * 1000)

    def test_never_falls(self) -> None:
        """Not even when the clock goes back."""
        floor = self.holdings.floor_ms
        self.context.wall_offset -= 1000
        self.wait(1)
        self.assertEqual(self.holdings.floor_ms, floor)

    def test_below_it_only_stubs_go(self) -> None:
        """When the index's own limit raises it, what is held stays till its time, and leaves no stub if pruned."""
        held, stub, new = self.keep(age=1000), sealed(self.context, seq=9, age=1000), self.keep(2)
        self.holdings.refuse(stub)
        taken(self.context, EnvelopesDropped)
        self.index.raise_floor(self.context.wall_ms - 500_000)
        self.keep(3)
        self.assertFalse(self.holdings.is_known(stub.id))
        self.assertTrue(self.holdings.is_held(held.id) and self.holdings.is_held(new.id))
        self.assertEqual([drop.ids for drop in taken(self.context, EnvelopesDropped)], [[stub.id]])
        self.assertNotIn(held.id, self.ids())
        self.wait(RECENT_SECONDS)
        self.holdings.mute(ALICE.node_id)
        self.wait(1)
        self.assertFalse(self.holdings.is_known(held.id))
        self.assertTrue(self.holdings.is_stub(new.id))
        self.assertEqual([drop.ids for drop in taken(self.context, EnvelopesDropped)], [[held.id]])


class LoadTests(Case):
    def test_load(self) -> None:
        """Born with an index: envelopes are held, stubs known, sealed ones left out."""
        created = WALL * 1000 - 1000
        entries = [
            IndexEntry(bytes([number]) * 16, created, created + 10**6, ALICE.node_id, size, kind)
            for number, size, kind in ((1, 300, 1), (2, 0, 1), (3, 300, 2))
        ]
        self.holdings.load(entries, {})
        held = [self.holdings.is_held(entry.id) for entry in entries]
        known = [self.holdings.is_known(entry.id) for entry in entries]
        self.assertEqual((held, known), ([True, False, False], [True, True, False]))
        self.assert_books()


class QuotaTests(Case):
    parameters = {"quota": 400_000}

    def room(self) -> float:
        return 400_000 * STORE_SHARE

    def test_bytes(self) -> None:
        """Held bytes with what each costs a store never pass three quarters of the quota."""
        for seq in range(1, 500):
            self.keep(seq, size=1000, author=(ALICE, BOB, CAROL)[seq % 3])
            used = self.holdings.bytes + self.holdings.envelopes * STORE_OVERHEAD
            self.assertTrue(used <= self.room())
        self.assertTrue(used > 0.9 * self.room())
        self.assert_books()

    def test_the_author_of_most_gives_way(self) -> None:
        """A stranger that floods erases its own history, oldest first, and nobody else's."""
        quiet = [self.keep(seq, author=BOB, size=1000) for seq in range(1, 20)]
        flood = [self.keep(seq, author=CAROL, size=1000) for seq in range(1, 1000)]
        self.assertTrue(all(self.holdings.is_held(envelope.id) for envelope in quiet))
        self.wait(RECENT_SECONDS)
        held = [self.holdings.is_held(envelope.id) for envelope in flood]
        self.assertEqual(held, sorted(held))
        self.assertTrue(self.holdings.is_stub(flood[0].id))
        self.assertTrue(0 < sum(held) < 999)

    def test_many_authors_of_little(self) -> None:
        """T32: thousands who hold a few envelopes each cannot have us look at all of it for each that comes."""
        self.context = context_of()
        self.holdings = Holdings(self.context, Index())
        looked = Counted()
        self.holdings.known = looked
        signers: list[Any] = [Cheap(number.to_bytes(32, "big")) for number in range(8000)]
        for place in range(MAX_ENVELOPES + 1000):
            self.keep(place // 8000 + 1, author=signers[place % 8000], body=b"")
            self.context.actions.clear()
            self.context.now += 0.0005
        self.assertTrue(0.98 * MAX_ENVELOPES < self.holdings.envelopes <= MAX_ENVELOPES)
        self.assertTrue(0 < looked.walks <= 4, looked.walks)
        held = [0] * 8000
        for entry in self.holdings.known.values():
            held[int.from_bytes(entry.author, "big")] += entry.size > 0
        self.assertTrue(max(held) - min(held) <= 2, "whoever holds most gives way")

    def test_count(self) -> None:
        """The number of envelopes binds as well, and prunes the author of most envelopes, not of most bytes."""
        self.context = context_of()
        self.holdings = Holdings(self.context, Index())
        signer: Any = Cheap(CAROL.node_id)
        heavy: list[Envelope] = []
        for seq in range(1, MAX_ENVELOPES + 10):
            if seq == MAX_ENVELOPES // 2:
                heavy = [self.keep(number, author=BOB, size=60_000) for number in range(1, 101)]
            light = self.keep(seq, author=signer, body=b"")
            self.context.actions.clear()
            self.context.now += 0.001
        self.assertTrue(self.holdings.envelopes <= MAX_ENVELOPES)
        self.assertTrue(self.holdings.envelopes > 0.9 * MAX_ENVELOPES)
        self.assertTrue(all(self.holdings.known[envelope.id].size for envelope in heavy))
        self.assertTrue(self.holdings.is_held(light.id))

    def test_a_flood_of_stubs_erases_nobody(self) -> None:
        """T33: who floods until its stubs fill the index raises the floor, and loses its own history alone."""
        self.context = context_of()
        self.holdings = Holdings(self.context, Index())
        signer: Any = Cheap(CAROL.node_id)
        quiet = [self.keep(seq, author=BOB, size=1000) for seq in range(1, 20)]
        for place in range(MAX_ENVELOPES + 5_000):
            self.keep(place + 1, author=signer, body=b"")
            self.context.actions.clear()
            self.context.now += 0.001
            if place % 1000 == 0:
                self.holdings.tick()
        self.assertTrue(self.holdings.floor_ms > quiet[-1].created_ms)
        self.assertTrue(all(self.holdings.is_held(envelope.id) for envelope in quiet))
        self.assertTrue(self.holdings.envelopes <= MAX_ENVELOPES)
        self.assertTrue(len(self.holdings.known) <= 2 * MAX_ENVELOPES + 60_000, len(self.holdings.known))


class Counted(dict[bytes, IndexEntry]):
    """Counts how often all of it was looked at."""

    walks = 0

    def values(self) -> Any:
        """Everything, once more."""
        self.walks += 1
        return super().values()


def _envelopes() -> int:
    """How many are in memory."""
    gc.collect()
    return sum(type(each) is Envelope for each in gc.get_objects())
