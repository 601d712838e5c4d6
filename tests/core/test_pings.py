"""Round trips that the operator asks for: each question is answered, once."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from positron.core.events import PingPeer, Settle
from positron.core.links import MAX_PINGS
from positron.core.messages import Ping
from positron.core.pings import Pings
from positron.errors import UnknownPeer
from tests.core.gossip_parts import context_of, link_state, sent_on, taken


class PingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.context = context_of()
        self.pings = Pings(self.context)
        self.state = link_state(self.context, 1)
        self.link = self.state.link

    def ask(self, count: int) -> list[int]:
        """So many questions, tokens 1 and so on; the nonces of the PINGs that went."""
        for token in range(1, count + 1):
            self.pings.ask(PingPeer(token, self.link.node_id))
        nonces = [message.nonce for message in sent_on(self.context, self.state, Ping)]
        self.context.actions.clear()
        return nonces

    def test_measured(self) -> None:
        """Seconds between PING and PONG."""
        (nonce,) = self.ask(1)
        self.context.now += 0.25
        self.pings.pong(self.link, nonce)
        self.assertEqual(taken(self.context, Settle), [Settle(1, 0.25)])

    def test_a_peer_that_lets_many_wait(self) -> None:
        """More questions than unanswered PINGs are remembered of a link: the first are answered as well."""
        for nonce in self.ask(MAX_PINGS + 5):
            self.pings.pong(self.link, nonce)
        self.assertEqual([each.token for each in taken(self.context, Settle)], [*range(1, MAX_PINGS + 6)])

    def test_another_link_does_not_answer(self) -> None:
        """Nor is the question forgotten for it."""
        (nonce,) = self.ask(1)
        self.pings.pong(link_state(self.context, 2).link, nonce)
        self.assertEqual(taken(self.context, Settle), [])
        self.pings.link_down(self.link, "lost")
        (settle,) = taken(self.context, Settle)
        self.assertIsInstance(settle.error, UnknownPeer)
