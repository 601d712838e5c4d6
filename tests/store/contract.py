"""What every store promises, as a mixin: each store's own tests inherit it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock

from positron.core.envelope import DIRECT
from positron.core.records import (
    EnvelopesDropped,
    IndexEntry,
    Loaded,
    PeerForgotten,
    SequencesDropped,
    SequencesKept,
    StateKept,
)
from positron.errors import StoreError
from positron.store import Store
from tests.store.samples import (
    AUTHOR,
    HOUR_MS,
    NOW_MS,
    OTHER,
    change,
    envelope,
    id_of,
    peer,
    sequences,
    stub,
    trust,
)

QUOTA = 4 * 1024 * 1024
RETENTION = 3600.0


class Ears:
    """Listens to a store: the marks and the health it reported."""

    def __init__(self, store: Store) -> None:
        self.marks: list[int] = []
        self.health: list[bool] = []
        store.on_stored = self.marks.append
        store.on_health = self.health.append


class StoreContract:
    """Mix into a TestCase with `make_store()`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.ahead = 0.0
        self.store: Any = self.make_store()  # type: ignore[attr-defined]
        self.ears = Ears(self.store)

    def wall(self) -> float:
        """The wall clock, which somebody may set by `ahead`."""
        return NOW_MS / 1000 + self.clock.seconds() + self.ahead

    async def open(self, now_ms: int = NOW_MS) -> Loaded:
        self.addCleanup(self.store.close)  # type: ignore[attr-defined]
        return await self.store.open(now_ms)

    async def until(self, wanted: Callable[[], bool], most: int = 100) -> None:
        """Let time pass until `wanted()` holds. A question to the store comes back after what was under way."""
        for _ in range(most):
            if wanted():
                return
            self.clock.advance(0.1)
            await self.store.fetch([b"?" * 16])
        raise AssertionError(f"it did not come to it in {most / 10} s")

    async def stored(self, mark: int) -> None:
        """Let time pass until `mark` is reported."""
        await self.until(lambda: mark in self.ears.marks)

    async def reopened(self, now_ms: int = NOW_MS) -> Loaded:
        await self.store.close()
        return await self.store.open(now_ms)

    # ---------------------------------------------------------------------------------------------- the epoch

    async def test_the_first_epoch_is_the_clock(self) -> None:
        """A node without a past takes the time for its epoch, and finds nothing else."""
        assert await self.open() == Loaded(NOW_MS)

    async def test_an_epoch_is_never_used_twice(self) -> None:
        """Each opening draws a higher epoch, even if the clock stands still or goes back."""
        await self.open()
        assert (await self.reopened()).epoch == NOW_MS + 1
        assert (await self.reopened(NOW_MS - HOUR_MS)).epoch == NOW_MS + 2
        assert (await self.reopened(NOW_MS + 5000)).epoch == NOW_MS + 5000

    # ------------------------------------------------------------------------------------------- what comes back

    async def test_every_record_comes_back(self) -> None:
        """What was remembered is what a restarted node is born with, field by field."""
        await self.open()
        records = [sequences(), peer(), trust(), StateKept("floor_ms", "17"), envelope(1), stub(2)]
        for record in records:
            self.store.remember(record)
        loaded = await self.reopened()
        assert loaded.sequences == [sequences(seen=[(1, 5), (8, 1 << 62)])]
        assert loaded.peers == [peer()]
        assert loaded.trust == [trust()]
        assert loaded.state == {"floor_ms": "17"}
        assert loaded.floors == []
        first, second = sorted(loaded.index, key=lambda entry: entry.id)
        expected = envelope(1)
        size = len(expected.raw)
        assert first == IndexEntry(id_of(1), expected.created_ms, expected.expires_ms, AUTHOR, size, 1)
        assert second == IndexEntry(id_of(2), stub(2).created_ms, stub(2).expires_ms, b"", 0, 1)

    async def test_a_record_replaces_the_one_of_its_key(self) -> None:
        """Sequences, peers, trust and state are one row per key; other keys stay."""
        await self.open()
        for record in (sequences(), sequences(8), peer(), trust(), StateKept("k", "1"), StateKept("l", "1")):
            self.store.remember(record)
        await self.reopened()
        for record in (sequences(seen=[(1, 9)]), peer(failures=9), trust(value=1), StateKept("k", "2")):
            self.store.remember(record)
        loaded = await self.reopened()
        assert sorted(loaded.sequences, key=lambda kept: kept.epoch) == [
            sequences(seen=[(1, 9)]),
            sequences(8),
        ]
        assert loaded.peers == [peer(failures=9)]
        assert loaded.trust == [trust(value=1)]
        assert loaded.state == {"k": "2", "l": "1"}

    async def test_dropped_sequences_leave_a_floor(self) -> None:
        """Dropping takes every epoch of the stream, not of another, and records the floor; later ones come anew."""
        await self.open()
        other = sequences(author=OTHER)
        for record in (sequences(7), sequences(8), other):
            self.store.remember(record)
        self.store.remember(SequencesDropped(AUTHOR, 1, b"", 7))
        self.store.remember(sequences(8))
        loaded = await self.reopened()
        assert sorted(loaded.sequences, key=lambda kept: kept.author) == [sequences(8), other]
        assert loaded.floors == [SequencesDropped(AUTHOR, 1, b"", 7)]

    async def test_forgetting(self) -> None:
        """A forgotten peer and a forgotten score are gone; the score stays when only the address went."""
        await self.open()
        for record in (peer(), peer(AUTHOR), trust(), trust(AUTHOR)):
            self.store.remember(record)
        self.store.remember(PeerForgotten(OTHER))
        self.store.remember(
            trust(AUTHOR, value=500_000, time=0.0, bans=0, valid=0, invalid=0, first_seen=0.0)
        )
        loaded = await self.reopened()
        assert loaded.peers == [peer(AUTHOR)]
        assert loaded.trust == [trust()]

    async def test_trust_comes_back_least_recent_first(self) -> None:
        """The trust book drops the oldest first when it is too long, so it needs them in order."""
        await self.open()
        for node, time in ((b"x", 3.0), (b"y", 1.0), (b"z", 2.0)):
            self.store.remember(trust(node * 32, time=time))
        loaded = await self.reopened()
        assert [kept.time for kept in loaded.trust] == [1.0, 2.0, 3.0]

    async def test_what_is_over_is_not_loaded(self) -> None:
        """Expired envelopes and stubs, and those beyond retention, are gone after a restart."""
        await self.open()
        self.store.remember(envelope(1))
        self.store.remember(envelope(2, expires_ms=NOW_MS + 1000))
        self.store.remember(envelope(3, created_ms=NOW_MS - HOUR_MS + 2000))
        self.store.remember(stub(4))
        loaded = await self.reopened(NOW_MS + 5000)
        assert {entry.id for entry in loaded.index} == {id_of(1), id_of(4)}
        assert self.store.size() == (10, 1, len(envelope(1).raw))

    async def test_retention_is_kept_to_while_running(self) -> None:
        """What expires while the node runs goes within two minutes, if the core did not say so before."""
        await self.open()
        self.store.remember(envelope(1))
        self.store.remember(envelope(2, expires_ms=NOW_MS + 1000), 1)
        await self.stored(1)
        for _ in range(4):
            self.clock.advance(30.0)
            await self.store.flush()
        assert self.store.size() == (10, 1, len(envelope(1).raw))

    async def test_the_wall_clock_is_set(self) -> None:
        """What is over is over by the wall clock, however that came to show what it shows."""
        await self.open()
        self.store.remember(envelope(1))
        self.store.remember(envelope(2, expires_ms=NOW_MS + HOUR_MS // 2), 1)
        await self.stored(1)
        self.ahead = HOUR_MS / 1000 - 600
        for _ in range(4):
            self.clock.advance(30.0)
            await self.store.flush()
        assert self.store.size() == (10, 1, len(envelope(1).raw))

    # ---------------------------------------------------------------------------------------- stubs and dropping

    async def test_a_stub_takes_an_envelopes_place(self) -> None:
        """A pruned envelope is no longer held, its id is."""
        await self.open()
        self.store.remember(envelope(1))
        self.store.remember(stub(1), 1)
        await self.stored(1)
        assert await self.store.fetch([id_of(1)]) == {}
        assert await self.store.history("#", 10) == []
        assert self.store.size() == (0, 0, 0)
        assert [entry.size for entry in (await self.reopened()).index] == [0]

    async def test_an_envelope_fills_its_stub(self) -> None:
        """What comes by a later PUSH is held, and there is one entry of it."""
        await self.open()
        self.store.remember(stub(1))
        self.store.remember(envelope(1), 1)
        await self.stored(1)
        assert await self.store.fetch([id_of(1)]) == {id_of(1): envelope(1).raw}
        assert [entry.size for entry in (await self.reopened()).index] == [len(envelope(1).raw)]

    async def test_dropped_is_gone(self) -> None:
        """Dropped envelopes and stubs are in no index, no history and no count; unknown ids are no harm."""
        await self.open()
        for record in (envelope(1, ("a", "b")), envelope(2, ("a",)), stub(3)):
            self.store.remember(record)
        self.store.remember(EnvelopesDropped([id_of(1), id_of(3), id_of(9)]), 1)
        await self.stored(1)
        assert await self.store.history("a", 10) == [envelope(2, ("a",))]
        assert await self.store.history("b", 10) == []
        assert self.store.size() == (10, 1, len(envelope(2).raw))
        assert [entry.id for entry in (await self.reopened()).index] == [id_of(2)]

    async def test_the_same_envelope_twice_counts_once(self) -> None:
        """Writing a record twice leaves what writing it once leaves."""
        await self.open()
        self.store.remember(envelope(1), 1)
        await self.stored(1)
        self.store.remember(envelope(1), 2)
        await self.stored(2)
        assert self.store.size() == (10, 1, len(envelope(1).raw))
        assert await self.store.history("#", 10) == [envelope(1)]

    async def test_one_held_among_others(self) -> None:
        """Of a batch, what is held already stays as it was, what comes twice is held once, and the rest is new."""
        await self.open()
        self.store.remember(envelope(1), 1)
        await self.stored(1)
        for number in (2, 1, 3, 3):
            self.store.remember(envelope(number, ("t", "u") if number > 1 else ("v",)))
        self.store.remember(stub(4), 2)
        self.store.remember(envelope(4), 3)
        await self.stored(3)
        sizes = [len(envelope(number).raw) for number in (1, 2, 3, 4)]
        assert self.store.size() == (40, 4, sum(sizes))
        assert [kept.seq for kept in await self.store.history("t", 10)] == [11, 21, 31, 41]
        assert await self.store.history("v", 10) == []
        assert [entry.size for entry in (await self.reopened()).index] == sizes

    # ------------------------------------------------------------------------------------------------- questions

    async def test_fetch_sees_what_is_not_yet_written(self) -> None:
        """Bytes are there from the moment they are remembered, and after; unknown ids are left out."""
        await self.open()
        self.store.remember(envelope(1), 1)
        await self.stored(1)
        self.store.remember(envelope(2))
        found = await self.store.fetch([id_of(1), id_of(2), id_of(3)])
        assert found == {id_of(1): envelope(1).raw, id_of(2): envelope(2).raw}

    async def test_history_is_the_newest_in_order(self) -> None:
        """The newest `limit` of a topic, oldest first, each field as it was; also across what is not yet written."""
        await self.open()
        for number in range(1, 6):
            self.store.remember(envelope(number, ("odd" if number % 2 else "even",)), number)
        await self.stored(5)
        self.store.remember(envelope(6, ("even",)))
        assert await self.store.history("odd", 2) == [envelope(3, ("odd",)), envelope(5, ("odd",))]
        assert await self.store.history("even", 2) == [envelope(4, ("even",)), envelope(6, ("even",))]
        assert await self.store.history("even", 1) == [envelope(6, ("even",))]
        assert await self.store.history("even", 0) == []

    async def test_patterns(self) -> None:
        """`a/#` is `a` and what is below it, `#` everything, and nothing else is special."""
        await self.open()
        topics = ("a", "a/b", "a/b/c", "ab", "a0", "b", "", "a/%", "a/é")
        for number, topic in enumerate(topics):
            self.store.remember(envelope(number, (topic,)), number + 1)
        await self.stored(len(topics))
        for pattern, expected in (
            ("a", {"a"}),
            ("a/#", {"a", "a/b", "a/b/c", "a/%", "a/é"}),
            ("a/b/#", {"a/b", "a/b/c"}),
            ("#", set(topics)),
            ("", {""}),
            ("/#", {""}),
            ("a/_", set()),
        ):
            found = await self.store.history(pattern, 100)
            assert {kept.topics[0] for kept in found} == expected, pattern

    async def test_a_bundle_of_several_topics_comes_once(self) -> None:
        """An envelope that matches twice is in the answer once."""
        await self.open()
        self.store.remember(envelope(1, ("a", "a/b", "c")), 1)
        await self.stored(1)
        assert len(await self.store.history("a/#", 10)) == 1
        assert len(await self.store.history("c", 10)) == 1

    async def test_direct_messages_are_no_history(self) -> None:
        """A DIRECT is kept and fetched, and in no answer about topics or messages."""
        await self.open()
        direct = envelope(1, (), kind=DIRECT, recipient=OTHER, count=1)
        self.store.remember(direct, 1)
        await self.stored(1)
        assert await self.store.history("#", 10) == []
        assert await self.store.after(0, "#", 10) == []
        assert await self.store.envelope_of(AUTHOR, 7, direct.seq) is None
        assert await self.store.fetch([direct.id]) == {direct.id: direct.raw}

    async def test_before_and_after_a_cursor_are_everything(self) -> None:
        """A subscriber that reads history up to a cursor and goes on after it misses nothing, sees nothing twice."""
        await self.open()
        for number in range(1, 4):
            self.store.remember(envelope(number), number)
        await self.stored(3)
        cursor = self.store.cursor()
        for number in range(4, 7):
            self.store.remember(envelope(number), number)
        expected = [[envelope(1), envelope(2), envelope(3)], [envelope(4), envelope(5), envelope(6)]]
        for _ in range(2):
            assert await self.store.history("t", 10, before=cursor) == expected[0]
            assert [kept for _, kept in await self.store.after(cursor, "t", 10)] == expected[1]
            await self.stored(6)

    async def test_after_is_paged_by_its_own_cursors(self) -> None:
        """Asking on from the last cursor walks through all of them, matching ones only, oldest first."""
        await self.open()
        for number in range(1, 10):
            self.store.remember(envelope(number, ("x/y" if number % 3 else "z",)), number)
        await self.stored(9)
        self.store.remember(envelope(10, ("x",)))
        for pattern, expected in (("x/#", [1, 2, 4, 5, 7, 8, 10]), ("#", list(range(1, 11)))):
            walked, cursor = [], 0
            while page := await self.store.after(cursor, pattern, 3):
                walked += [kept.id for _, kept in page]
                cursor = page[-1][0]
            assert walked == [id_of(number) for number in expected]
        assert cursor <= self.store.cursor()

    async def test_envelope_of_a_message(self) -> None:
        """The envelope is found by any sequence number in it, written or not, and by no other."""
        await self.open()
        self.store.remember(envelope(1), 1)
        self.store.remember(envelope(3), 2)
        await self.stored(2)
        self.store.remember(envelope(5))
        for seq, expected in (
            (10, None),
            (11, 1),
            (20, 1),
            (21, None),
            (31, 3),
            (51, 5),
            (60, 5),
            (61, None),
        ):
            found = await self.store.envelope_of(AUTHOR, 7, seq)
            assert found == (expected and envelope(expected)), seq
        assert await self.store.envelope_of(AUTHOR, 8, 11) is None
        assert await self.store.envelope_of(OTHER, 7, 11) is None

    async def test_trust_history(self) -> None:
        """The newest rows of one node, oldest first, written and not, each once."""
        await self.open()
        for before in range(3):
            self.store.remember(change(before, before + 1))
            self.store.remember(change(before, before + 9, AUTHOR))
        self.store.remember(StateKept("k", "v"), 1)
        await self.stored(1)
        self.store.remember(change(3, 4))
        assert await self.store.trust_history(OTHER, 10) == [change(n, n + 1) for n in range(4)]
        assert await self.store.trust_history(OTHER, 2) == [change(2, 3), change(3, 4)]
        assert await self.store.trust_history(b"?" * 32, 2) == []

    # ----------------------------------------------------------------------------------------- marks, flush, close

    async def test_marks_come_later_and_rise(self) -> None:
        """No mark is reported while `remember` runs; the highest stands for those below it."""
        await self.open()
        for mark in (3, 5, 9):
            self.store.remember(envelope(mark), mark)
        assert self.ears.marks == []
        await self.stored(9)
        assert self.ears.marks == sorted(self.ears.marks)

    async def test_flush(self) -> None:
        """After a flush everything is counted, and a flush of nothing fires too."""
        await self.open()
        await self.store.flush()
        self.store.remember(envelope(1))
        await self.store.flush()
        assert self.store.size() == (10, 1, len(envelope(1).raw))

    async def test_closed(self) -> None:
        """Closed is closed: nothing is taken, flush fails, closing again is no harm; no delayed call is left."""
        await self.open()
        self.store.remember(envelope(1))
        await self.store.close()
        await self.store.close()
        assert self.clock.getDelayedCalls() == []
        self.store.remember(envelope(2))
        assert self.clock.getDelayedCalls() == []
        with self.assertRaises(StoreError):  # type: ignore[attr-defined]
            await self.store.flush()
        assert [entry.id for entry in (await self.store.open(NOW_MS)).index] == [id_of(1)]

    async def test_a_full_store_says_so_and_resumes(self) -> None:
        """Over its quota it takes no envelope and reports no mark; once room was made it does. What it held before
        stays."""
        await self.open()
        size = 60 * 1024
        most = QUOTA // size
        for number in range(1, most + 10):
            self.store.remember(envelope(number, raw=bytes(size)), number)
        await self.until(lambda: False in self.ears.health)
        with self.assertRaises(StoreError):  # type: ignore[attr-defined]
            await self.store.flush()
        self.store.remember(envelope(1000, raw=bytes(size)), 1000)
        self.store.remember(EnvelopesDropped([id_of(number) for number in range(1, most // 2)]))
        await self.until(lambda: True in self.ears.health)
        self.store.remember(envelope(2000, raw=bytes(size)), 2000)
        await self.stored(2000)
        assert 1000 not in self.ears.marks
        assert self.ears.health == [False, True]
        assert await self.store.fetch([id_of(1000)]) == {}
        assert len(await self.store.fetch([id_of(most // 2), id_of(2000)])) == 2
        index = {entry.id: entry.size for entry in (await self.reopened()).index}
        assert id_of(1000) not in index
        assert index[id_of(2000)] == size

    async def test_sequences_hang_together_with_the_envelopes(self) -> None:
        """Numbers of one stream and epoch do not leak into another's."""
        await self.open()
        wanted = [
            sequences(7, seen=[(1, 1)]),
            sequences(7, kind=DIRECT, recipient=OTHER, seen=[(1, 2)]),
            sequences(7, kind=DIRECT, recipient=AUTHOR, seen=[(1, 3)]),
        ]
        for record in wanted:
            self.store.remember(record)
        loaded = await self.reopened()

        def key(kept: SequencesKept) -> tuple[int, bytes]:
            return kept.kind, kept.recipient

        assert sorted(loaded.sequences, key=key) == sorted(wanted, key=key)
