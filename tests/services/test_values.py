"""The ids of messages, as text."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from positron.services.values import MAX_NUMBER, message_id, parse_message_id
from tests.control.fake import ALICE


class MessageIdTests(SynchronousTestCase):
    def test_there_and_back(self) -> None:
        """What is written is read, up to the highest numbers there are."""
        for epoch, seq in ((1, 1), (MAX_NUMBER, MAX_NUMBER)):
            self.assertEqual(parse_message_id(message_id(ALICE, epoch, seq))[1:], (epoch, seq))

    def test_what_is_none(self) -> None:
        """T38: anything else is a ValueError here, and nothing that a store trips over."""
        above = MAX_NUMBER + 1
        for text in ("", "..", f"{ALICE}.1", f"{ALICE}.1.2.3", f"{ALICE}.-1.2", f"{ALICE}.1.\u00b2", "x.1.2"):
            self.assertRaises(ValueError, parse_message_id, text)
        for epoch, seq in ((above, 1), (1, above), ("9" * 19, 1), (1, "9" * 5000)):
            self.assertRaises(ValueError, parse_message_id, f"{ALICE}.{epoch}.{seq}")
