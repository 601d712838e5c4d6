"""An application's data as a payload and back: msgpack, within limits on both sides.

Rule: what cannot be sent is refused at the call, so that whatever `encode` gives, every node's `decode` takes. A
payload comes from anybody; decoding it costs a small multiple of its size.

Data is None, bool, int (of 64 bits), float but not NaN, str, bytes, lists and maps, nested at most 64 deep. Tuples
arrive as lists. The keys of a map are str or bytes: their hashes are seeded, while numbers could be chosen to collide.
"""

from __future__ import annotations

from typing import Any

import msgpack

from positron.core.envelope import MAX_PAYLOAD, MAX_TOPIC
from positron.errors import PayloadTooLarge

MAX_DEPTH = 64
"""Levels of lists and maps: decoders and JSON writers recurse."""

_MANY_ARRAYS = 64
"""More headers of long arrays than this, and a payload is looked through before it is decoded."""

_CONTAINERS = frozenset((*range(0x80, 0xA0), 0xDC, 0xDD, 0xDE, 0xDF))
"""What the first byte of a list or map is."""

_LOW, _HIGH = -(1 << 63), (1 << 64) - 1
_PLAIN = frozenset((type(None), bool, str, bytes))


def check_topic(topic: str) -> str:
    """The topic. TypeError if it is no text, `PayloadTooLarge` over 128 bytes of UTF-8."""
    if not isinstance(topic, str):
        raise TypeError(f"a topic is a str, not {type(topic).__name__}")
    size = len(topic.encode("utf-8"))
    if size > MAX_TOPIC:
        raise PayloadTooLarge(MAX_TOPIC, size)
    return topic


def encode(data: object) -> bytes:
    """The payload of `data`. TypeError for what cannot be sent, `PayloadTooLarge` over 64 KiB."""
    _check(data, 0)
    try:
        payload = bytes(msgpack.packb(data))
    except UnicodeEncodeError as error:
        raise TypeError(f"a text that is not Unicode cannot be sent: {error.reason}") from None
    if len(payload) > MAX_PAYLOAD:
        raise PayloadTooLarge(MAX_PAYLOAD, len(payload))
    return payload


def decode(payload: bytes) -> Any:
    """The data in `payload`. ValueError for anything that `encode` would not have made but NaN."""
    if len(payload) > _MANY_ARRAYS and payload[0] in _CONTAINERS:
        if payload.count(b"\xdc") + payload.count(b"\xdd") > _MANY_ARRAYS:
            _check_whole(payload)
    try:
        # No length can be over that of the payload: msgpack's own default here.
        data = msgpack.unpackb(payload, max_ext_len=0, ext_hook=_refuse_extension)
    except (ValueError, msgpack.exceptions.UnpackException, RecursionError) as error:
        raise ValueError("not msgpack within its limits") from error
    if type(data) in (list, dict):
        _check_depth(data)
    return data


def _check_whole(payload: bytes) -> None:
    """ValueError if it announces more than it holds.

    Each array header makes the decoder reserve 8 bytes for each element it announces, before one is there; nested, that
    multiplies: 80 ms and 80 MB for 60 KiB. What holds all that it announces has at most an element for each byte.
    """
    unpacker = msgpack.Unpacker(max_buffer_size=len(payload))
    unpacker.feed(payload)
    try:
        unpacker.skip()
    except (ValueError, msgpack.exceptions.UnpackException) as error:
        raise ValueError("not a whole value of msgpack") from error


def _refuse_extension(code: int, _data: bytes) -> object:
    raise ValueError(f"extension {code}")


def _check(value: object, depth: int) -> None:
    if type(value) in _PLAIN or isinstance(value, (str, bytes, bytearray)):
        return
    if isinstance(value, int):
        if not _LOW <= value <= _HIGH:
            raise TypeError("an int of more than 64 bits cannot be sent")
    elif isinstance(value, float):
        if value != value:
            raise TypeError("NaN cannot be sent")
    elif isinstance(value, (list, tuple)):
        _check_level(depth)
        for item in value:
            _check(item, depth + 1)
    elif isinstance(value, dict):
        _check_level(depth)
        for key, item in value.items():
            if not isinstance(key, (str, bytes)):
                raise TypeError(f"the key of a map is a str or bytes, not {type(key).__name__}")
            _check(item, depth + 1)
    else:
        raise TypeError(f"{type(value).__name__} cannot be sent")


def _check_level(depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise TypeError(f"data nested more than {MAX_DEPTH} deep cannot be sent")


def _check_depth(data: Any) -> None:
    level = [data]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for container in level
            for item in (container if type(container) is list else container.values())
            if type(item) is list or type(item) is dict
        ]
        if not level:
            return
    raise ValueError(f"nested more than {MAX_DEPTH} deep")
