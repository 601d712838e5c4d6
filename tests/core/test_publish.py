"""Sealing what is published: one envelope for everything close together, and back-pressure."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from positron.core.envelope import (
    BROADCAST,
    MAX_BODY,
    MAX_BUNDLE,
    MAX_PAYLOAD,
    MAX_TOPIC,
    Entry,
    Envelope,
    decode_entries,
)
from positron.core.events import Published, Sealed, Settle
from positron.core.gossip.publish import MAX_OUTBOX, MAX_OUTBOX_BYTES, TURN_BYTES, Publisher
from positron.core.identity import verify
from positron.core.limits import Rate
from tests.core.gossip_parts import ME, WALL, context_of, link_state, taken

AMPLE = Rate(1e6, 1e6)


class Case(SynchronousTestCase):
    """A publisher at time 0. `now` moves only in the words below."""

    def setUp(self) -> None:
        self.begin()

    def begin(self, rate: Rate = AMPLE, **parameters: Any) -> None:
        self.context = context_of(limits={"author": rate}, **parameters)
        self.envelopes: list[Envelope] = []
        self.marks: list[int] = []
        self.times: list[float] = []
        self.is_held = False
        self.publisher = Publisher(self.context, self.originate, held=lambda: self.is_held)
        self.token = 0

    def originate(self, envelope: Envelope, entries: list[Entry], mark: int) -> None:
        self.assertEqual(decode_entries(envelope), entries)
        self.envelopes.append(envelope)
        self.marks.append(mark)
        self.times.append(self.context.now)

    def publish(self, *payloads: bytes, topic: str = "t") -> int:
        """Publish these in one call; its token."""
        self.token += 1
        self.publisher.publish(self.token, [(topic, payload) for payload in payloads])
        return self.token

    def turn(self) -> None:
        """The end of a turn of the shell: whatever is due now is done."""
        if self.publisher.deadline <= self.context.now:
            self.publisher.tick()

    def wait(self, seconds: float) -> None:
        """Time passes; the deadline is kept."""
        until = self.context.now + seconds
        while self.publisher.deadline <= until:
            self.context.now = max(self.context.now, self.publisher.deadline)
            self.publisher.tick()
        self.context.now = until

    def accepted(self) -> dict[int, Published]:
        """What was settled since the last call, by token."""
        settled = taken(self.context, Settle)
        self.assertTrue(all(isinstance(settle.result, Published) for settle in settled))
        return {settle.token: settle.result for settle in settled}  # type: ignore[misc]

    def counts(self) -> list[int]:
        """How many messages each envelope has."""
        return [envelope.count for envelope in self.envelopes]


class SealTests(Case):
    def test_a_lone_message_goes_at_once(self) -> None:
        """In the same turn, with everything in its header as the parameters say."""
        self.begin(ttl=7, retention=100.0)
        self.publish(b"one")
        self.assertEqual(self.publisher.deadline, 0.0)
        self.turn()
        (envelope,) = self.envelopes
        self.assertEqual((envelope.kind, envelope.author, envelope.recipient), (BROADCAST, ME.node_id, b""))
        self.assertEqual((envelope.epoch, envelope.seq, envelope.count), (WALL * 1000, 1, 1))
        self.assertEqual((envelope.created_ms, envelope.expires_ms), (WALL * 1000, WALL * 1000 + 100_000))
        self.assertEqual(envelope.ttl, 7)
        signed = self.context.sealer.signed_bytes(envelope)
        self.assertTrue(verify(ME.node_id, signed, envelope.signature))
        self.assertEqual(self.publisher.deadline, float("inf"))

    def test_lifetime_is_at_most_seven_days(self) -> None:
        """A longer retention is this node's own affair."""
        self.begin(retention=30 * 86400.0)
        self.publish(b"one")
        self.turn()
        self.assertEqual(self.envelopes[0].expires_ms - self.envelopes[0].created_ms, 7 * 86_400_000)

    def test_one_turn_is_one_envelope(self) -> None:
        """Everything published in one turn, in one call or many, in order."""
        self.publish(b"1")
        self.publish(b"2", b"3")
        self.publish(b"4", topic="u")
        self.turn()
        (envelope,) = self.envelopes
        expected = [("t", b"1"), ("t", b"2"), ("t", b"3"), ("u", b"4")]
        self.assertEqual(decode_entries(envelope), expected)

    def test_accepted_at_once(self) -> None:
        """The answer names epoch, first number and links, before anything is sealed."""
        link_state(self.context, 1)
        link_state(self.context, 2)
        one, two = self.publish(b"1", b"2"), self.publish(b"3")
        epoch = WALL * 1000
        self.assertEqual(self.accepted(), {one: Published(epoch, 1, 2), two: Published(epoch, 3, 2)})
        self.assertEqual(self.envelopes, [])
        self.assertEqual(self.context.counters["published"], 3)

    def test_accepted_without_more_ado(self) -> None:
        """What need not wait gets its number at once, asks for no action, and is sealed with the rest."""
        self.publish(b"1")
        self.assertEqual([self.publisher.accept(("t", b"2")), self.publisher.accept(("u", b"3"))], [2, 3])
        self.publish(b"4")
        self.assertEqual([published.seq for published in self.accepted().values()], [1, 4])
        self.assertEqual(self.context.counters["published"], 4)
        self.turn()
        (envelope,) = self.envelopes
        self.assertEqual(decode_entries(envelope), [("t", b"1"), ("t", b"2"), ("u", b"3"), ("t", b"4")])

    def test_the_first_sets_the_time(self) -> None:
        """A message alone is due at once, however it was accepted."""
        self.context.now = 5.0
        self.publisher.accept(("t", b"1"))
        self.assertEqual(self.publisher.deadline, 5.0)

    def test_sealed_is_told_with_its_mark(self) -> None:
        """The shell learns which numbers are which envelope and which mark says that they are on disk."""
        self.publish(b"1", b"2")
        self.turn()
        self.context.now += 1
        self.publish(b"3")
        self.turn()
        told = taken(self.context, Sealed)
        epoch = WALL * 1000
        expected = [
            Sealed(envelope.id, epoch, seq, count, mark)
            for envelope, seq, count, mark in zip(self.envelopes, (1, 3), (2, 1), self.marks, strict=True)
        ]
        self.assertEqual(told, expected)
        self.assertEqual(self.marks, sorted(set(self.marks)))

    def test_many_lately_wait_two_milliseconds(self) -> None:
        """When more than two envelopes went out in the last 5 ms, sealing waits 2 ms and bundles what comes."""
        for _ in range(3):
            self.publish(b"x")
            self.turn()
            self.context.now += 0.001
        self.assertEqual(self.counts(), [1, 1, 1])
        self.publish(b"x")
        self.turn()
        self.assertEqual(self.counts(), [1, 1, 1])
        self.assertAlmostEqual(self.publisher.deadline, 0.005)
        self.context.now += 0.001
        self.publish(b"x")
        self.turn()
        self.assertAlmostEqual(self.publisher.deadline, 0.005, msg="the first of them sets the time")
        self.wait(0.001)
        self.assertEqual(self.counts(), [1, 1, 1, 2])

    def test_after_five_milliseconds_at_once_again(self) -> None:
        """Only the last 5 ms count."""
        for _ in range(3):
            self.publish(b"x")
            self.turn()
        self.context.now += 0.0051
        self.publish(b"x")
        self.turn()
        self.assertEqual(self.counts(), [1, 1, 1, 1])

    def test_a_flood_waits_ten_milliseconds(self) -> None:
        """Four messages a millisecond: each bundle takes what came in 10 ms, and none waits longer."""
        for _ in range(400):
            self.publish(b"x")
            self.turn()
            self.wait(0.00025)
        self.wait(0.02)
        self.assertEqual(sum(self.counts()), 400)
        first = self.counts().index(8)
        self.assertTrue(all(abs(count - 41) <= 1 for count in self.counts()[first + 1 : -1]), self.counts())
        self.assertTrue(
            all(gap < 0.0105 for gap in map(float.__sub__, self.times[1:], self.times)), self.times
        )

    def test_a_flood_ends(self) -> None:
        """A message that follows on a large bundle after more than 2 ms is a lone one: it goes at once."""
        self.flood()
        self.wait(0.02)
        before = len(self.counts())
        self.publish(b"alone")
        self.turn()
        self.assertEqual(self.counts()[before:], [1])

    def test_a_flood_that_ebbs_away_ends(self) -> None:
        """Nor does a message of a thousand a second wait longer than 2 ms because there were more before."""
        self.flood()
        for _ in range(60):
            self.publish(b"x")
            self.turn()
            self.wait(0.001)
        self.assertTrue(all(count <= 3 for count in self.counts()[-10:]), self.counts())

    def test_a_full_envelope_waits_no_longer(self) -> None:
        """In a flood, too, 256 messages or 64 KiB go at once; what is left over waits for company again."""
        for payloads, full in (([b"x"] * MAX_BUNDLE, MAX_BUNDLE), ([bytes(4096)] * 17, 17)):
            self.begin()
            self.flood()
            sealed = sum(self.counts())
            self.publish(b"x")
            self.turn()
            self.assertAlmostEqual(self.publisher.deadline, self.context.now + 0.01)
            self.publish(*payloads)
            self.turn()
            self.assertEqual(sum(self.counts()), sealed + full)
            self.assertAlmostEqual(self.publisher.deadline, self.context.now + 0.01)

    def test_a_burst_is_no_flood(self) -> None:
        """A dozen messages in one turn, and another a millisecond later: it goes at once, like any lone message."""
        self.publish(*[b"x"] * 12)
        self.turn()
        self.wait(0.001)
        self.publish(b"x")
        self.turn()
        self.assertEqual(self.counts(), [12, 1])

    def flood(self) -> None:
        """Four messages a millisecond, until sealing has waited 10 ms."""
        while not self.envelopes or self.counts()[-1] < 40:
            self.publish(b"x")
            self.turn()
            self.wait(0.00025)


class BundleTests(Case):
    def test_256_messages(self) -> None:
        """A bundle has 256 messages at most; the rest follows in the same turn."""
        self.publish(*[b"x"] * 600)
        self.turn()
        self.assertEqual(self.counts(), [MAX_BUNDLE, MAX_BUNDLE, 88])
        self.assertEqual([envelope.seq for envelope in self.envelopes], [1, 257, 513])

    def test_the_largest_message_fits(self) -> None:
        """64 KiB under the longest topic go; two do not share an envelope, a small one finds room beside it."""
        self.publish(bytes(MAX_PAYLOAD), topic="t" * MAX_TOPIC)
        self.publish(bytes(MAX_PAYLOAD), topic="é" * (MAX_TOPIC // 2))
        self.publish(b"small")
        self.turn()
        self.assertEqual(self.counts(), [1, 2])

    @given(
        st.lists(st.tuples(st.integers(0, MAX_PAYLOAD), st.integers(0, MAX_TOPIC)), min_size=1, max_size=40)
    )
    def test_any_sizes(self, sizes: list[tuple[int, int]]) -> None:
        """Whatever the sizes: every body within its limit, every message once and in order, sequences without holes."""
        self.begin()
        for payload, topic in sizes:
            self.publish(bytes(payload), topic="t" * topic)
        self.wait(1)
        entries = [entry for envelope in self.envelopes for entry in decode_entries(envelope)]
        self.assertEqual([(len(payload), len(topic)) for topic, payload in entries], sizes)
        self.assertTrue(all(len(envelope.body) <= MAX_BODY for envelope in self.envelopes))
        seq = 1
        for envelope in self.envelopes:
            self.assertEqual(envelope.seq, seq)
            seq = envelope.last_seq + 1


class PaceTests(Case):
    def test_80_percent(self) -> None:
        """Over ten seconds of pressure: 80 % of what receivers allow the author, and bundles grow instead."""
        self.begin(Rate(10, 5))
        for step in range(1000):
            self.publish(b"%d" % step)
            self.wait(0.01)
        self.assertTrue(0.8 * (10 * 10) - 2 <= len(self.envelopes) <= 0.8 * (10 * 10 + 5) + 1)
        self.wait(1)
        self.assertEqual(sum(self.counts()), 1000)
        self.assertTrue(max(self.counts()) > 5)

    def test_the_outbox_is_full(self) -> None:
        """Beyond 4,096 messages publishing waits, in order, and goes on when there is room; nothing is refused."""
        self.begin(Rate(1, 1.25))
        self.publish(b"first")
        self.turn()
        tokens = [self.publish(*[b"x"] * 256) for _ in range(20)]
        done = self.accepted()
        self.assertEqual([token for token in tokens if token in done], tokens[: MAX_OUTBOX // 256])
        self.wait(1.3)
        self.assertEqual(list(self.accepted()), [tokens[MAX_OUTBOX // 256]])
        small = self.publish(b"y")
        self.assertEqual(self.accepted(), {}, "who comes later does not overtake")
        self.assertEqual(self.publisher.accept(("t", b"z")), 0, "nor does who does not want to wait")
        self.wait(60)
        self.assertEqual(list(self.accepted()), [*tokens[MAX_OUTBOX // 256 + 1 :], small])
        self.assertEqual(sum(self.counts()), 1 + 20 * 256 + 1)

    def test_bytes_in_the_outbox(self) -> None:
        """A megabyte fills it as well."""
        self.begin(Rate(1, 1.25))
        self.publish(b"first")
        self.turn()
        tokens = [self.publish(bytes(MAX_PAYLOAD)) for _ in range(20)]
        done = self.accepted()
        self.assertEqual(sum(token in done for token in tokens), MAX_OUTBOX_BYTES // MAX_PAYLOAD)
        self.wait(60)
        self.assertEqual(list(self.accepted()), tokens[MAX_OUTBOX_BYTES // MAX_PAYLOAD :])
        self.assertEqual(len(self.envelopes), 21)

    def test_a_heap_takes_several_turns(self) -> None:
        """What a link's queue would not take at once is sealed bit by bit, so that it can say that it is full."""
        for _ in range(MAX_OUTBOX_BYTES // MAX_PAYLOAD):
            self.publish(bytes(MAX_PAYLOAD))
        self.turn()
        self.assertEqual(len(self.envelopes), TURN_BYTES // MAX_PAYLOAD)
        self.assertLess(self.publisher.deadline, self.context.now + 0.01)
        self.is_held = True
        self.publisher.reschedule()
        self.wait(1)
        self.assertEqual(len(self.envelopes), TURN_BYTES // MAX_PAYLOAD, "it was said that the queue is full")
        self.is_held = False
        self.publisher.reschedule()
        self.wait(1)
        self.assertEqual(len(self.envelopes), MAX_OUTBOX_BYTES // MAX_PAYLOAD)

    def test_held(self) -> None:
        """While the links are crowded nothing is sealed; when they are not any more it goes on."""
        self.is_held = True
        self.publish(b"x")
        self.turn()
        self.wait(5)
        self.assertEqual(self.envelopes, [])
        self.assertEqual(self.publisher.deadline, float("inf"))
        self.is_held = False
        self.publisher.reschedule()
        self.turn()
        self.assertEqual(self.counts(), [1])

    def test_flush(self) -> None:
        """A node that leaves seals everything, what waits too, whatever its budget."""
        self.begin(Rate(1, 1.25))
        self.publish(b"first")
        self.turn()
        for _ in range(20):
            self.publish(*[b"x"] * 256)
        self.publisher.flush()
        self.assertEqual(sum(self.counts()), 1 + 20 * 256)
        self.assertEqual(len(self.accepted()), 21)
