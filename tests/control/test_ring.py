"""The ring of the last events."""

import json

from twisted.trial.unittest import SynchronousTestCase

from positron.control.ring import CAPACITY, EventRing
from positron.core.notices import PeerDown


class RingTests(SynchronousTestCase):
    def setUp(self):
        self.ring = EventRing(lambda: 1234.5)

    def add(self, number):
        for index in range(number):
            self.ring.add(PeerDown(node_id="x" * 52, reason=str(index)))

    def test_line(self):
        """An event is its class's name, a time and its fields."""
        self.add(1)
        expected = {"event": "PeerDown", "time": 1234.5, "node_id": "x" * 52, "reason": "0"}
        self.assertEqual(json.loads(self.ring.get(1)), expected)

    def test_bound(self):
        """Only the newest are kept, and they keep their numbers."""
        self.add(CAPACITY + 10)
        self.assertEqual((self.ring.first, self.ring.next), (11, CAPACITY + 11))
        self.assertEqual(json.loads(self.ring.get(11))["reason"], "10")

    def test_after(self):
        """A client goes on where it stopped, one of an earlier process at the beginning, a new one at the end."""
        self.add(5)
        self.assertEqual(self.ring.after(self.ring.id_of(3)), 4)
        self.assertEqual(self.ring.after(self.ring.id_of(99)), 6)
        self.assertEqual(self.ring.after("17-3"), 1)
        for unknown in ("", "x", "1-", "-1", "9" * 50, "\u00b2-1", "1-\u0663"):
            self.assertEqual(self.ring.after(unknown), 6)
