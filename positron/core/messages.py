"""Everything two neighbours can say, one class each. A new message goes here and nowhere else.

A frame is one tag byte and a body. The body is a msgpack array of the class's fields in order, except for PUSH, whose
body is one byte of hops and the envelope's bytes verbatim, so that a relay never encodes an envelope anew. Limits are
validators on the fields: a message that exists is within them. Trailing fields that we do not know are ignored and an
unknown tag is `None`, counted by the caller, so that the protocol can grow.

Rule: `decode` is the one door for a neighbour's bytes, and it raises nothing but `MessageError`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, ClassVar, TypeAlias, get_args

import msgpack
from attrs import Attribute, field, fields, frozen

from positron.core.envelope import MAX_ENVELOPE, MIN_ENVELOPE
from positron.errors import MessageError

MAX_FRAME = 256 * 1024
"""The longest frame, tag and body together, in bytes."""

ID_SIZE = 16
MAX_IDS = 4096
"""Ids in one HAVE, WANT or MISS."""

MAX_ADDRESS = 264
"""Characters of `host:port`: a DNS name has at most 253."""

MAX_RECORD = 2560
"""Bytes of one signed address record."""

REFUSALS = ("network", "version", "secret", "member", "full", "banned", "self", "duplicate")
GOODBYES = ("leaving", "evicted", "duplicate", "banned", "idle", "violation")
REJECTIONS = (
    "malformed",
    "signature",
    "future",
    "expired",
    "old",
    "replay",
    "duplicate",
    "budget",
    "quota",
    "equivocation",
    "member",
    "unknown",
)
"""Why an envelope was refused: the words of REFUSED and of `rejected` in status."""

U64 = (1 << 64) - 1
_pack: Callable[[Any], bytes] = msgpack.Packer().pack
"""One packer for all messages: `packb` makes one for each."""
_LATER_WORD = re.compile("[a-z]{1,32}")

Check: TypeAlias = "Callable[[Any, Attribute[Any], Any], None]"


def _integer(low: int, high: int) -> Check:
    def check(_instance: Any, attribute: Attribute[Any], value: Any) -> None:
        if type(value) is not int or not low <= value <= high:
            raise MessageError(f"{attribute.name} is not an integer from {low} to {high}")

    return check


def _text(limit: int) -> Check:
    def check(_instance: Any, attribute: Attribute[Any], value: Any) -> None:
        if type(value) is not str or len(value.encode("utf-8", "replace")) > limit:
            raise MessageError(f"{attribute.name} is not a text of at most {limit} bytes")

    return check


def _word(words: tuple[str, ...]) -> Check:
    """One of `words`, or a word of a later version: 1 to 32 lowercase ASCII letters."""

    def check(_instance: Any, attribute: Attribute[Any], value: Any) -> None:
        if type(value) is not str or not (value in words or _LATER_WORD.fullmatch(value)):
            raise MessageError(f"{attribute.name} is not a reason")

    return check


def _bytes(low: int, high: int) -> Check:
    def check(_instance: Any, attribute: Attribute[Any], value: Any) -> None:
        if type(value) is not bytes or not low <= len(value) <= high:
            raise MessageError(f"{attribute.name} is not {low} to {high} bytes")

    return check


def _several(limit: int, each: Check) -> Check:
    def check(instance: Any, attribute: Attribute[Any], value: Any) -> None:
        if type(value) is not tuple or len(value) > limit:
            raise MessageError(f"{attribute.name} is not a list of at most {limit}")
        for item in value:
            each(instance, attribute, item)

    return check


def _boolean(_instance: Any, attribute: Attribute[Any], value: Any) -> None:
    if type(value) is not bool:
        raise MessageError(f"{attribute.name} is not a boolean")


def _ids(_instance: Any, attribute: Attribute[Any], value: Any) -> None:
    if type(value) is not bytes or len(value) % ID_SIZE or not 0 < len(value) <= MAX_IDS * ID_SIZE:
        raise MessageError(f"{attribute.name} is not 1 to {MAX_IDS} ids of {ID_SIZE} bytes")


_record = _bytes(64, MAX_RECORD)


@frozen
class Hello:
    """The first word of both sides: what I speak, which network, where I am, what I see of you.

    `observed` is the address this side sees the other at, `wall_ms` its wall clock, `epoch` the milliseconds of its
    start (a newer one replaces an older link at once), `port` its listen port or 0.
    """

    TAG: ClassVar[int] = 1
    version_min: int = field(validator=_integer(0, 255))
    version_max: int = field(validator=_integer(0, 255))
    network_id: bytes = field(validator=_bytes(32, 32))
    agent: str = field(validator=_text(64))
    epoch: int = field(validator=_integer(0, U64))
    port: int = field(validator=_integer(0, 65535))
    addresses: tuple[str, ...] = field(validator=_several(8, _text(MAX_ADDRESS)))
    wall_ms: int = field(validator=_integer(0, U64))
    observed: str = field(validator=_text(MAX_ADDRESS))


@frozen
class Welcome:
    """The answer to HELLO: the version we shall speak, or why not, with records of others to try instead.

    `proofs` has one keyed hash per secret of a closed network, the dialler's first.
    """

    TAG: ClassVar[int] = 2
    version: int = field(validator=_integer(0, 255))
    refusal: str = field(default="", validator=lambda i, a, v: v == "" or _word(REFUSALS)(i, a, v))
    proofs: tuple[bytes, ...] = field(default=(), validator=_several(2, _bytes(32, 32)))
    records: tuple[bytes, ...] = field(default=(), validator=_several(16, _record))


@frozen
class Ping:
    """Are you there? Answered by a PONG of the same nonce, after every WANT that came before it."""

    TAG: ClassVar[int] = 3
    nonce: int = field(validator=_integer(0, U64))


@frozen
class Pong:
    """I am. `load` is how much of my budgets is in use, in percent; `wall_ms` my wall clock."""

    TAG: ClassVar[int] = 4
    nonce: int = field(validator=_integer(0, U64))
    load: int = field(validator=_integer(0, 100))
    wall_ms: int = field(validator=_integer(0, U64))


@frozen
class PeersGet:
    """Tell me of others."""

    TAG: ClassVar[int] = 5


@frozen
class Peers:
    """Signed address records (`positron.core.statements`), at most 100."""

    TAG: ClassVar[int] = 6
    records: tuple[bytes, ...] = field(validator=_several(100, _record))


@frozen
class Push:
    """An envelope, as it was sealed. `hops` is how many links it has crossed so far, not signed by anyone."""

    TAG: ClassVar[int] = 7
    hops: int = field(validator=_integer(0, 255))
    envelope: bytes = field(validator=_bytes(MIN_ENVELOPE, MAX_ENVELOPE))


@frozen
class Have:
    """I hold these (ids joined): do not send them to me, ask me for them."""

    TAG: ClassVar[int] = 8
    ids: bytes = field(validator=_ids)


@frozen
class Want:
    """Send me these (ids joined). Each is answered by PUSH or MISS, before the PONG of any later PING."""

    TAG: ClassVar[int] = 9
    ids: bytes = field(validator=_ids)


@frozen
class Miss:
    """I do not hold these (ids joined)."""

    TAG: ClassVar[int] = 10
    ids: bytes = field(validator=_ids)


@frozen
class Refused:
    """Your own envelope was refused, and why (one of `REJECTIONS`)."""

    TAG: ClassVar[int] = 11
    id: bytes = field(validator=_bytes(ID_SIZE, ID_SIZE))
    reason: str = field(validator=_word(REJECTIONS))


@frozen
class Graft:
    """Push to me from now on. `rank` 1 is my best source; `only` says that you are my only link."""

    TAG: ClassVar[int] = 12
    rank: int = field(validator=_integer(1, 255))
    only: bool = field(default=False, validator=_boolean)


@frozen
class Prune:
    """No longer push to me, or: I will not push to you. Do not graft me again for `backoff` seconds."""

    TAG: ClassVar[int] = 13
    backoff: int = field(validator=_integer(0, 3600))
    records: tuple[bytes, ...] = field(default=(), validator=_several(8, _record))


@frozen
class Sync:
    """One round of range reconciliation. `busy` ends the session: too many are open here, try later."""

    TAG: ClassVar[int] = 14
    session: int = field(validator=_integer(0, 0xFFFFFFFF))
    round: int = field(validator=_integer(0, 255))
    ranges: bytes = field(validator=_bytes(0, 64 * 1024))
    busy: bool = field(default=False, validator=_boolean)


@frozen
class Evidence:
    """Two envelopes of one author that claim the same sequence numbers: proof of equivocation."""

    TAG: ClassVar[int] = 15
    first: bytes = field(validator=_bytes(MIN_ENVELOPE, MAX_ENVELOPE))
    second: bytes = field(validator=_bytes(MIN_ENVELOPE, MAX_ENVELOPE))


@frozen
class VouchGet:
    """What do you think of the peers you know?"""

    TAG: ClassVar[int] = 16


@frozen
class Vouch:
    """Signed trust statements (`positron.core.statements`), at most 16, of first-hand opinions only."""

    TAG: ClassVar[int] = 17
    statements: tuple[bytes, ...] = field(validator=_several(16, _bytes(64, 256)))


@frozen
class Goodbye:
    """This link ends, and why. `on_purpose` is true when the node itself leaves the network."""

    TAG: ClassVar[int] = 18
    reason: str = field(validator=_word(GOODBYES))
    on_purpose: bool = field(default=False, validator=_boolean)


Message: TypeAlias = (
    Hello
    | Welcome
    | Ping
    | Pong
    | PeersGet
    | Peers
    | Push
    | Have
    | Want
    | Miss
    | Refused
    | Graft
    | Prune
    | Sync
    | Evidence
    | VouchGet
    | Vouch
    | Goodbye
)


def _values_of(cls: Any) -> Callable[[Any], Sequence[Any]]:
    """What gives the fields of such a message, in order."""
    names = [attribute.name for attribute in fields(cls)]
    if len(names) > 1:
        return attrgetter(*names)
    return lambda message: [getattr(message, name) for name in names]


BY_TAG: dict[int, Any] = {message.TAG: message for message in get_args(Message)}
"""Every message class by its tag; a test holds it together with the protocol page."""

_REQUIRED = {
    tag: sum(1 for attribute in fields(cls) if attribute.default.__class__.__name__ == "_Nothing")
    for tag, cls in BY_TAG.items()
}
_ALLOWED = {tag: len(fields(cls)) for tag, cls in BY_TAG.items()}
_PARTS = {tag: (bytes((tag,)), _values_of(cls)) for tag, cls in BY_TAG.items()}
"""By tag: the tag as a byte, and what gives the fields of a message."""

PUSH_TAG, HAVE_TAG = Push.TAG, Have.TAG


def encode(message: Message) -> bytes:
    """The frame of `message`: its tag byte and body."""
    if isinstance(message, Push):
        return push_frame(message.hops, message.envelope)
    tag, values = _PARTS[message.TAG]
    return tag + _pack(values(message))


def push_frame(hops: int, envelope: bytes) -> bytes:
    """The frame of a PUSH, without building the message: once per relayed envelope."""
    return bytes((PUSH_TAG, hops)) + envelope


def decode(frame: bytes) -> Message | None:
    """The message in `frame` (tag and body), or None for a tag of a later version.

    Raises `MessageError` for everything that is not exactly a message within its limits. Costs at most a few times
    the frame's size and 1.2 MiB in memory (1,024 levels of 128 places): maps and extensions are refused and every
    length is checked against the frame.
    """
    if not frame:
        raise MessageError("an empty frame")
    tag = frame[0]
    if tag == PUSH_TAG:
        if len(frame) < 2:
            raise MessageError("a PUSH without hops")
        return Push(frame[1], frame[2:])
    cls = BY_TAG.get(tag)
    if cls is None:
        return None
    values = _unpack(frame)
    if len(values) < _REQUIRED[tag]:
        raise MessageError(f"{cls.__name__} lacks fields")
    message: Message = cls(*values[: _ALLOWED[tag]])
    return message


def _unpack(frame: bytes) -> tuple[Any, ...]:
    try:
        values = msgpack.unpackb(
            memoryview(frame)[1:],
            use_list=False,
            raw=False,
            strict_map_key=True,
            max_array_len=128,
            max_map_len=0,
            max_ext_len=0,
            max_str_len=MAX_ADDRESS * 4,
            max_bin_len=MAX_FRAME,
        )
    except (ValueError, msgpack.exceptions.UnpackException) as error:
        raise MessageError("the body is not msgpack within its limits") from error
    except RecursionError as error:  # pragma: no cover - msgpack itself stops at 1,024 levels
        raise MessageError("the body is nested too deeply") from error
    if type(values) is not tuple:
        raise MessageError("the body is not an array")
    return values
