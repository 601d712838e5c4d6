"""Signed statements that outlive a link: where a node can be reached, and what one node thinks of another.

Each is `signature (64 bytes) || body`, the body a msgpack array, signed under a domain tag of its own with the
network id. Only the subject speaks of its addresses: the signer of an address record is its subject. A trust
statement is signed by its author and is about someone else.

Rule: nothing here is believed before `verify` has held, and whoever receives one verifies it before keeping it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack
from attrs import frozen

from positron.core.identity import NODE_ID_SIZE, SIGNATURE_SIZE, Signer
from positron.errors import MessageError

ADDRESS_TAG = b"positron/address/1\0"
VOUCH_TAG = b"positron/vouch/1\0"

_SUBJECT = slice(SIGNATURE_SIZE + 3, SIGNATURE_SIZE + 3 + NODE_ID_SIZE)
"""Where the body's first field lies, behind the heads of an array of four and of 32 bytes."""

MAX_ADDRESSES = 8
MAX_ADDRESS = 264
SCORE_SCALE = 1_000_000
"""A score on the wire is an integer of millionths: NaN does not exist there."""

Verify = Callable[[bytes, bytes, bytes], bool]
"""`verify(node_id, message, signature)`, as `positron.core.identity.verify`."""


@frozen
class AddressRecord:
    """Where `node_id` says it can be reached, newest `seq` wins. `raw` is the signed form, passed on verbatim."""

    node_id: bytes
    addresses: tuple[str, ...]
    seq: int
    time_ms: int
    raw: bytes


@frozen
class TrustStatement:
    """What `author` thinks of `about`, first-hand, in millionths."""

    author: bytes
    about: bytes
    score: int
    time_ms: int
    raw: bytes


def sign_address_record(
    signer: Signer, network_id: bytes, addresses: tuple[str, ...], seq: int, time_ms: int
) -> AddressRecord:
    """This node's own record."""
    body = bytes(msgpack.packb([signer.node_id, addresses, seq, time_ms]))
    raw = signer.sign(ADDRESS_TAG + network_id + body) + body
    return AddressRecord(signer.node_id, addresses, seq, time_ms, raw)


def read_address_record(raw: bytes, network_id: bytes, verify: Verify) -> AddressRecord:
    """The record in `raw`, its signature verified. Raises `MessageError` otherwise."""
    node_id, addresses, seq, time_ms = _unpack(raw, 4)
    if (
        type(node_id) is not bytes
        or len(node_id) != NODE_ID_SIZE
        or type(addresses) is not tuple
        or len(addresses) > MAX_ADDRESSES
        or not all(type(item) is str and 0 < len(item) <= MAX_ADDRESS for item in addresses)
        or not _is_u63(seq)
        or not _is_u63(time_ms)
    ):
        raise MessageError("not an address record")
    if not verify(node_id, ADDRESS_TAG + network_id + raw[SIGNATURE_SIZE:], raw[:SIGNATURE_SIZE]):
        raise MessageError("an address record with a bad signature")
    return AddressRecord(node_id, addresses, seq, time_ms, raw)


def subject_of(raw: bytes) -> bytes:
    """Whom an address record in its shortest form speaks of, at the price of a slice. A name to look up, no more:
    nothing is read or verified, and of anything else it is just some bytes."""
    return raw[_SUBJECT]


def sign_trust_statement(
    signer: Signer, network_id: bytes, about: bytes, score: int, time_ms: int
) -> TrustStatement:
    """This node's first-hand opinion of `about`, `score` in millionths."""
    body = bytes(msgpack.packb([about, score, time_ms]))
    raw = signer.sign(VOUCH_TAG + network_id + body) + body
    return TrustStatement(signer.node_id, about, score, time_ms, raw)


def read_trust_statement(raw: bytes, author: bytes, network_id: bytes, verify: Verify) -> TrustStatement:
    """The statement in `raw` as made by `author`, its signature verified. Raises `MessageError` otherwise."""
    about, score, time_ms = _unpack(raw, 3)
    if (
        type(about) is not bytes
        or len(about) != NODE_ID_SIZE
        or not _is_u63(score)
        or score > SCORE_SCALE
        or not _is_u63(time_ms)
    ):
        raise MessageError("not a trust statement")
    if not verify(author, VOUCH_TAG + network_id + raw[SIGNATURE_SIZE:], raw[:SIGNATURE_SIZE]):
        raise MessageError("a trust statement with a bad signature")
    return TrustStatement(author, about, score, time_ms, raw)


def _unpack(raw: bytes, length: int) -> tuple[Any, ...]:
    try:
        values = msgpack.unpackb(
            memoryview(raw)[SIGNATURE_SIZE:],
            use_list=False,
            raw=False,
            max_array_len=MAX_ADDRESSES,
            max_map_len=0,
            max_ext_len=0,
            max_str_len=MAX_ADDRESS * 4,
            max_bin_len=NODE_ID_SIZE,
        )
    except (ValueError, msgpack.exceptions.UnpackException) as error:
        raise MessageError("a statement that is not msgpack within its limits") from error
    if type(values) is not tuple or len(values) != length:
        raise MessageError("a statement with a wrong number of fields")
    return values


def _is_u63(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63
