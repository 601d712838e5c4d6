"""The signed unit that travels from its author to every node, unchanged by those who relay it.

    envelope = header || body || signature (64 bytes)

The header has a fixed width, so a relay checks lengths, ranges, time, identity and sequence without decoding
anything. The signature covers `SIGNATURE_TAG || network id || header || body`: an envelope of another network is
simply a bad signature. The id covers the same bytes under another tag but not the signature, since signatures are
not unique and re-signing must not make a second id.

Rule: hash, verify, store and forward the bytes received, never an encoding of our own (msgpack is not canonical).

Kinds: BROADCAST carries a bundle of `count` consecutive messages `seq .. seq + count - 1`, body
`[[topic, payload], ...]`. DIRECT is sealed to `recipient`. RECEIPT acknowledges a DIRECT, its body is the id.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import msgpack

from positron.core.identity import SIGNATURE_SIZE, Signer
from positron.errors import EnvelopeError

VERSION = 1
BROADCAST, DIRECT, RECEIPT = 1, 2, 3

MAX_PAYLOAD = 64 * 1024
MAX_BODY = MAX_PAYLOAD + 512
MAX_BUNDLE = 256
MAX_TOPIC = 128
MAX_TTL = 64
MAX_LIFETIME_MS = 7 * 24 * 3600 * 1000
MAX_FUTURE_MS = 30_000
"""How far ahead of the receiver's clock `created` may be."""

SIGNATURE_TAG = b"positron/envelope/1\0"
ID_TAG = b"positron/id/1\0"

_HEADER = struct.Struct(">BB32sQQHQQB")
_AUTHOR = slice(2, 34)
AUTHOR_TO_EPOCH, AUTHOR_TO_SEQ = slice(2, 42), slice(2, 50)
"""Where the header says whose the envelope is, and of which run; and its first number (u64), too."""

HEADER_SIZE = _HEADER.size
RECIPIENT_SIZE = 32
MIN_ENVELOPE = HEADER_SIZE + SIGNATURE_SIZE
MAX_ENVELOPE = HEADER_SIZE + RECIPIENT_SIZE + MAX_BODY + SIGNATURE_SIZE

Entry = tuple[str, bytes]
"""One message of a bundle: its topic and its payload (msgpack of the application's value)."""


Claim = tuple[bytes, bytes, bytes]
"""What there is to verify: the author, the signed bytes, the signature."""


def network_id_of(name: str) -> bytes:
    """The 32 bytes that stand for the network called `name` in everything signed."""
    return hashlib.blake2b(name.encode("utf-8"), digest_size=32).digest()


class Envelope:
    """One parsed envelope. Parsed is not verified: `verify` is the caller's next step. Treat it as frozen."""

    __slots__ = (
        "author",
        "body_start",
        "count",
        "created_ms",
        "epoch",
        "expires_ms",
        "id",
        "kind",
        "last_seq",
        "raw",
        "recipient",
        "seq",
        "ttl",
    )

    def __init__(self, raw: bytes, envelope_id: bytes) -> None:
        (version, kind, author, epoch, seq, count, created_ms, expires_ms, ttl) = _HEADER.unpack_from(raw)
        if version != VERSION or not BROADCAST <= kind <= RECEIPT:
            raise EnvelopeError("unknown", f"version {version}, kind {kind}")
        self.raw = raw
        self.id = envelope_id
        self.kind: int = kind
        self.author: bytes = author
        self.epoch: int = epoch
        self.seq: int = seq
        self.count: int = count
        self.last_seq: int = seq + count - 1
        """The sequence number of the bundle's last message."""
        self.created_ms: int = created_ms
        self.expires_ms: int = expires_ms
        self.ttl: int = ttl
        if kind == BROADCAST:
            self.body_start, most = HEADER_SIZE, MAX_BUNDLE
            self.recipient = b""
        else:
            self.body_start, most = HEADER_SIZE + RECIPIENT_SIZE, 1
            self.recipient = raw[HEADER_SIZE : self.body_start]
        if not 0 <= len(raw) - SIGNATURE_SIZE - self.body_start <= MAX_BODY:
            raise EnvelopeError("malformed", "length")
        if not 1 <= count <= most or seq < 1 or self.last_seq >= 1 << 63:
            raise EnvelopeError("malformed", "sequence")
        if ttl > MAX_TTL or epoch >= 1 << 63:
            raise EnvelopeError("malformed", "ttl or epoch")
        if not created_ms < expires_ms <= created_ms + MAX_LIFETIME_MS:
            raise EnvelopeError("malformed", "lifetime")

    @property
    def body(self) -> bytes:
        """The bytes between header and signature."""
        return self.raw[self.body_start : -SIGNATURE_SIZE]

    @property
    def signature(self) -> bytes:
        """The author's signature."""
        return self.raw[-SIGNATURE_SIZE:]

    def __repr__(self) -> str:
        return f"<Envelope {self.id.hex()[:8]} kind {self.kind} seq {self.seq}+{self.count}>"


class Sealer:
    """Makes and reads the envelopes of one network: it holds the network id and the two domain tags."""

    def __init__(self, network_id: bytes) -> None:
        self.network_id = network_id
        self._signed_prefix = SIGNATURE_TAG + network_id
        self._id_hash = hashlib.blake2b(ID_TAG + network_id, digest_size=16)

    def envelope_id(self, raw: bytes) -> bytes:
        """The 16-byte id of the envelope in `raw`, signature excluded."""
        digest = self._id_hash.copy()
        digest.update(raw[:-SIGNATURE_SIZE])
        return digest.digest()

    def parse(self, raw: bytes, envelope_id: bytes | None = None) -> Envelope:
        """The envelope in `raw`, lengths and ranges checked, signature not. `envelope_id` is its id if that was
        reckoned already.

        Raises `EnvelopeError` "malformed", or "unknown" for a version or kind of a later protocol.
        """
        if not MIN_ENVELOPE <= len(raw) <= MAX_ENVELOPE:
            raise EnvelopeError("malformed", "length")
        return Envelope(raw, envelope_id or self.envelope_id(raw))

    def claim(self, raw: bytes) -> Claim:
        """What is to be verified of the envelope in `raw`, of which only the length was checked."""
        return raw[_AUTHOR], self._signed_prefix + raw[:-SIGNATURE_SIZE], raw[-SIGNATURE_SIZE:]

    def signed_bytes(self, envelope: Envelope) -> bytes:
        """What the signature covers."""
        return self._signed_prefix + envelope.raw[:-SIGNATURE_SIZE]

    def seal(
        self,
        signer: Signer,
        kind: int,
        *,
        epoch: int,
        seq: int,
        count: int = 1,
        created_ms: int,
        expires_ms: int,
        ttl: int,
        body: bytes,
        recipient: bytes = b"",
    ) -> Envelope:
        """A new envelope signed by `signer`. Values out of range raise `EnvelopeError`: the caller checks before."""
        header = _HEADER.pack(VERSION, kind, signer.node_id, epoch, seq, count, created_ms, expires_ms, ttl)
        unsigned = header + recipient + body
        return self.parse(unsigned + signer.sign(self._signed_prefix + unsigned))


def encode_entries(entries: Sequence[Entry]) -> bytes:
    """The body of a BROADCAST."""
    return bytes(msgpack.packb(entries))


def entry_size(topic: str, payload: bytes) -> int:
    """An upper bound of what one entry adds to a body, in bytes (msgpack headers: at most 1 + 5 + 5)."""
    return len(topic.encode("utf-8")) + len(payload) + 11


def decode_entries(envelope: Envelope) -> list[Entry]:
    """The messages of a BROADCAST, in sequence order. Raises `EnvelopeError` "malformed".

    Limits are enforced while decoding, so the cost is bounded by the body's size.
    """
    try:
        entries: Any = msgpack.unpackb(
            memoryview(envelope.raw)[envelope.body_start : -SIGNATURE_SIZE],
            use_list=False,
            raw=False,
            max_array_len=MAX_BUNDLE,
            max_map_len=0,
            max_ext_len=0,
            max_str_len=MAX_TOPIC,
            max_bin_len=MAX_PAYLOAD,
        )
    except (ValueError, msgpack.exceptions.UnpackException) as error:
        raise EnvelopeError("malformed", "body") from error
    if type(entries) is not tuple or len(entries) != envelope.count:
        raise EnvelopeError("malformed", "count")
    try:
        for topic, payload in entries:
            # Two of these are a pair: what else can be taken apart (a text, bytes) gives no text and bytes.
            if type(topic) is not str or type(payload) is not bytes:
                raise EnvelopeError("malformed", "entry")
    except (TypeError, ValueError) as error:
        raise EnvelopeError("malformed", "entry") from error
    return list(entries)


class Undecoded(Sequence[Entry]):
    """The messages of a BROADCAST that `decode_entries` took before, decoded each time they are looked at.

    Decoded they take one and a half times the envelope's bytes more, so what has to wait does not wait like that.
    """

    __slots__ = ("_envelope",)

    def __init__(self, envelope: Envelope) -> None:
        self._envelope = envelope

    def __len__(self) -> int:
        return self._envelope.count

    def __iter__(self) -> Iterator[Entry]:
        return iter(decode_entries(self._envelope))

    def __getitem__(self, index: Any) -> Any:
        return decode_entries(self._envelope)[index]
