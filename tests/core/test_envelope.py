"""The envelope byte by byte: golden vectors, every range, every bit, and what a body may hold."""

from __future__ import annotations

import hashlib
import struct
import tracemalloc
from typing import Any

import msgpack
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from positron.core.envelope import (
    BROADCAST,
    DIRECT,
    HEADER_SIZE,
    ID_TAG,
    MAX_BODY,
    MAX_BUNDLE,
    MAX_ENVELOPE,
    MAX_LIFETIME_MS,
    MAX_PAYLOAD,
    MAX_TOPIC,
    MAX_TTL,
    MIN_ENVELOPE,
    RECEIPT,
    SIGNATURE_TAG,
    Envelope,
    Sealer,
    decode_entries,
    encode_entries,
    entry_size,
    network_id_of,
)
from positron.core.identity import SIGNATURE_SIZE, Identity, verify
from positron.core.overlay.greeting import SECRET_TAG
from positron.core.statements import ADDRESS_TAG, VOUCH_TAG
from positron.errors import EnvelopeError
from tests.core.test_identity import malleated
from tests.core.vectors import load

ALICE, BOB = Identity(bytes(range(32))), Identity(bytes(range(32, 64)))
SEALER = Sealer(network_id_of("lab"))
NOW = 1_800_000_000_000
KINDS = {"BROADCAST": BROADCAST, "DIRECT": DIRECT, "RECEIPT": RECEIPT}


def seal(
    kind: int = BROADCAST, signer: Identity = ALICE, sealer: Sealer = SEALER, **changes: Any
) -> Envelope:
    """A small envelope, with `changes` to its header or body."""
    values: dict[str, Any] = {
        "epoch": NOW,
        "seq": 1,
        "created_ms": NOW,
        "expires_ms": NOW + 60_000,
        "ttl": 16,
        "body": encode_entries([("topic", b"\x01")]) if kind == BROADCAST else b"sixteen bytes...",
        "recipient": b"" if kind == BROADCAST else BOB.node_id,
    }
    return sealer.seal(signer, kind, **(values | changes))


def holds(envelope: Envelope, sealer: Sealer = SEALER) -> bool:
    """Whether the signature is its author's."""
    return verify(envelope.author, sealer.signed_bytes(envelope), envelope.signature)


def with_body(body: bytes, count: int) -> Envelope:
    """A BROADCAST of that body, whatever is in it."""
    return seal(body=body, count=count)


class GoldenTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.vectors = load()
        self.sealer = Sealer(self.vectors["network"]["network_id"])

    def test_network_id(self) -> None:
        """BLAKE2b-256 of the name."""
        network = self.vectors["network"]
        self.assertEqual(network_id_of(network["name"]), network["network_id"])
        expected = hashlib.blake2b(network["name"].encode(), digest_size=32).digest()
        self.assertEqual(network["network_id"], expected)

    def test_every_kind_has_a_vector(self) -> None:
        """Three kinds, three vectors."""
        self.assertEqual(set(self.vectors["envelopes"]), set(KINDS))

    def test_parsed(self) -> None:
        """Each vector's bytes parse to its fields, and its signature holds."""
        for name, vector in self.vectors["envelopes"].items():
            envelope = self.sealer.parse(vector["envelope"])
            self.assertEqual(envelope.kind, KINDS[name])
            for field in ("author", "epoch", "seq", "count", "created_ms", "expires_ms", "ttl", "recipient"):
                self.assertEqual(getattr(envelope, field), vector[field], field)
            for field in ("body", "signature", "id"):
                self.assertEqual(getattr(envelope, field), vector[field], field)
            self.assertEqual(self.sealer.signed_bytes(envelope), vector["signed_bytes"])
            self.assertTrue(holds(envelope, self.sealer))

    def test_sealed(self) -> None:
        """Sealing the vector's fields gives the vector's bytes."""
        for vector in self.vectors["envelopes"].values():
            fields = ("epoch", "seq", "count", "created_ms", "expires_ms", "ttl", "body", "recipient")
            values = {field: vector[field] for field in fields}
            envelope = self.sealer.seal(Identity(vector["author_seed"]), vector["kind"], **values)
            self.assertEqual(envelope.raw, vector["envelope"])

    def test_layout(self) -> None:
        """The layout as the protocol page gives it, taken apart by hand, with the tags in plain sight."""
        network_id = self.vectors["network"]["network_id"]
        for vector in self.vectors["envelopes"].values():
            header = struct.pack(
                ">BB32sQQHQQB",
                1,
                vector["kind"],
                vector["author"],
                vector["epoch"],
                vector["seq"],
                vector["count"],
                vector["created_ms"],
                vector["expires_ms"],
                vector["ttl"],
            )
            self.assertEqual(len(header), HEADER_SIZE)
            unsigned = header + vector["recipient"] + vector["body"]
            self.assertEqual(vector["envelope"], unsigned + vector["signature"])
            self.assertEqual(vector["signed_bytes"], b"positron/envelope/1\0" + network_id + unsigned)
            digest = hashlib.blake2b(b"positron/id/1\0" + network_id + unsigned, digest_size=16).digest()
            self.assertEqual(vector["id"], digest)

    def test_entries(self) -> None:
        """The body of the BROADCAST is its entries, both ways."""
        vector = self.vectors["envelopes"]["BROADCAST"]
        entries = list(vector["entries"])
        self.assertEqual(encode_entries(entries), vector["body"])
        self.assertEqual(decode_entries(self.sealer.parse(vector["envelope"])), entries)

    def test_direct_plaintext(self) -> None:
        """The plaintext begins with author, recipient, epoch and seq of its own header."""
        vector = self.vectors["envelopes"]["DIRECT"]
        binding = struct.pack(
            ">32s32sQQ", vector["author"], vector["recipient"], vector["epoch"], vector["seq"]
        )
        self.assertEqual(vector["plaintext"], binding + vector["payload"])

    def test_receipt_names_the_direct(self) -> None:
        """The body of the RECEIPT is the id of what it acknowledges."""
        vectors = self.vectors["envelopes"]
        self.assertEqual(vectors["RECEIPT"]["body"], vectors["DIRECT"]["id"])


class RangeTests(SynchronousTestCase):
    def assert_refused(self, reason: str, raw: bytes) -> None:
        error = self.assertRaises(EnvelopeError, SEALER.parse, raw)
        self.assertEqual(error.reason, reason)

    def assert_unsealable(self, kind: int = BROADCAST, **changes: Any) -> None:
        error = self.assertRaises(EnvelopeError, seal, kind, **changes)
        self.assertEqual(error.reason, "malformed", changes)

    def test_lengths(self) -> None:
        """From an empty body to the longest; one byte less or more is malformed."""
        shortest = seal(body=b"")
        self.assertEqual(len(shortest.raw), MIN_ENVELOPE)
        self.assert_refused("malformed", shortest.raw[:-1])
        longest = seal(body=bytes(MAX_BODY))
        self.assertEqual(len(longest.raw), MAX_ENVELOPE - 32)
        self.assert_unsealable(body=bytes(MAX_BODY + 1))
        self.assertEqual(len(seal(DIRECT, body=bytes(MAX_BODY)).raw), MAX_ENVELOPE)
        self.assert_unsealable(DIRECT, body=bytes(MAX_BODY + 1))
        self.assert_refused("malformed", bytes(MAX_ENVELOPE + 1))

    def test_no_room_for_a_recipient(self) -> None:
        """A DIRECT that ends before its recipient does is malformed, not an envelope with a negative body."""
        raw = seal(DIRECT, body=b"").raw
        for size in range(MIN_ENVELOPE, len(raw)):
            self.assert_refused("malformed", raw[:size])

    def test_sequence(self) -> None:
        """Sequences start at 1 and stay below 2 to the 63 with all of their bundle."""
        self.assert_unsealable(seq=0)
        self.assertEqual(seal(seq=(1 << 63) - 1).last_seq, (1 << 63) - 1)
        self.assert_unsealable(seq=1 << 63)
        self.assert_unsealable(seq=(1 << 63) - 1, count=2)

    def test_count(self) -> None:
        """1 to 256 messages in a BROADCAST, exactly 1 in the others."""
        self.assertEqual(seal(count=MAX_BUNDLE).last_seq, MAX_BUNDLE)
        for count in (0, MAX_BUNDLE + 1, 65535):
            self.assert_unsealable(count=count)
        for kind in (DIRECT, RECEIPT):
            self.assert_unsealable(kind, count=0)
            self.assert_unsealable(kind, count=2)

    def test_ttl_and_epoch(self) -> None:
        """ttl to 64, epoch below 2 to the 63."""
        self.assertEqual(seal(ttl=MAX_TTL).ttl, 64)
        self.assertEqual(seal(ttl=0, epoch=0).epoch, 0)
        self.assert_unsealable(ttl=MAX_TTL + 1)
        self.assert_unsealable(epoch=1 << 63)

    def test_lifetime(self) -> None:
        """It lives a millisecond at least and 7 days at most."""
        self.assertEqual(seal(expires_ms=NOW + MAX_LIFETIME_MS).expires_ms, NOW + 7 * 86_400_000)
        for expires in (0, NOW - 1, NOW, NOW + MAX_LIFETIME_MS + 1, (1 << 64) - 1):
            self.assert_unsealable(expires_ms=expires)

    def test_unknown_version_and_kind(self) -> None:
        """What a later protocol may send is `unknown`, which blames nobody."""
        raw = seal().raw
        for version in (0, 2, 255):
            self.assert_refused("unknown", bytes((version,)) + raw[1:])
        for kind in (0, 4, 255):
            self.assert_refused("unknown", raw[:1] + bytes((kind,)) + raw[2:])

    @given(st.binary(max_size=300))
    def test_arbitrary_bytes(self, raw: bytes) -> None:
        """Nothing but EnvelopeError comes of any bytes."""
        self._parse(raw)

    @given(st.binary(max_size=200), st.integers(0, 4), st.integers(0, 4))
    def test_arbitrary_headers(self, rest: bytes, version: int, kind: int) -> None:
        """Nor of bytes that begin like an envelope; what does parse is in range, and no signature holds."""
        self._parse(bytes((version, kind)) + rest)

    def _parse(self, raw: bytes) -> None:
        try:
            envelope = SEALER.parse(raw)
        except EnvelopeError as error:
            self.assertIn(error.reason, ("malformed", "unknown"))
            return
        self.assertEqual(envelope.raw, raw)
        self.assertTrue(1 <= envelope.seq <= envelope.last_seq < 1 << 63)
        self.assertTrue(envelope.created_ms < envelope.expires_ms)
        self.assertFalse(holds(envelope))


class SignatureTests(SynchronousTestCase):
    def test_every_bit_counts(self) -> None:
        """Any bit flipped in header, recipient, body or signature is refused at the parse or fails to verify."""
        for kind in KINDS.values():
            raw = seal(kind).raw
            self.assertTrue(holds(SEALER.parse(raw)))
            refused = 0
            for bit in range(len(raw) * 8):
                flipped = bytearray(raw)
                flipped[bit // 8] ^= 1 << bit % 8
                try:
                    envelope = SEALER.parse(bytes(flipped))
                except EnvelopeError:
                    refused += 1
                    continue
                self.assertFalse(holds(envelope), f"kind {kind}, bit {bit}")
            self.assertTrue(0 < refused < HEADER_SIZE * 8)

    def test_cut_or_extended(self) -> None:
        """Bytes taken from or added to either end make it bad."""
        raw = seal().raw
        for changed in (raw[:-1], raw[1:], raw + b"\0", b"\1" + raw):
            try:
                envelope = SEALER.parse(changed)
            except EnvelopeError:
                continue
            self.assertFalse(holds(envelope))

    def test_foreign_network(self) -> None:
        """An envelope of another network parses, has another id, and is simply a bad signature."""
        foreign = seal(sealer=Sealer(network_id_of("other")))
        here = SEALER.parse(foreign.raw)
        self.assertFalse(holds(here))
        self.assertNotEqual(here.id, foreign.id)

    def test_a_signature_belongs_to_its_purpose(self) -> None:
        """No domain tag is a prefix of another or of what TLS signs, so no signature can be moved."""
        tags = [SIGNATURE_TAG, ID_TAG, ADDRESS_TAG, VOUCH_TAG, SECRET_TAG]
        self.assertEqual(len(set(tags)), len(tags))
        for tag in tags:
            self.assertTrue(tag.startswith(b"positron/") and tag.endswith(b"/1\0"))
            self.assertEqual([other for other in tags if other.startswith(tag)], [tag])
            # TLS 1.3 signs 64 spaces and a context, X.509 a DER sequence.
            self.assertNotIn(tag[0], b"\x20\x30")
        self.assertFalse(verify(ALICE.node_id, ADDRESS_TAG + SEALER.network_id, seal().signature))

    def test_malleated_signature(self) -> None:
        """S + L is refused."""
        raw = seal().raw
        other = SEALER.parse(raw[:-SIGNATURE_SIZE] + malleated(raw[-SIGNATURE_SIZE:]))
        self.assertFalse(holds(other))

    def test_signing_again_makes_no_second_id(self) -> None:
        """The id covers everything but the signature."""
        envelope = seal()
        other = SEALER.parse(envelope.raw[:-SIGNATURE_SIZE] + bytes(SIGNATURE_SIZE))
        self.assertEqual(other.id, envelope.id)

    @given(
        st.sampled_from(sorted(KINDS.values())),
        st.integers(0, (1 << 63) - 1),
        st.integers(1, 1 << 62),
        st.integers(0, MAX_TTL),
        st.integers(1, MAX_LIFETIME_MS),
        st.binary(max_size=100),
    )
    def test_round_trip(self, kind: int, epoch: int, seq: int, ttl: int, lifetime: int, body: bytes) -> None:
        """Whatever is sealed parses to the same and holds."""
        sealed = seal(kind, epoch=epoch, seq=seq, ttl=ttl, expires_ms=NOW + lifetime, body=body)
        parsed = SEALER.parse(sealed.raw)
        self.assertEqual(
            (
                parsed.kind,
                parsed.epoch,
                parsed.seq,
                parsed.ttl,
                parsed.expires_ms,
                parsed.body,
                parsed.author,
            ),
            (kind, epoch, seq, ttl, NOW + lifetime, body, ALICE.node_id),
        )
        self.assertEqual(parsed.id, sealed.id)
        self.assertTrue(holds(parsed))


TOPICS = st.text(max_size=MAX_TOPIC, alphabet=st.characters(exclude_categories=["Cs"])).filter(
    lambda topic: len(topic.encode()) <= MAX_TOPIC
)


class BodyTests(SynchronousTestCase):
    def assert_malformed(self, body: bytes, count: int = 1) -> None:
        error = self.assertRaises(EnvelopeError, decode_entries, with_body(body, count))
        self.assertEqual(error.reason, "malformed", body[:40])

    def test_limits(self) -> None:
        """The longest topic, the largest payload and the fullest bundle pass; one more does not."""
        for entries in (
            [("t" * MAX_TOPIC, b"")],
            [("é" * (MAX_TOPIC // 2), b"")],
            [("t" * MAX_TOPIC, bytes(MAX_PAYLOAD))],
            [("", b"")] * MAX_BUNDLE,
        ):
            self.assertEqual(decode_entries(with_body(encode_entries(entries), len(entries))), entries)
        self.assert_malformed(encode_entries([("t" * (MAX_TOPIC + 1), b"")]))
        self.assert_malformed(encode_entries([("é" * (MAX_TOPIC // 2) + "t", b"")]))
        self.assert_malformed(encode_entries([("", bytes(MAX_PAYLOAD + 1))]))
        self.assert_malformed(encode_entries([("", b"")] * (MAX_BUNDLE + 1)), MAX_BUNDLE)

    def test_more_entries_than_a_bundle_has(self) -> None:
        """T4: a body of more entries is refused on their number, whatever they are, before there is room for them."""
        bomb = with_body(b"\xdd" + (60_000).to_bytes(4, "big") + b"\xc0" * 60_000, MAX_BUNDLE)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        self.assertRaises(EnvelopeError, decode_entries, bomb)
        _, peak = tracemalloc.get_traced_memory()
        self.assertTrue(peak < 100_000, peak)

    def test_the_largest_message_fits(self) -> None:
        """One message of the longest topic and payload is a body within its limit, and so is a full bundle's sum."""
        self.assertTrue(len(encode_entries([("t" * MAX_TOPIC, bytes(MAX_PAYLOAD))])) <= MAX_BODY)

    def test_count_is_the_number_of_entries(self) -> None:
        """The header and the body agree, or it is malformed."""
        body = encode_entries([("a", b"1"), ("b", b"2")])
        self.assertEqual(len(decode_entries(with_body(body, 2))), 2)
        self.assert_malformed(body, 1)
        self.assert_malformed(body, 3)
        self.assert_malformed(encode_entries([]), 1)

    def test_wrong_shapes(self) -> None:
        """Only arrays of [text, bin]: everything else that msgpack can say is malformed."""
        values: list[Any] = [
            None,
            1,
            1.5,
            "text",
            b"bytes",
            True,
            {},
            {"a": 1},
            [None],
            [["topic"]],
            [["topic", b"", b""]],
            [["topic", "text"]],
            [[b"topic", b""]],
            [[None, b""]],
            [["topic", None]],
            [["topic", 1]],
            [["topic", {}]],
            [{"topic": b""}],
            [[["topic"], b""]],
            [["topic", msgpack.ExtType(1, b"x")]],
            [["topic", msgpack.Timestamp(1)]],
            [["topic", float("nan")]],
        ]
        for value in values:
            self.assert_malformed(bytes(msgpack.packb(value)))

    def test_bytes_behind_the_body(self) -> None:
        """The body is one array and nothing else."""
        body = encode_entries([("topic", b"")])
        self.assert_malformed(body + b"\xc0")
        self.assert_malformed(body[:-1])
        self.assert_malformed(b"")
        self.assert_malformed(b"\xc1")

    def test_topics_are_utf8(self) -> None:
        """Bytes that are no text are no topic, lone surrogates included."""
        for wrong in (b"\xff", b"\xc0\x80", b"\xed\xa0\x80"):
            self.assert_malformed(b"\x91\x92" + bytes((0xA0 + len(wrong),)) + wrong + b"\xc4\x00")

    def test_bombs(self) -> None:
        """Claimed lengths cost nothing; nesting ends at msgpack's 1,024 levels, of 256 places of 8 bytes at most."""
        bombs = [
            b"\xdd\xff\xff\xff\xff",
            b"\xdf\xff\xff\xff\xff",
            b"\xc6\xff\xff\xff\xff",
            b"\xdb\xff\xff\xff\xff",
            b"\xc9\xff\xff\xff\xff\x01",
            b"\x91" * MAX_BODY,
            b"\xdc\x01\x00" * (MAX_BODY // 3),
            b"\xdc\x01\x00" + b"\x81" * 1000,
        ]
        for bomb in bombs:
            envelope = with_body(bomb, 1)
            tracemalloc.start()
            self.assertRaises(EnvelopeError, decode_entries, envelope)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            self.assertTrue(peak < 1024 * (MAX_BUNDLE * 8 + 100) + 2 * MAX_BODY, (bomb[:4], peak))

    @given(st.lists(st.tuples(TOPICS, st.binary(max_size=50)), min_size=1, max_size=20))
    def test_round_trip(self, entries: list[tuple[str, bytes]]) -> None:
        """Whatever entries are encoded are decoded, and `entry_size` is an upper bound of what they take."""
        body = encode_entries(entries)
        self.assertEqual(decode_entries(with_body(body, len(entries))), entries)
        self.assertTrue(len(body) <= 5 + sum(entry_size(*entry) for entry in entries))

    @settings(max_examples=300)
    @given(st.binary(max_size=200), st.integers(1, 4))
    def test_arbitrary_bodies(self, body: bytes, count: int) -> None:
        """Any signed bytes decode to `count` entries within the limits, or are malformed."""
        try:
            entries = decode_entries(with_body(body, count))
        except EnvelopeError as error:
            self.assertEqual(error.reason, "malformed")
            return
        self.assertEqual(len(entries), count)
