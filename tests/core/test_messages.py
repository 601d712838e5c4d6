"""What two neighbours can say: golden bytes of every message, every limit, and whatever else bytes can be."""

from __future__ import annotations

import tracemalloc
import typing
from typing import Any

import msgpack
from attrs import fields
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from positron.core import messages
from positron.core.envelope import MAX_ENVELOPE, MIN_ENVELOPE
from positron.core.messages import BY_TAG, MAX_FRAME, MAX_IDS, MAX_RECORD, U64, Message, decode, encode
from positron.errors import MessageError
from tests.core.vectors import load

ENVELOPE = bytes(MIN_ENVELOPE)
RECORD = bytes(64)
ID = bytes(16)

SAMPLES: dict[type, dict[str, Any]] = {
    messages.Hello: {
        "version_min": 1,
        "version_max": 1,
        "network_id": bytes(32),
        "agent": "a",
        "epoch": 1,
        "port": 1,
        "addresses": ("h:1",),
        "wall_ms": 1,
        "observed": "h:1",
    },
    messages.Welcome: {"version": 1, "refusal": "full", "proofs": (bytes(32),), "records": (RECORD,)},
    messages.Ping: {"nonce": 1},
    messages.Pong: {"nonce": 1, "load": 1, "wall_ms": 1},
    messages.PeersGet: {},
    messages.Peers: {"records": (RECORD,)},
    messages.Push: {"hops": 1, "envelope": ENVELOPE},
    messages.Have: {"ids": ID},
    messages.Want: {"ids": ID},
    messages.Miss: {"ids": ID},
    messages.Refused: {"id": ID, "reason": "old"},
    messages.Graft: {"rank": 1, "only": True},
    messages.Prune: {"backoff": 1, "records": (RECORD,)},
    messages.Sync: {"session": 1, "round": 1, "ranges": b"r", "busy": True},
    messages.Evidence: {"first": ENVELOPE, "second": ENVELOPE},
    messages.VouchGet: {},
    messages.Vouch: {"statements": (RECORD,)},
    messages.Goodbye: {"reason": "leaving", "on_purpose": True},
}
"""One valid message of each class; a test holds it together with the union."""

NO_WORDS = ["", "no spaces", "w" * 33, "LOUD", "old\n", "digit1", "é", "\u202e"]

EDGES: dict[tuple[type, str], tuple[list[Any], list[Any]]] = {
    (messages.Hello, "version_min"): ([0, 255], [-1, 256]),
    (messages.Hello, "version_max"): ([0, 255], [-1, 256]),
    (messages.Hello, "network_id"): ([bytes(32)], [b"", bytes(31), bytes(33)]),
    (messages.Hello, "agent"): (["", "a" * 64, "é" * 32], ["a" * 65, "é" * 32 + "a"]),
    (messages.Hello, "epoch"): ([0, U64], [-1]),
    (messages.Hello, "port"): ([0, 65535], [-1, 65536]),
    (messages.Hello, "addresses"): ([(), ("a" * 264,) * 8], [("a" * 265,), ("a",) * 9, (1,), (b"a",), ((),)]),
    (messages.Hello, "wall_ms"): ([0, U64], [-1]),
    (messages.Hello, "observed"): (["", "a" * 264], ["a" * 265]),
    (messages.Welcome, "version"): ([0, 255], [-1, 256]),
    (messages.Welcome, "refusal"): (
        ["", *messages.REFUSALS, "later"],
        NO_WORDS[1:],
    ),
    (messages.Welcome, "proofs"): ([(), (bytes(32),) * 2], [(bytes(32),) * 3, (bytes(31),), (bytes(33),)]),
    (messages.Welcome, "records"): ([(), (bytes(MAX_RECORD),) * 16], [(RECORD,) * 17, (bytes(63),)]),
    (messages.Ping, "nonce"): ([0, U64], [-1]),
    (messages.Pong, "nonce"): ([0, U64], [-1]),
    (messages.Pong, "load"): ([0, 100], [-1, 101]),
    (messages.Pong, "wall_ms"): ([0, U64], [-1]),
    (messages.Peers, "records"): (
        [(), (RECORD,) * 100, (bytes(MAX_RECORD),)],
        [(RECORD,) * 101, (bytes(MAX_RECORD + 1),), (bytes(63),), ("a" * 64,)],
    ),
    (messages.Have, "ids"): ([ID, ID * MAX_IDS], [b"", bytes(15), bytes(17), ID * (MAX_IDS + 1)]),
    (messages.Want, "ids"): ([ID, ID * MAX_IDS], [b"", bytes(15), bytes(17), ID * (MAX_IDS + 1)]),
    (messages.Miss, "ids"): ([ID, ID * MAX_IDS], [b"", bytes(15), bytes(17), ID * (MAX_IDS + 1)]),
    (messages.Refused, "id"): ([ID], [b"", bytes(15), bytes(17)]),
    (messages.Refused, "reason"): ([*messages.REJECTIONS, "later"], NO_WORDS),
    (messages.Graft, "rank"): ([1, 255], [0, 256]),
    (messages.Graft, "only"): ([False, True], []),
    (messages.Prune, "backoff"): ([0, 3600], [-1, 3601]),
    (messages.Prune, "records"): ([(), (RECORD,) * 8], [(RECORD,) * 9, (bytes(63),)]),
    (messages.Sync, "session"): ([0, 0xFFFFFFFF], [-1, 1 << 32]),
    (messages.Sync, "round"): ([0, 255], [-1, 256]),
    (messages.Sync, "ranges"): ([b"", bytes(64 * 1024)], [bytes(64 * 1024 + 1)]),
    (messages.Sync, "busy"): ([False, True], []),
    (messages.Evidence, "first"): ([ENVELOPE, bytes(MAX_ENVELOPE)], [ENVELOPE[:-1], bytes(MAX_ENVELOPE + 1)]),
    (messages.Evidence, "second"): (
        [ENVELOPE, bytes(MAX_ENVELOPE)],
        [ENVELOPE[:-1], bytes(MAX_ENVELOPE + 1)],
    ),
    (messages.Vouch, "statements"): (
        [(), (bytes(256),) * 16],
        [(RECORD,) * 17, (bytes(63),), (bytes(257),)],
    ),
    (messages.Goodbye, "reason"): ([*messages.GOODBYES, "later"], NO_WORDS),
    (messages.Goodbye, "on_purpose"): ([False, True], []),
}
"""For every field its outermost good values and its nearest bad ones."""

FOREIGN: list[Any] = [
    None,
    True,
    -1,
    1.5,
    float("nan"),
    "text.",
    b"b",
    (),
    {},
    {"a": 1},
    msgpack.ExtType(1, b"x"),
]
"""One value of every type that msgpack has."""


def frame_of(cls: Any, **changes: Any) -> bytes:
    """The frame of the sample of `cls` with these values, encoded without any check."""
    values = [(SAMPLES[cls] | changes)[field.name] for field in fields(cls)]
    return bytes((cls.TAG,)) + bytes(msgpack.packb(values))


class GoldenTests(SynchronousTestCase):
    def test_union_and_table(self) -> None:
        """Every class of the union is in the table under its own tag, and nothing else is."""
        self.assertEqual(set(BY_TAG.values()), set(typing.get_args(Message)))
        self.assertEqual({tag: cls.TAG for tag, cls in BY_TAG.items()}, {tag: tag for tag in BY_TAG})

    def test_every_message_has_a_vector(self) -> None:
        """A new message brings its golden bytes."""
        with_vector = {(vector["name"], vector["tag"]) for vector in load()["messages"]}
        self.assertEqual({(cls.__name__, tag) for tag, cls in BY_TAG.items()}, with_vector)

    def test_every_field_is_in_its_vector(self) -> None:
        """A vector names every field: a new field needs a new vector."""
        for vector in load()["messages"]:
            names = [field.name for field in fields(BY_TAG[vector["tag"]])]
            self.assertEqual(list(vector["fields"]), names)

    def test_golden_bytes(self) -> None:
        """Each vector's fields encode to its frame, and its frame decodes to its fields."""
        for vector in load()["messages"]:
            message = BY_TAG[vector["tag"]](**vector["fields"])
            self.assertEqual(encode(message), vector["frame"], vector["name"])
            self.assertEqual(decode(vector["frame"]), message, vector["name"])


class LimitTests(SynchronousTestCase):
    def assert_refused(self, frame: bytes, why: object = None) -> None:
        try:
            message = decode(frame)
        except MessageError:
            return
        self.fail(f"{message!r} was accepted: {why!r}")

    def test_ids_however_they_are_written(self) -> None:
        """A few ids are the same message whichever head of msgpack they have, and cut short anywhere they are none."""
        for cls in (messages.Have, messages.Want, messages.Miss):
            for count in (1, 2, 15):
                ids = ID * count
                heads = [b"\xc4" + bytes((len(ids),)), b"\xc5" + len(ids).to_bytes(2, "big")]
                for head in [*heads, b"\xc6" + len(ids).to_bytes(4, "big")]:
                    frame = bytes((cls.TAG, 0x91)) + head + ids
                    self.assertEqual(decode(frame), cls(ids))
                    self.assertEqual(decode(bytes((cls.TAG, 0x92)) + head + ids + b"\xc0"), cls(ids))
                    for end in range(len(frame)):
                        self.assert_refused(frame[:end])
                    self.assert_refused(frame + b"\0")

    def test_tables_are_complete(self) -> None:
        """Every class has a sample and every field has its edges."""
        self.assertEqual(set(SAMPLES), set(BY_TAG.values()))
        every = {(cls, field.name) for cls in SAMPLES for field in fields(cls) if cls is not messages.Push}
        self.assertEqual(set(EDGES), every)

    def test_edges(self) -> None:
        """For every field: the outermost values pass, the nearest beyond them do not."""
        for (cls, name), (good, bad) in EDGES.items():
            for value in good:
                message = decode(frame_of(cls, **{name: value}))
                self.assertEqual(getattr(message, name), value)
                self.assertEqual(type(getattr(message, name)), type(value))
            for value in bad:
                self.assert_refused(frame_of(cls, **{name: value}), (cls, name, value))

    def test_wrong_types(self) -> None:
        """For every field: a value of any other type is refused; a bool is no integer, nor an integer a bool."""
        for cls, name in EDGES:
            own = type(SAMPLES[cls][name])
            for value in [*FOREIGN, 0, 1]:
                if type(value) is not own:
                    self.assert_refused(frame_of(cls, **{name: value}), (cls, name, value))

    def test_the_callers_mistakes(self) -> None:
        """The same limits hold for what we would send: no such message exists."""
        for (cls, name), (_, bad) in EDGES.items():
            for value in bad:
                self.assertRaises(MessageError, cls, **(SAMPLES[cls] | {name: value}))

    def test_push(self) -> None:
        """PUSH is hops and the envelope verbatim, within an envelope's lengths."""
        for size in (MIN_ENVELOPE, MAX_ENVELOPE):
            frame = messages.push_frame(255, bytes(size))
            self.assertEqual(decode(frame), messages.Push(255, bytes(size)))
            self.assertEqual(encode(messages.Push(255, bytes(size))), frame)
            self.assertTrue(len(frame) <= MAX_FRAME)
        for size in (0, MIN_ENVELOPE - 1, MAX_ENVELOPE + 1):
            self.assert_refused(messages.push_frame(0, bytes(size)))
        self.assert_refused(bytes((messages.Push.TAG,)))

    def test_missing_fields(self) -> None:
        """Without its last required field nothing is a message; what has a default may be left out."""
        for cls in SAMPLES:
            if cls is messages.Push:
                continue
            values = [SAMPLES[cls][field.name] for field in fields(cls)]
            needed = sum(field.default.__class__.__name__ == "_Nothing" for field in fields(cls))
            for count in range(len(values)):
                frame = bytes((cls.TAG,)) + bytes(msgpack.packb(values[:count]))
                if count < needed:
                    self.assert_refused(frame, (cls, count))
                else:
                    self.assertEqual(decode(frame), cls(*values[:count]))

    def test_extra_fields(self) -> None:
        """Trailing fields of a later version are ignored, so that the protocol can grow."""
        for cls in SAMPLES:
            if cls is messages.Push:
                continue
            values = [SAMPLES[cls][field.name] for field in fields(cls)]
            frame = bytes((cls.TAG,)) + bytes(msgpack.packb([*values, 7, "later", [1, [2]]]))
            self.assertEqual(decode(frame), cls(*values))

    def test_no_maps_anywhere(self) -> None:
        """Maps and extensions have no place in the protocol, not even in fields that are ignored."""
        for value in ({"a": 1}, [{"a": 1}], msgpack.ExtType(1, b"x")):
            self.assert_refused(bytes((messages.Ping.TAG,)) + bytes(msgpack.packb([1, value])), value)

    def test_extra_fields_have_limits_too(self) -> None:
        """No map and no extension type stands anywhere on this wire, not even where it would be ignored."""
        for later in ({1: 2}, [{"a": 1}], msgpack.ExtType(1, b"x"), msgpack.Timestamp(1), [0] * 129):
            frame = bytes((messages.Ping.TAG,)) + bytes(msgpack.packb([1, later]))
            self.assert_refused(frame, later)

    def test_unknown_tags(self) -> None:
        """A tag of a later version is None, whatever follows it."""
        for tag in set(range(256)) - set(BY_TAG):
            self.assertIsNone(decode(bytes((tag,)) + b"\xc1 whatever"))

    def test_not_one_array(self) -> None:
        """Nothing, other values than an array, bytes behind it, an array cut short."""
        self.assert_refused(b"")
        for cls in SAMPLES:
            if cls is messages.Push:
                continue
            for value in FOREIGN:
                if value != ():
                    self.assert_refused(bytes((cls.TAG,)) + bytes(msgpack.packb(value)), (cls, value))
            self.assert_refused(frame_of(cls) + b"\xc0")
            self.assert_refused(frame_of(cls)[:-1])
            self.assert_refused(bytes((cls.TAG,)))
            self.assert_refused(bytes((cls.TAG, 0xC1)))

    def test_text_is_utf8(self) -> None:
        """Invalid UTF-8, overlong forms and lone surrogates are no text."""
        for wrong in (b"\xff", b"\xc0\x80", b"\xed\xa0\x80"):
            body = b"\x92" + bytes((0xA0 + len(wrong),)) + wrong + b"\xc3"
            self.assert_refused(bytes((messages.Goodbye.TAG,)) + body)

    def test_bombs(self) -> None:
        """Claimed lengths cost nothing, nesting at most 1,024 levels of 128 places, whatever the frame."""
        bombs = [
            b"\xdd\xff\xff\xff\xff",
            b"\xdf\xff\xff\xff\xff",
            b"\xc6\xff\xff\xff\xff",
            b"\xdb\xff\xff\xff\xff",
            b"\xc9\xff\xff\xff\xff\x01",
            b"\x91" * (MAX_FRAME - 1),
            b"\x9f" * (MAX_FRAME - 1),
            b"\xdc\x00\x80" * (MAX_FRAME // 3 - 1),
            b"\x81" * (MAX_FRAME - 1),
            b"\xdc\x00\x80" + (b"\xdc\x00\x80" + b"\xc0" * 128) * 128,
            b"\x92" + b"\xdc\x00\x80" * 1000,
        ]
        for bomb in bombs:
            for tag in sorted(BY_TAG):
                if tag in (messages.Push.TAG, messages.PeersGet.TAG, messages.VouchGet.TAG):
                    continue
                frame = bytes((tag,)) + bomb
                tracemalloc.start()
                try:
                    self.assert_refused(frame, (tag, bomb[:4]))
                    peak = tracemalloc.get_traced_memory()[1]
                finally:
                    tracemalloc.stop()
                self.assertTrue(peak < 1024 * (128 * 8 + 100) + 3 * len(frame), (tag, bomb[:4], peak))

    def test_the_largest_fit_into_a_frame(self) -> None:
        """Every field at its longest at once is still within a frame, so no valid message is unsendable."""
        for cls in SAMPLES:
            largest = {
                name: max(good, key=lambda value: len(msgpack.packb(value)))
                for (of, name), (good, _) in EDGES.items()
                if of is cls
            }
            if cls is messages.Peers:
                # A node sends as many records as fit; a hundred of the very longest do not.
                largest = {"records": (bytes(MAX_RECORD),) * 100}
                self.assertTrue(len(encode(messages.Peers(largest["records"]))) <= MAX_FRAME)
                continue
            frame = encode(cls(**(SAMPLES[cls] | largest)))
            self.assertTrue(len(frame) <= MAX_FRAME, (cls, len(frame)))


def valid_messages() -> st.SearchStrategy[Any]:
    """Any message with each field at one of its good values."""
    choices = []
    for cls in SAMPLES:
        if cls is messages.Push:
            envelope = st.binary(min_size=MIN_ENVELOPE, max_size=MIN_ENVELOPE + 40)
            choices.append(st.builds(messages.Push, st.integers(0, 255), envelope))
            continue
        good = {name: st.sampled_from(EDGES[cls, name][0]) for name in SAMPLES[cls]}
        choices.append(st.builds(cls, **good))
    return st.one_of(choices)


def values() -> st.SearchStrategy[Any]:
    """Anything msgpack can say, in small."""
    leaves = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(1 << 63), U64),
        st.floats(),
        st.text(st.characters(codec="utf-8"), max_size=20),
        st.binary(max_size=40),
        st.sampled_from([ID, RECORD, bytes(32)]),
    )
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(leaves, inner, max_size=2)
    )


class ArbitraryTests(SynchronousTestCase):
    def check(self, frame: bytes) -> None:
        """Decoding gives None, MessageError, or a message that encodes to a frame of itself."""
        try:
            message = decode(frame)
        except MessageError:
            return
        if message is None:
            self.assertNotIn(frame[0], BY_TAG)
        else:
            self.assertEqual(decode(encode(message)), message)

    @settings(max_examples=300)
    @given(st.binary(max_size=300))
    def test_bytes(self, frame: bytes) -> None:
        """Any bytes at all."""
        self.check(frame)

    @settings(max_examples=300)
    @given(st.sampled_from(sorted(BY_TAG)), st.lists(values(), max_size=10))
    def test_values(self, tag: int, fields: list[Any]) -> None:
        """Any values behind a known tag."""
        self.check(bytes((tag,)) + bytes(msgpack.packb(fields)))

    @settings(max_examples=300)
    @given(valid_messages(), st.data())
    def test_damaged(self, message: Any, data: Any) -> None:
        """A good frame with one byte changed."""
        frame = bytearray(encode(message))
        frame[data.draw(st.integers(0, len(frame) - 1))] ^= data.draw(st.integers(1, 255))
        self.check(bytes(frame))

    @settings(max_examples=300)
    @given(valid_messages())
    def test_round_trip(self, message: Any) -> None:
        """Whatever can be said arrives as it was said."""
        self.assertEqual(decode(encode(message)), message)
