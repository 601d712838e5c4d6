"""Data as payloads and back: what may be sent, and what a stranger's bytes may cost."""

import math
import pickle
import sys
import tracemalloc

import msgpack
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from positron.core.envelope import MAX_PAYLOAD
from positron.errors import PayloadTooLarge
from positron.services.payload import MAX_DEPTH, check_topic, decode, encode

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.binary(max_size=20)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5) | st.binary(max_size=5), inner)
    ),
    max_leaves=20,
)


class EncodeTests(SynchronousTestCase):
    @given(values)
    @settings(max_examples=200, deadline=None)
    def test_round_trip(self, value):
        """Whatever may be sent arrives as it was."""
        self.assertEqual(decode(encode(value)), value)

    def test_tuples_arrive_as_lists(self):
        """A tuple is a list on the way."""
        self.assertEqual(decode(encode((1, (2,)))), [1, [2]])

    def test_refuses_what_msgpack_does_not_carry(self):
        """TypeError at the call, wherever in the data it hides."""
        for value in (object(), {1, 2}, {"a": [math.nan]}, {1: "a"}, {None: 1}, 1 << 64, "\ud800", print):
            with self.subTest(value=repr(value)):
                self.assertRaises(TypeError, encode, value)

    def test_depth(self):
        """64 levels of lists can be sent, one more cannot, and nobody is made to decode it."""
        value = 1
        for _ in range(MAX_DEPTH):
            value = [value]
        self.assertEqual(decode(encode(value)), value)
        self.assertRaises(TypeError, encode, [value])
        self.assertRaises(ValueError, decode, msgpack.packb([value]))

    def test_itself_inside_itself(self):
        """A list that contains itself is refused, not followed for ever."""
        loop = []
        loop.append(loop)
        self.assertRaises(TypeError, encode, loop)

    def test_size(self):
        """64 KiB as encoded fit, one byte more does not, and the error says so in numbers."""
        self.assertEqual(len(encode(b"x" * (MAX_PAYLOAD - 5))), MAX_PAYLOAD - 2)
        error = self.assertRaises(PayloadTooLarge, encode, b"x" * MAX_PAYLOAD)
        self.assertEqual((error.limit, error.got), (MAX_PAYLOAD, MAX_PAYLOAD + 5))
        other = pickle.loads(pickle.dumps(error))
        self.assertEqual((str(other), other.limit, other.got), (str(error), error.limit, error.got))

    def test_topics(self):
        """128 bytes of UTF-8, and text."""
        self.assertEqual(check_topic("é" * 64), "é" * 64)
        self.assertRaises(PayloadTooLarge, check_topic, "é" * 65)
        self.assertRaises(TypeError, check_topic, b"bytes")


class DecodeTests(SynchronousTestCase):
    @given(st.binary(max_size=200))
    @settings(max_examples=500, deadline=None)
    def test_garbage(self, payload):
        """Any bytes are a value or a ValueError."""
        try:
            decode(payload)
        except ValueError:
            pass

    def test_refused(self):
        """Trailing bytes, extensions, timestamps, keys that can be chosen to collide."""
        for payload in (b"", b"\x01\x01", b"\xc7\x00\x01", b"\xd6\xff\0\0\0\0", b"\x81\x01\x01", b"\xc1"):
            with self.subTest(payload=payload):
                self.assertRaises(ValueError, decode, payload)

    def test_announced_lengths_reserve_nothing(self):
        """Nested arrays that announce thousands of elements cost little memory, not a long list each."""
        for unit in (b"\xdc\xea\x60", b"\xdd\x00\x00\xea\x60"):
            payload = unit * (60_000 // len(unit))
            tracemalloc.start()
            self.addCleanup(tracemalloc.stop)
            self.assertRaises(ValueError, decode, payload)
            self.assertLess(tracemalloc.get_traced_memory()[1], 2_000_000)
            tracemalloc.stop()

    def test_many_long_arrays_that_are_honest(self):
        """What holds all that it announces is decoded as ever."""
        value = [["x"] * 20 for _ in range(200)]
        payload = msgpack.packb(value)
        self.assertGreater(payload.count(b"\xdc"), 64)
        self.assertEqual(decode(payload), value)

    def test_what_looks_like_many_arrays(self):
        """T4: bytes that look like headers of arrays do not have each element decoded by a call of Python."""
        value = [*range(100)] * 500 + [b"\xdc" * 100]
        payload = msgpack.packb(value)
        calls = 0

        def count(_frame, event, _argument):
            nonlocal calls
            calls += event == "call"

        before = sys.getprofile()
        sys.setprofile(count)
        try:
            found = decode(payload)
        finally:
            sys.setprofile(before)
        self.assertEqual(found, value)
        self.assertLess(calls, 100)
