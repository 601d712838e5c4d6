"""A node's key pair and node ids as values. The file the key lives in is `positron.store.keyfile`.

Rule: every signature of a peer is judged here and by PyNaCl alone. OpenSSL accepts small-order keys, with which any
message verifies (measured on OpenSSL 4.0.3), and libsodium refuses them.

A node id is the 32-byte Ed25519 public key. Its text form is lowercase base32 without padding, 52 characters; logs
show the first 8.
"""

from __future__ import annotations

import base64
from functools import lru_cache
from typing import Protocol

from nacl import bindings, exceptions

NODE_ID_SIZE = 32
SIGNATURE_SIZE = 64
SEED_SIZE = 32
TEXT_SIZE = 52
SEALED_OVERHEAD = bindings.crypto_box_SEALBYTES
"""How many bytes `seal` adds (libsodium's sealed box: an ephemeral key and a MAC)."""


class Signer(Protocol):
    """Whoever can sign as a node: `Identity`, or a cheap stand-in in simulations."""

    node_id: bytes

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature over `message`."""

    def open_sealed(self, sealed: bytes) -> bytes | None:
        """What `seal` closed for this node, or None if it was not for us or was damaged."""


class Identity:
    """An Ed25519 key pair made from its 32-byte seed. The seed is drawn by the caller, never here."""

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_SIZE:
            raise ValueError(f"a seed has {SEED_SIZE} bytes, not {len(seed)}")
        self.seed = seed
        self.node_id, self._secret = bindings.crypto_sign_seed_keypair(seed)

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature over `message`."""
        return bindings.crypto_sign(message, self._secret)[:SIGNATURE_SIZE]

    def open_sealed(self, sealed: bytes) -> bytes | None:
        """What `seal` closed for this node, or None if it was not for us or was damaged."""
        public = bindings.crypto_sign_ed25519_pk_to_curve25519(self.node_id)
        secret = bindings.crypto_sign_ed25519_sk_to_curve25519(self._secret)
        try:
            return bindings.crypto_box_seal_open(sealed, public, secret)
        except (exceptions.CryptoError, exceptions.TypeError):
            return None

    def __repr__(self) -> str:
        return f"<Identity {short(self.node_id)}>"


def seal(recipient: bytes, plaintext: bytes) -> bytes:
    """Close `plaintext` for the holder of `recipient`'s key alone. ValueError if it is not a valid node id.

    X25519 from the recipient's Ed25519 key (libsodium's sealed box); the ephemeral key is libsodium's own.
    """
    try:
        public = bindings.crypto_sign_ed25519_pk_to_curve25519(recipient)
    except (exceptions.CryptoError, RuntimeError) as error:
        raise ValueError("not a node id") from error
    return bindings.crypto_box_seal(plaintext, public)


def verify(node_id: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` over `message` was made by the holder of `node_id`'s key. Never raises for bad bytes."""
    if len(node_id) != NODE_ID_SIZE or len(signature) != SIGNATURE_SIZE:
        return False
    try:
        bindings.crypto_sign_open(signature + message, node_id)
    except exceptions.BadSignatureError:
        return False
    return True


def is_valid_node_id(node_id: bytes) -> bool:
    """Whether these are 32 bytes that name a point of the main subgroup (no small or mixed order)."""
    return len(node_id) == NODE_ID_SIZE and bindings.crypto_core_ed25519_is_valid_point(node_id)


@lru_cache(maxsize=16384)
def to_text(node_id: bytes) -> str:
    """The text form of a node id: 52 characters of lowercase base32."""
    return base64.b32encode(node_id).decode("ascii").rstrip("=").lower()


def short(node_id: bytes) -> str:
    """The first 8 characters of the text form, as logs show it."""
    return to_text(node_id)[:8]


def from_text(text: str) -> bytes:
    """The node id whose text form is `text`. ValueError with a sentence otherwise."""
    if len(text) == TEXT_SIZE:
        try:
            node_id = base64.b32decode(text.upper() + "====")
        except ValueError:
            node_id = b""
        if len(node_id) == NODE_ID_SIZE and to_text(node_id) == text:
            return node_id
    raise ValueError("a node id is 52 characters of lowercase base32")
