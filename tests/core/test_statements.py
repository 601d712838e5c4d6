"""Address records and trust statements: golden vectors, the subject's signature, every limit, every bit."""

from __future__ import annotations

from typing import Any

import msgpack
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from positron.core.envelope import network_id_of
from positron.core.identity import Identity, verify
from positron.core.messages import MAX_RECORD
from positron.core.statements import (
    ADDRESS_TAG,
    MAX_ADDRESS,
    MAX_ADDRESSES,
    SCORE_SCALE,
    VOUCH_TAG,
    AddressRecord,
    TrustStatement,
    read_address_record,
    read_trust_statement,
    sign_address_record,
    sign_trust_statement,
    subject_of,
)
from positron.errors import MessageError
from tests.core.test_identity import malleated
from tests.core.vectors import load

ALICE, BOB = Identity(bytes(range(32))), Identity(bytes(range(32, 64)))
NETWORK = network_id_of("lab")
NOW = 1_800_000_000_000
U63 = (1 << 63) - 1


def read_record(raw: bytes) -> AddressRecord:
    """As a node of this network reads it."""
    return read_address_record(raw, NETWORK, verify)


def read_statement(raw: bytes, author: bytes = ALICE.node_id) -> TrustStatement:
    """As a node of this network reads it from `author`."""
    return read_trust_statement(raw, author, NETWORK, verify)


def signed(tag: bytes, values: Any, signer: Identity = ALICE) -> bytes:
    """Whatever `values` are, well signed."""
    body = bytes(msgpack.packb(values))
    return signer.sign(tag + NETWORK + body) + body


class GoldenTests(SynchronousTestCase):
    def test_address_record(self) -> None:
        """Signing the vector's fields gives its bytes, and reading its bytes gives its fields."""
        vector, network_id = load()["address_record"], load()["network"]["network_id"]
        record = read_address_record(vector["record"], network_id, verify)
        for field in ("node_id", "addresses", "seq", "time_ms"):
            self.assertEqual(getattr(record, field), vector[field], field)
        again = sign_address_record(
            Identity(vector["signer_seed"]),
            network_id,
            vector["addresses"],
            vector["seq"],
            vector["time_ms"],
        )
        self.assertEqual(again, record)
        self.assertEqual(again.raw, vector["record"])

    def test_trust_statement(self) -> None:
        """The same for what one node thinks of another."""
        vector, network_id = load()["trust_statement"], load()["network"]["network_id"]
        signer = Identity(vector["author_seed"])
        statement = read_trust_statement(vector["statement"], signer.node_id, network_id, verify)
        for field in ("about", "score", "time_ms"):
            self.assertEqual(getattr(statement, field), vector[field], field)
        again = sign_trust_statement(signer, network_id, vector["about"], vector["score"], vector["time_ms"])
        self.assertEqual(again, statement)

    def test_layout(self) -> None:
        """Signature, then a msgpack array, signed under the tag and the network id in plain sight."""
        record, statement = load()["address_record"], load()["trust_statement"]
        network_id = load()["network"]["network_id"]
        for raw, tag, seed in (
            (record["record"], b"positron/address/1\0", record["signer_seed"]),
            (statement["statement"], b"positron/vouch/1\0", statement["author_seed"]),
        ):
            signer = Identity(seed)
            self.assertTrue(verify(signer.node_id, tag + network_id + raw[64:], raw[:64]))
            self.assertIsInstance(msgpack.unpackb(raw[64:]), list)


class AddressRecordTests(SynchronousTestCase):
    def assert_refused(self, raw: bytes) -> None:
        self.assertRaises(MessageError, read_record, raw)

    def test_limits(self) -> None:
        """8 addresses of 264 characters pass and fit into a message; one more of either does not."""
        full = sign_address_record(ALICE, NETWORK, ("h" * MAX_ADDRESS,) * MAX_ADDRESSES, U63, U63)
        self.assertEqual(read_record(full.raw), full)
        self.assertTrue(len(full.raw) <= MAX_RECORD)
        for addresses in (("h",) * (MAX_ADDRESSES + 1), ("h" * (MAX_ADDRESS + 1),), ("",)):
            self.assert_refused(sign_address_record(ALICE, NETWORK, addresses, 1, NOW).raw)

    def test_subject(self) -> None:
        """Whom a record speaks of is found without reading it; of other bytes it is nobody."""
        self.assertEqual(
            subject_of(sign_address_record(ALICE, NETWORK, ("h:1",) * 8, U63, U63).raw), ALICE.node_id
        )
        self.assertEqual(subject_of(b"short"), b"")

    def test_no_addresses(self) -> None:
        """A node that is nowhere to be dialled may say so."""
        self.assertEqual(read_record(sign_address_record(ALICE, NETWORK, (), 1, NOW).raw).addresses, ())

    def test_wrong_types(self) -> None:
        """Well signed values of another type or range are no record: bools, floats, negatives, maps, extensions."""
        good: list[Any] = [ALICE.node_id, ["h:1"], 1, NOW]
        self.assertEqual(read_record(signed(ADDRESS_TAG, good)).seq, 1)
        wrong: dict[int, list[Any]] = {
            0: [None, ALICE.node_id.hex(), ALICE.node_id[:-1], ALICE.node_id + b"\0", 1, {}],
            1: [None, "h:1", b"h:1", [b"h:1"], [1], [None], [["h:1"]], {}, [{}]],
            2: [None, True, 1.0, -1, 1 << 63, "1", float("nan"), msgpack.ExtType(1, b"x")],
            3: [None, False, 1.0, -1, 1 << 63, b"1", msgpack.Timestamp(1)],
        }
        for place, values in wrong.items():
            for value in values:
                self.assert_refused(signed(ADDRESS_TAG, [*good[:place], value, *good[place + 1 :]]))
        for values in (good[:3], [*good, 1], {}, None, 1, "text"):
            self.assert_refused(signed(ADDRESS_TAG, values))

    def test_bytes_behind(self) -> None:
        """One array and nothing else, well signed or not."""
        body = bytes(msgpack.packb([ALICE.node_id, ["h:1"], 1, NOW])) + b"\xc0"
        self.assert_refused(ALICE.sign(ADDRESS_TAG + NETWORK + body) + body)

    def test_cut_short(self) -> None:
        """What ends early is no record, wherever it ends."""
        raw = sign_address_record(ALICE, NETWORK, ("h:1",), 1, NOW).raw
        for size in range(len(raw)):
            self.assert_refused(raw[:size])

    def test_bombs(self) -> None:
        """Well signed depth and claimed lengths are refused like any other bytes."""
        for body in (
            b"\x91" * 2000,
            b"\xdd\xff\xff\xff\xff",
            b"\xc6\xff\xff\xff\xff",
            b"\xdf\xff\xff\xff\xff",
        ):
            self.assert_refused(ALICE.sign(ADDRESS_TAG + NETWORK + body) + body)

    def test_not_utf8(self) -> None:
        """An address is text."""
        body = bytes(msgpack.packb([ALICE.node_id, ["hh:1"], 1, NOW])).replace(b"hh:1", b"\xff\xfe:1")
        self.assert_refused(ALICE.sign(ADDRESS_TAG + NETWORK + body) + body)

    def test_only_the_subject_speaks(self) -> None:
        """Bob cannot say where Alice is, whatever he signs."""
        self.assert_refused(signed(ADDRESS_TAG, [ALICE.node_id, ["h:1"], 1, NOW], BOB))

    def test_of_another_network_or_purpose(self) -> None:
        """A signature holds in its network and under its tag alone."""
        self.assert_refused(sign_address_record(ALICE, network_id_of("other"), ("h:1",), 1, NOW).raw)
        self.assert_refused(signed(VOUCH_TAG, [ALICE.node_id, ["h:1"], 1, NOW]))

    def test_every_bit_counts(self) -> None:
        """Any flipped bit is refused, and so is S + L."""
        raw = sign_address_record(ALICE, NETWORK, ("192.0.2.1:8888",), 1, NOW).raw
        for bit in range(len(raw) * 8):
            flipped = bytearray(raw)
            flipped[bit // 8] ^= 1 << bit % 8
            self.assert_refused(bytes(flipped))
        self.assert_refused(malleated(raw[:64]) + raw[64:])

    @given(st.binary(max_size=200))
    def test_arbitrary_bytes(self, raw: bytes) -> None:
        """Nothing but MessageError comes of any bytes."""
        self.assert_refused(raw)

    @given(
        st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20), max_size=MAX_ADDRESSES),
        st.integers(0, U63),
        st.integers(0, U63),
    )
    def test_round_trip(self, addresses: list[str], seq: int, time_ms: int) -> None:
        """What a node signs of itself, others read."""
        record = sign_address_record(ALICE, NETWORK, tuple(addresses), seq, time_ms)
        self.assertEqual(read_record(record.raw), record)


class TrustStatementTests(SynchronousTestCase):
    def assert_refused(self, raw: bytes, author: bytes = ALICE.node_id) -> None:
        self.assertRaises(MessageError, read_statement, raw, author)

    def test_range(self) -> None:
        """0 to a million millionths."""
        for score in (0, SCORE_SCALE):
            raw = sign_trust_statement(ALICE, NETWORK, BOB.node_id, score, NOW).raw
            self.assertEqual(read_statement(raw).score, score)
        for score in (-1, SCORE_SCALE + 1, 1 << 63):
            self.assert_refused(sign_trust_statement(ALICE, NETWORK, BOB.node_id, score, NOW).raw)

    def test_wrong_types(self) -> None:
        """A score is an integer: neither NaN nor a bool nor a float is one, however well signed."""
        good: list[Any] = [BOB.node_id, 500_000, NOW]
        self.assertEqual(read_statement(signed(VOUCH_TAG, good)).score, 500_000)
        wrong: dict[int, list[Any]] = {
            0: [None, "b", BOB.node_id[:-1], BOB.node_id + b"\0", {}],
            1: [None, True, 0.5, float("nan"), float("inf"), "1", msgpack.ExtType(1, b"x")],
            2: [None, True, 1.0, -1, 1 << 63],
        }
        for place, values in wrong.items():
            for value in values:
                self.assert_refused(signed(VOUCH_TAG, [*good[:place], value, *good[place + 1 :]]))
        for values in (good[:2], [*good, 1], {}, None):
            self.assert_refused(signed(VOUCH_TAG, values))

    def test_author(self) -> None:
        """It is read as of the author who signed it and of nobody else."""
        raw = sign_trust_statement(ALICE, NETWORK, BOB.node_id, 1, NOW).raw
        self.assert_refused(raw, BOB.node_id)
        self.assert_refused(signed(ADDRESS_TAG, [BOB.node_id, 1, NOW]))

    def test_every_bit_counts(self) -> None:
        """Any flipped bit is refused, and so is S + L."""
        raw = sign_trust_statement(ALICE, NETWORK, BOB.node_id, 500_000, NOW).raw
        for bit in range(len(raw) * 8):
            flipped = bytearray(raw)
            flipped[bit // 8] ^= 1 << bit % 8
            self.assert_refused(bytes(flipped))
        self.assert_refused(malleated(raw[:64]) + raw[64:])

    @given(st.binary(max_size=200))
    def test_arbitrary_bytes(self, raw: bytes) -> None:
        """Nothing but MessageError comes of any bytes."""
        self.assert_refused(raw)
