"""Signed statements: address records and trust statements, against golden vectors and hostile bytes."""

from __future__ import annotations

from typing import Any

import msgpack
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from positron.core.envelope import network_id_of
from positron.core.identity import SIGNATURE_SIZE, Identity, verify
from positron.core.messages import MAX_RECORD, Peers, Vouch
from positron.core.statements import (
    ADDRESS_TAG,
    MAX_ADDRESS,
    MAX_ADDRESSES,
    SCORE_SCALE,
    VOUCH_TAG,
    read_address_record,
    read_trust_statement,
    sign_address_record,
    sign_trust_statement,
)
from positron.errors import MessageError
from tests.core.test_identity import malleated
from tests.core.vectors import load

ALICE, BOB = Identity(bytes(range(32))), Identity(bytes(range(32, 64)))
NETWORK = network_id_of("lab")
NOW = 1_800_000_000_000
TOO_LARGE = 1 << 63


def address_record(*values: Any, tag: bytes = ADDRESS_TAG, network: bytes = NETWORK) -> bytes:
    """A record of these fields, well signed whatever they are."""
    body = bytes(msgpack.packb(values))
    return ALICE.sign(tag + network + body) + body


def trust_statement(*values: Any) -> bytes:
    """A statement of these fields, well signed whatever they are."""
    body = bytes(msgpack.packb(values))
    return ALICE.sign(VOUCH_TAG + NETWORK + body) + body


class GoldenTests(SynchronousTestCase):
    def test_address_record(self) -> None:
        """Signed and read, the vector's bytes and fields are each other's."""
        vectors = load()
        vector, network_id = vectors["address_record"], vectors["network"]["network_id"]
        signer = Identity(vector["signer_seed"])
        made = sign_address_record(signer, network_id, vector["addresses"], vector["seq"], vector["time_ms"])
        self.assertEqual(made.raw, vector["record"])
        read = read_address_record(vector["record"], network_id, verify)
        self.assertEqual(read, made)
        self.assertEqual(read.node_id, vector["node_id"])

    def test_trust_statement(self) -> None:
        """Signed and read, the vector's bytes and fields are each other's."""
        vectors = load()
        vector, network_id = vectors["trust_statement"], vectors["network"]["network_id"]
        author = Identity(vector["author_seed"])
        made = sign_trust_statement(author, network_id, vector["about"], vector["score"], vector["time_ms"])
        self.assertEqual(made.raw, vector["statement"])
        self.assertEqual(read_trust_statement(made.raw, author.node_id, network_id, verify), made)

    def test_by_hand(self) -> None:
        """Signature, then the array; the signature over tag, network id and array."""
        vectors = load()
        network_id = vectors["network"]["network_id"]
        record, statement = vectors["address_record"]["record"], vectors["trust_statement"]["statement"]
        for raw, tag in ((record, b"positron/address/1\0"), (statement, b"positron/vouch/1\0")):
            self.assertTrue(verify(ALICE.node_id, tag + network_id + raw[64:], raw[:64]))


class AddressRecordTests(SynchronousTestCase):
    def read(self, raw: bytes, network: bytes = NETWORK) -> Any:
        return read_address_record(raw, network, verify)

    def assert_refused(self, raw: bytes, network: bytes = NETWORK) -> None:
        self.assertRaises(MessageError, self.read, raw, network)

    def test_limits(self) -> None:
        """8 addresses of 264 characters fit, in the record and in the message that carries it; more do not."""
        full = ("a" * MAX_ADDRESS,) * MAX_ADDRESSES
        record = self.read(address_record(ALICE.node_id, full, 2**63 - 1, 2**63 - 1))
        self.assertEqual(record.addresses, full)
        self.assertTrue(len(record.raw) <= MAX_RECORD)
        self.assertEqual(Peers((record.raw,)).records, (record.raw,))
        self.assertEqual(self.read(address_record(ALICE.node_id, (), 0, 0)).addresses, ())
        for addresses in (("a",) * 9, ("a" * 265,), ("",)):
            self.assert_refused(address_record(ALICE.node_id, addresses, 1, NOW))

    def test_wrong_types(self) -> None:
        """Every field has one type: no bool for an int, no float, no text for bytes, no map, no ext."""
        good: list[Any] = [ALICE.node_id, ("a",), 1, NOW]
        self.assertEqual(self.read(address_record(*good)).seq, 1)
        wrong: dict[int, list[Any]] = {
            0: [None, "x" * 32, b"", b"x" * 31, b"x" * 33, 1, [b"x" * 32]],
            1: [None, "a", b"a", 1, {}, [b"a"], [1], [None], [["a"]]],
            2: [None, True, -1, 1.0, float("nan"), TOO_LARGE, 2**64 - 1, "1", b"1", []],
            3: [None, False, -1, 1.0, float("inf"), TOO_LARGE, "1", {}, msgpack.Timestamp(1)],
        }
        for position, values in wrong.items():
            for value in values:
                self.assert_refused(address_record(*good[:position], value, *good[position + 1 :]))

    def test_wrong_shapes(self) -> None:
        """Exactly four fields in exactly one array, nothing behind it."""
        good = address_record(ALICE.node_id, ("a",), 1, NOW)
        self.assert_refused(address_record(ALICE.node_id, ("a",), 1))
        self.assert_refused(address_record(ALICE.node_id, ("a",), 1, NOW, 0))
        body = good[SIGNATURE_SIZE:]
        for other in (body + b"\0", body[:-1], b"", b"\xc1", b"\x80", b"\x84" + body[1:], b"\x91" * 2000):
            self.assert_refused(ALICE.sign(ADDRESS_TAG + NETWORK + other) + other)
        for size in range(len(good)):
            self.assert_refused(good[:size])

    def test_only_the_subject_signs(self) -> None:
        """A record about another node is refused, though its signer meant it."""
        self.assert_refused(address_record(BOB.node_id, ("a",), 1, NOW))

    def test_signature(self) -> None:
        """Another network, another purpose, another S: no record."""
        good = address_record(ALICE.node_id, ("a",), 1, NOW)
        self.assert_refused(good, network_id_of("other"))
        self.assert_refused(address_record(ALICE.node_id, ("a",), 1, NOW, tag=VOUCH_TAG))
        self.assert_refused(malleated(good[:SIGNATURE_SIZE]) + good[SIGNATURE_SIZE:])

    def test_every_bit_counts(self) -> None:
        """Any bit flipped makes it no record."""
        good = address_record(ALICE.node_id, ("192.0.2.1:8888",), 1, NOW)
        for bit in range(len(good) * 8):
            flipped = bytearray(good)
            flipped[bit // 8] ^= 1 << bit % 8
            self.assert_refused(bytes(flipped))

    @given(st.binary(max_size=300))
    def test_arbitrary_bytes(self, raw: bytes) -> None:
        """Nothing but MessageError comes of any bytes."""
        self.assert_refused(raw)

    @given(
        st.lists(st.text("abc.:[]0123456789", min_size=1, max_size=MAX_ADDRESS), max_size=MAX_ADDRESSES),
        st.integers(0, 2**63 - 1),
        st.integers(0, 2**63 - 1),
    )
    def test_round_trip(self, addresses: list[str], seq: int, time_ms: int) -> None:
        """What is signed is read."""
        made = sign_address_record(ALICE, NETWORK, tuple(addresses), seq, time_ms)
        self.assertEqual(self.read(made.raw), made)


class TrustStatementTests(SynchronousTestCase):
    def read(self, raw: bytes, author: bytes = ALICE.node_id, network: bytes = NETWORK) -> Any:
        return read_trust_statement(raw, author, network, verify)

    def assert_refused(self, raw: bytes, author: bytes = ALICE.node_id, network: bytes = NETWORK) -> None:
        self.assertRaises(MessageError, self.read, raw, author, network)

    def test_limits(self) -> None:
        """Scores are 0 to a million millionths."""
        for score in (0, SCORE_SCALE):
            statement = self.read(trust_statement(BOB.node_id, score, NOW))
            self.assertEqual(statement.score, score)
            self.assertEqual(Vouch((statement.raw,)).statements, (statement.raw,))
        self.assert_refused(trust_statement(BOB.node_id, SCORE_SCALE + 1, NOW))
        self.assert_refused(trust_statement(BOB.node_id, -1, NOW))

    def test_wrong_types(self) -> None:
        """NaN, infinity and halves do not exist on this wire, nor does anything else in a field's place."""
        good: list[Any] = [BOB.node_id, 1, NOW]
        wrong: dict[int, list[Any]] = {
            0: [None, "x" * 32, b"x" * 31, b"x" * 33, 1],
            1: [None, True, 0.5, float("nan"), float("inf"), "1", b"1", []],
            2: [None, True, -1, 1.0, TOO_LARGE, "1"],
        }
        for position, values in wrong.items():
            for value in values:
                self.assert_refused(trust_statement(*good[:position], value, *good[position + 1 :]))
        self.assert_refused(trust_statement(BOB.node_id, 1))
        self.assert_refused(trust_statement(BOB.node_id, 1, NOW, 1))

    def test_signature(self) -> None:
        """It is its author's, of this network, and an opinion."""
        good = trust_statement(BOB.node_id, 1, NOW)
        self.assert_refused(good, author=BOB.node_id)
        self.assert_refused(good, network=network_id_of("other"))
        self.assert_refused(malleated(good[:SIGNATURE_SIZE]) + good[SIGNATURE_SIZE:])
        body = good[SIGNATURE_SIZE:]
        self.assert_refused(ALICE.sign(ADDRESS_TAG + NETWORK + body) + body)

    def test_every_bit_counts(self) -> None:
        """Any bit flipped makes it no statement."""
        good = trust_statement(BOB.node_id, 500_000, NOW)
        for bit in range(len(good) * 8):
            flipped = bytearray(good)
            flipped[bit // 8] ^= 1 << bit % 8
            self.assert_refused(bytes(flipped))

    @given(st.binary(max_size=200))
    def test_arbitrary_bytes(self, raw: bytes) -> None:
        """Nothing but MessageError comes of any bytes."""
        self.assert_refused(raw)
