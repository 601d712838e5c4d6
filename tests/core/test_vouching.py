"""Opinions: asked for rarely, answered rarely, and taken from nobody who was not asked."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from positron.core import messages
from positron.core.statements import sign_trust_statement
from positron.core.trust import Trust
from positron.core.vouching import FIRST_ASK, Vouching
from tests.core.gossip_parts import ALICE, BOB, context_of, link_state, taken


class VouchingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.context = context_of()
        self.trust = Trust(me=self.context.me.node_id)
        self.vouching = Vouching(self.context, self.trust)
        self.link = link_state(self.context, 1, ALICE).link
        self.vouching.link_up(self.link)
        self.verified = 0

    def vouch(self) -> messages.Vouch:
        """What Alice says of Bob."""
        return messages.Vouch(
            (sign_trust_statement(ALICE, self.context.network_id, BOB.node_id, 1, self.context.wall_ms).raw,)
        )

    def count(self, node_id: bytes, message: bytes, signature: bytes) -> bool:
        """Count what is verified, and find it good."""
        self.verified += 1
        return True

    def test_unasked(self) -> None:
        """T24: what nobody asked for is not read, and costs no signature; an answer is read once."""
        self.context.verify = self.count
        self.vouching.heard(self.link, self.vouch())
        self.assertEqual(self.verified, 0)
        self.context.now += 2 * FIRST_ASK
        self.vouching.tick()
        self.assertEqual(len(taken(self.context, messages.VouchGet)), 1)
        for _ in range(3):
            self.vouching.heard(self.link, self.vouch())
        self.assertEqual(self.verified, 1)
        self.assertEqual(self.context.counters["unasked_vouch"], 3)

    def test_greedy_asker(self) -> None:
        """T19: two answers at once, then one a minute: each costs us sixteen signatures."""
        for _ in range(20):
            self.vouching.asked(self.link)
        self.assertEqual(len(taken(self.context, messages.Vouch)), 2)
        self.context.now += 60
        for _ in range(20):
            self.vouching.asked(self.link)
        self.assertEqual(len(taken(self.context, messages.Vouch)), 1)
