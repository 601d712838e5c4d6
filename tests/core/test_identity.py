"""Keys and node ids: text forms, strict verification, sealed boxes, against golden vectors."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from nacl import bindings
from twisted.trial.unittest import SynchronousTestCase

from positron.core.identity import (
    SEALED_OVERHEAD,
    Identity,
    from_text,
    is_valid_node_id,
    seal,
    short,
    to_text,
    verify,
)
from tests.core.vectors import load

ORDER = 2**252 + 27742317777372353535851937790883648493
"""The order of Ed25519's main subgroup, L."""

PRIME = 2**255 - 19

IDENTITY_POINT = (1).to_bytes(32, "little")
SMALL_ORDER = [
    IDENTITY_POINT,
    bytes(32),
    (PRIME - 1).to_bytes(32, "little"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"),
    (PRIME - 1 | 1 << 255).to_bytes(32, "little"),
]
"""Points of order 1, 2, 4 and 8, some in two encodings."""

NOT_CANONICAL = [
    PRIME.to_bytes(32, "little"),
    (PRIME + 1).to_bytes(32, "little"),
    (2**255 - 1).to_bytes(32, "little"),
]
"""Encodings of y >= p."""

ALICE, BOB = Identity(bytes(range(32))), Identity(bytes(range(32, 64)))


def malleated(signature: bytes) -> bytes:
    """The same signature with S + L for S, which lax verifiers accept."""
    scalar = int.from_bytes(signature[32:], "little") + ORDER
    return signature[:32] + scalar.to_bytes(32, "little")


def mixed_order(node_id: bytes) -> bytes:
    """The honest point plus the one of order 2: on the curve, and outside the main subgroup."""
    low_order = (PRIME - 1).to_bytes(32, "little")
    return bindings.crypto_core_ed25519_add(node_id, low_order)


class GoldenTests(SynchronousTestCase):
    def test_identities(self) -> None:
        """Seed, node id, text form and short form are those of the vectors."""
        for vector in load()["identities"]:
            identity = Identity(vector["seed"])
            self.assertEqual(identity.node_id, vector["node_id"])
            self.assertEqual(to_text(identity.node_id), vector["text"])
            self.assertEqual(short(identity.node_id), vector["short"])
            self.assertEqual(from_text(vector["text"]), vector["node_id"])

    def test_signature(self) -> None:
        """Signing is deterministic, as RFC 8032 has it."""
        vector = load()["signature"]
        signer = Identity(vector["seed"])
        self.assertEqual(signer.sign(vector["message"]), vector["signature"])
        self.assertTrue(verify(signer.node_id, vector["message"], vector["signature"]))


class IdentityTests(SynchronousTestCase):
    def test_seed_length(self) -> None:
        """A seed of another length is the caller's mistake."""
        for size in (0, 31, 33, 64):
            self.assertRaises(ValueError, Identity, bytes(size))

    def test_repr_shows_no_secret(self) -> None:
        """What may come into a log is the short id."""
        self.assertEqual(repr(ALICE), f"<Identity {short(ALICE.node_id)}>")
        self.assertNotIn(ALICE.seed.hex(), repr(ALICE))


class TextTests(SynchronousTestCase):
    def test_form(self) -> None:
        """52 characters of lowercase base32, the short form its first 8."""
        text = to_text(ALICE.node_id)
        self.assertRegex(text, r"\A[a-z2-7]{52}\Z")
        self.assertEqual(short(ALICE.node_id), text[:8])

    def test_refused(self) -> None:
        """Each id has one text form: capitals, padding, spare bits, foreign characters and other lengths are none."""
        text = to_text(ALICE.node_id)
        spare = text[:-1] + chr(ord(text[-1]) + 1)
        for wrong in (
            "",
            text.upper(),
            text[:-1],
            text + "a",
            text + "====",
            text[:-1] + "1",
            spare,
            "ä" * 52,
        ):
            self.assertRaises(ValueError, from_text, wrong)

    @given(st.binary(min_size=32, max_size=32))
    def test_round_trip(self, node_id: bytes) -> None:
        """Every 32 bytes have a text form that names them."""
        self.assertEqual(from_text(to_text(node_id)), node_id)

    @given(st.text(max_size=60))
    def test_arbitrary_text(self, text: str) -> None:
        """No text does more than raise ValueError."""
        try:
            node_id = from_text(text)
        except ValueError:
            return
        self.assertEqual(to_text(node_id), text)


class VerifyTests(SynchronousTestCase):
    def test_own_and_foreign(self) -> None:
        """A signature holds for its signer and its message alone."""
        signature = ALICE.sign(b"message")
        self.assertTrue(verify(ALICE.node_id, b"message", signature))
        self.assertFalse(verify(BOB.node_id, b"message", signature))
        self.assertFalse(verify(ALICE.node_id, b"messagE", signature))

    def test_malleated(self) -> None:
        """S + L is refused, so nobody but the author makes a second signature."""
        signature = ALICE.sign(b"message")
        self.assertFalse(verify(ALICE.node_id, b"message", malleated(signature)))

    def test_identity_forgery(self) -> None:
        """A = R = the neutral point and S = 0 verifies anything in OpenSSL, and nothing here."""
        forged = IDENTITY_POINT + bytes(32)
        self.assertFalse(verify(IDENTITY_POINT, b"anything", forged))

    def test_small_order_keys(self) -> None:
        """No key of small order verifies anything, whatever the R: 64 messages for each key and R."""
        for key in SMALL_ORDER:
            for point in SMALL_ORDER:
                for number in range(64):
                    self.assertFalse(verify(key, b"%d" % number, point + bytes(32)))

    def test_not_canonical_keys(self) -> None:
        """A key has one encoding; another is refused even where the point would be good."""
        for key in NOT_CANONICAL:
            self.assertFalse(verify(key, b"message", IDENTITY_POINT + bytes(32)))

    def test_valid_node_ids(self) -> None:
        """The gate for TLS keys passes honest keys and stops small order, mixed order, bad encodings and lengths."""
        self.assertTrue(is_valid_node_id(ALICE.node_id))
        mixed = mixed_order(ALICE.node_id)
        self.assertNotEqual(mixed, ALICE.node_id)
        wrong = [*SMALL_ORDER, *NOT_CANONICAL, mixed, b"", ALICE.node_id[:-1], ALICE.node_id + b"\0"]
        for key in wrong:
            self.assertFalse(is_valid_node_id(key), key.hex())

    @given(st.binary(max_size=80), st.binary(max_size=80), st.binary(max_size=80))
    def test_arbitrary_bytes(self, node_id: bytes, message: bytes, signature: bytes) -> None:
        """Nothing a peer can send raises, nor holds."""
        self.assertFalse(verify(node_id, message, signature))

    def test_one_bit(self) -> None:
        """Any single bit flipped in a signature makes it bad."""
        signature = ALICE.sign(b"message")
        for bit in range(len(signature) * 8):
            flipped = bytearray(signature)
            flipped[bit // 8] ^= 1 << bit % 8
            self.assertFalse(verify(ALICE.node_id, b"message", bytes(flipped)), bit)


class SealTests(SynchronousTestCase):
    def test_only_the_recipient_opens(self) -> None:
        """What is sealed to one node is noise to all others, its sender included."""
        sealed = seal(BOB.node_id, b"psst")
        self.assertEqual(BOB.open_sealed(sealed), b"psst")
        self.assertIsNone(ALICE.open_sealed(sealed))

    def test_overhead(self) -> None:
        """The sealed text is exactly so much longer, and never twice the same."""
        one, two = seal(BOB.node_id, b"psst"), seal(BOB.node_id, b"psst")
        self.assertEqual(len(one), 4 + SEALED_OVERHEAD)
        self.assertNotEqual(one, two)

    def test_golden(self) -> None:
        """The DIRECT of the vectors opens with the recipient's seed."""
        vector: dict[str, Any] = load()["envelopes"]["DIRECT"]
        self.assertEqual(Identity(vector["recipient_seed"]).open_sealed(vector["body"]), vector["plaintext"])

    def test_damaged(self) -> None:
        """Every bit counts."""
        sealed = seal(BOB.node_id, b"psst")
        for bit in range(len(sealed) * 8):
            flipped = bytearray(sealed)
            flipped[bit // 8] ^= 1 << bit % 8
            # X25519 ignores the top bit of a point, but the nonce is a hash of all its bytes.
            self.assertIsNone(BOB.open_sealed(bytes(flipped)), bit)

    def test_not_a_node_id(self) -> None:
        """The caller learns that there can be no such node."""
        for wrong in (*SMALL_ORDER, b"", bytes(31), bytes(33), mixed_order(ALICE.node_id)):
            self.assertRaises(ValueError, seal, wrong, b"psst")

    @given(st.binary(max_size=200))
    def test_arbitrary_bytes(self, sealed: bytes) -> None:
        """Nothing that a peer can send raises."""
        self.assertIsNone(ALICE.open_sealed(sealed))
