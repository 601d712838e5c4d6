"""Signatures that cost a microsecond: for networks of thousands of nodes in one process.

Rule: only the simulator uses these. Whoever knows a node's id can sign as that node; the simulated forger does not.
"""

from __future__ import annotations

import hashlib


class CheapSigner:
    """Signs with a hash keyed by its node id: 64 bytes, as long as the real thing."""

    def __init__(self, number: int) -> None:
        self.node_id = hashlib.blake2b(b"node %d" % number, digest_size=32).digest()

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature over `message`."""
        return hashlib.blake2b(message, key=self.node_id, digest_size=64).digest()

    def open_sealed(self, sealed: bytes) -> bytes | None:
        """Nothing: no direct messages are simulated with such keys."""
        return None


def cheap_verify(node_id: bytes, message: bytes, signature: bytes) -> bool:
    """Whether a `CheapSigner` of that id made this signature."""
    return hashlib.blake2b(message, key=node_id, digest_size=64).digest() == signature
