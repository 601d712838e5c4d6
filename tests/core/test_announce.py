"""When a batch of HAVE goes out: at once is fast, and what nobody will need can wait."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from positron.core import messages
from positron.core.gossip.announce import BATCH_SECONDS, BATCH_SECONDS_SMALL, Announcer
from positron.core.gossip.recents import Spread
from tests.core.gossip_parts import context_of, link_state, sent_on


class BatchTests(SynchronousTestCase):
    """One link that is no source of ours."""

    def due(self, *, small: bool, own: bool) -> float:
        """After how long an envelope is announced to it."""
        context = context_of()
        state = link_state(context, 1)
        announcer = Announcer(context, {1: state}, is_small=lambda: small)
        announcer.announce(Spread(bytes(16), context.now), own=own)
        context.now = due = announcer.deadline
        announcer.tick()
        self.assertEqual(sent_on(context, state, messages.Have), [messages.Have(bytes(16))])
        return due

    def test_it_waits_where_all_comes_from_the_authors(self) -> None:
        """Nobody is likely to need it there."""
        self.assertEqual(self.due(small=True, own=False), BATCH_SECONDS_SMALL)

    def test_not_elsewhere(self) -> None:
        """There others wait for it."""
        self.assertEqual(self.due(small=False, own=False), BATCH_SECONDS)

    def test_not_an_author_itself(self) -> None:
        """What it does not push, being large or a link being full, nobody else announces sooner."""
        self.assertEqual(self.due(small=True, own=True), BATCH_SECONDS)
        self.assertEqual(self.due(small=False, own=True), BATCH_SECONDS)
