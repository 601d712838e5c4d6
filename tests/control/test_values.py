"""Data between JSON and Python."""

import json
import math

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from positron.control.values import from_json, to_json

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
)
KEYS = st.text(st.characters(exclude_categories=["Cs"])).filter(lambda key: key != "$bytes")
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=20)


class ValuesTests(SynchronousTestCase):
    @given(VALUES)
    def test_round_trip(self, value):
        """Whatever an application can send comes back the same through JSON text."""
        self.assertEqual(from_json(json.loads(json.dumps(to_json(value)))), value)

    def test_bytes(self):
        """Bytes are base64 under a key that says so."""
        self.assertEqual(to_json(b"\xff\x00"), {"$bytes": "/wA="})
        self.assertEqual(from_json({"$bytes": "/wA="}), b"\xff\x00")

    def test_a_map_with_more_keys_is_a_map(self):
        """`$bytes` beside other keys means nothing special."""
        value = {"$bytes": "/wA=", "more": 1}
        self.assertEqual(from_json(value), value)

    def test_refused_to_json(self):
        """What JSON cannot hold is an error, not a changed value."""
        for value in (math.nan, math.inf, {1: 2}, {b"k": 1}, 2**64, "\ud800", {"\ud800": 1}, object()):
            with self.assertRaises(ValueError):
                to_json([value])

    def test_refused_from_json(self):
        """What msgpack cannot hold is an error too, as is broken base64."""
        deep = []
        for _ in range(70):
            deep = [deep]
        for value in (-(2**63) - 1, 2**64, "\udfff", deep, {"$bytes": "?"}, {"$bytes": "/wA"}, {"$bytes": 1}):
            with self.assertRaises(ValueError):
                from_json(value)
