"""The judgement of an envelope: every reason by its name, who is blamed, what is remembered, who is told."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from positron.core import messages
from positron.core.envelope import DIRECT, SIGNATURE_SIZE, Envelope, encode_entries, network_id_of
from positron.core.events import Deliver
from positron.core.gossip import accept
from positron.core.gossip.accept import MAX_MUTED
from positron.core.gossip.holdings import MAX_ENVELOPES, NEWS_MS
from positron.core.gossip.state import LinkGossip
from positron.core.limits import Rate
from positron.core.messages import REJECTIONS
from positron.core.notices import Refused
from positron.core.records import EnvelopeKept, StateKept, StubKept
from tests.core.gossip_parts import (
    ALICE,
    BOB,
    CAROL,
    ME,
    WALL,
    Node,
    chosen,
    entries_of,
    identity,
    sealed,
    sent_on,
    taken,
)


class Case(SynchronousTestCase):
    parameters: dict[str, Any] = {}

    def setUp(self) -> None:
        self.node = Node(**self.parameters)
        self.link = self.node.link(1)
        self.context = self.node.context
        self.context.actions.clear()

    def seal(self, seq: int = 1, count: int = 1, **more: Any) -> Envelope:
        return sealed(self.context, seq=seq, count=count, **more)

    def push(self, envelope: Envelope | bytes, link: Any = None) -> None:
        """It comes by PUSH."""
        raw = envelope if isinstance(envelope, bytes) else envelope.raw
        self.node.gossip.push(link or self.link, 0, raw)

    def assert_rejected(
        self, reason: str, envelope: Envelope | bytes, link: Any = None, blame: bool = False
    ) -> None:
        """It is counted under that reason, not delivered, not relayed, and the link is blamed or not."""
        self.context.actions.clear()
        before = self.node.count("rejected:" + reason)
        self.node.violations.clear()
        self.push(envelope, link)
        self.assertEqual(self.node.count("rejected:" + reason), before + 1, self.context.counters)
        self.assertEqual(chosen(self.context.actions, Deliver), [])
        self.assertEqual(chosen(self.context.actions, messages.Push), [])
        number = (link or self.link).link.number
        self.assertEqual(self.node.violations, [(number, reason)] if blame else [])

    def is_known(self, envelope: Envelope) -> bool:
        return self.node.gossip.holdings.is_known(envelope.id)


class AcceptedTests(Case):
    def test_accepted(self) -> None:
        """A good one is delivered with one hop more, kept, useful, and known."""
        envelope = self.seal(count=2)
        self.push(envelope)
        (deliver,) = chosen(self.context.actions, Deliver)
        self.assertEqual((deliver.author, deliver.hops, len(deliver.entries)), (ALICE.node_id, 1, 2))
        self.assertEqual(len(chosen(self.context.actions, EnvelopeKept)), 1)
        self.assertEqual(self.node.useful, [1])
        self.assertTrue(self.is_known(envelope))
        self.assertEqual(self.node.count("received"), 2)

    def test_at_the_edges_of_time(self) -> None:
        """30 s ahead of our clock is not yet the future, a millisecond of life is life."""
        self.push(self.seal(age=-30))
        self.push(self.seal(seq=2, age=10, lifetime=10.001))
        self.assertEqual(self.node.count("received"), 2)


class RejectedTests(Case):
    def test_every_reason_is_a_word_of_the_wire(self) -> None:
        """The lists of this module name nothing else."""
        for words in (accept.VIOLATIONS, accept.STUBBED, accept.TOLD):
            self.assertTrue(set(words) <= set(REJECTIONS))

    def test_malformed(self) -> None:
        """Bad lengths, bad ranges, and a signed body that is none: the link is to blame."""
        raw = self.seal().raw
        self.assert_rejected("malformed", raw[:100], blame=True)
        self.assert_rejected("malformed", bytes(200)[:2].replace(b"\0\0", b"\1\1") + bytes(198), blame=True)
        wrong = self.seal(body=b"\xc0")
        self.assert_rejected("malformed", wrong, blame=True)
        self.assert_rejected("malformed", self.seal(body=encode_entries([("t", b"1")]), count=2), blame=True)
        self.assertFalse(self.is_known(wrong))

    def test_signature(self) -> None:
        """A forged copy is the link's offence and suppresses nothing: the true one is accepted after it."""
        envelope = self.seal()
        forged = envelope.raw[:-SIGNATURE_SIZE] + bytes(SIGNATURE_SIZE)
        self.assert_rejected("signature", forged, blame=True)
        self.assertFalse(self.is_known(envelope))
        self.push(envelope)
        self.assertEqual(len(chosen(self.context.actions, Deliver)), 1)

    def test_of_another_network(self) -> None:
        """Is simply a bad signature."""
        foreign = self.seal(network=network_id_of("other"))
        self.assert_rejected("signature", foreign, blame=True)

    def test_forged_in_the_name_of_a_neighbour(self) -> None:
        """T26: who sent it is to blame, though the author named is linked too."""
        self.node.link(7, ALICE)
        envelope = self.seal()
        self.assert_rejected("signature", envelope.raw[:-1] + b"\0", blame=True)

    def test_forged_replay(self) -> None:
        """Old numbers under a bad signature are an offence too, and leave no stub."""
        self.push(self.seal(5))
        forged = self.seal(5, topic="other").raw[:-SIGNATURE_SIZE] + bytes(SIGNATURE_SIZE)
        self.assert_rejected("signature", forged, blame=True)
        self.assertEqual(chosen(self.context.actions, StubKept), [])

    def test_future(self) -> None:
        """More than 30 s ahead: refused without blame and not remembered, so it may come again in time."""
        envelope = self.seal(age=-30.001)
        self.assert_rejected("future", envelope)
        self.assertFalse(self.is_known(envelope))
        self.node.wait(0.002)
        self.push(envelope)
        self.assertEqual(len(chosen(self.context.actions, Deliver)), 1)

    def test_expired(self) -> None:
        """At its expiry it is over: no blame, and nothing is kept of what no signature vouches for."""
        envelope = self.seal(age=10, lifetime=10)
        self.assert_rejected("expired", envelope)
        self.assertFalse(self.is_known(envelope))

    def test_old(self) -> None:
        """Before our floor: no blame, nothing kept, no place in the index."""
        envelope = self.seal(age=25 * 3600, lifetime=48 * 3600)
        self.assert_rejected("old", envelope)
        self.assertFalse(self.is_known(envelope))
        self.assertEqual(len(self.node.index), 0)

    def test_a_flood_from_the_future(self) -> None:
        """T21: who fills the index with what is 25 s ahead raises its floor above our clock, and silences nobody."""
        ahead = self.context.wall_ms + 25_000
        for number in range(MAX_ENVELOPES + 1):
            self.node.index.add(ahead, number.to_bytes(16, "big"))
        self.assertGreater(self.node.index.floor, self.context.wall_ms)
        live = self.seal(age=1)
        self.push(live)
        self.assertEqual(len(chosen(self.context.actions, Deliver)), 1)
        self.assert_rejected("duplicate", live)
        self.assert_rejected("old", self.seal(2, age=NEWS_MS / 1000 + 1))

    def test_duplicate(self) -> None:
        """A second copy costs no verification, whatever its signature, and blames nobody."""
        envelope = self.seal()
        self.push(envelope)
        verified: list[bytes] = []
        self.context.verify = lambda node_id, message, signature: bool(verified.append(message)) or True
        self.assert_rejected("duplicate", envelope)
        self.assert_rejected("duplicate", envelope.raw[:-SIGNATURE_SIZE] + bytes(SIGNATURE_SIZE))
        self.assertEqual(verified, [])

    def test_replay(self) -> None:
        """Numbers seen before, their envelope no longer in memory: a stub stands for it, once."""
        self.push(self.seal(1, 3))
        self.node.wait(15)
        other = self.seal(3, 2, topic="other")
        self.assert_rejected("replay", other)
        self.assertEqual([stub.id for stub in chosen(self.context.actions, StubKept)], [other.id])
        self.assertTrue(self.node.gossip.holdings.is_stub(other.id))
        self.assert_rejected("duplicate", other)

    def test_unknown(self) -> None:
        """A version or kind of a later protocol: counted, without blame."""
        raw = self.seal().raw
        self.assert_rejected("unknown", b"\2" + raw[1:])
        self.assert_rejected("unknown", raw[:1] + b"\4" + raw[2:])

    def test_sealed_ones_are_handed_on(self) -> None:
        """A DIRECT is verified like any other and then handed to the swarm; twice it is a duplicate."""
        envelope = self.seal(kind=DIRECT, recipient=BOB.node_id, body=b"x")
        self.assert_rejected("signature", envelope.raw[:-1] + b"\0", blame=True)
        self.push(envelope)
        self.assertEqual([one.id for one in self.node.sealed], [envelope.id])
        self.assert_rejected("duplicate", envelope)


class BudgetTests(Case):
    parameters = {"limits": {"new_authors": Rate(1, 2)}}

    def test_budget(self) -> None:
        """Over the budget of new authors: put off, not remembered, and accepted later or from another link."""
        self.push(self.seal(author=ALICE))
        self.push(self.seal(author=BOB))
        third = self.seal(author=CAROL)
        self.assert_rejected("budget", third)
        self.assertFalse(self.is_known(third))
        self.push(third, self.node.link(2))
        self.assertTrue(self.is_known(third))

    def test_what_we_asked_for_passes(self) -> None:
        """An envelope that we wanted of this link is exempt."""
        self.push(self.seal(author=ALICE))
        self.push(self.seal(author=BOB))
        third = self.seal(author=CAROL)
        self.node.gossip.lacking(self.link.link, [third.id])
        self.push(third)
        self.assertTrue(self.is_known(third))
        self.assertTrue(self.node.sequences.tracks(CAROL.node_id))


class MemberTests(Case):
    parameters = {"members": frozenset([ALICE.node_id])}

    def test_member(self) -> None:
        """In a closed network others' envelopes become stubs, without blame; ours pass wherever they come from."""
        envelope = self.seal(author=BOB)
        self.assert_rejected("member", envelope)
        self.assertTrue(self.node.gossip.holdings.is_stub(envelope.id))
        self.push(self.seal(author=ALICE))
        self.push(self.seal(author=self.context.me))
        self.assertEqual(len(chosen(self.context.actions, Deliver)), 2)

    def test_signature_first(self) -> None:
        """Nothing is remembered of a stranger's name on a forgery."""
        envelope = self.seal(author=BOB)
        forged = envelope.raw[:-SIGNATURE_SIZE] + bytes(SIGNATURE_SIZE)
        self.assert_rejected("signature", forged, blame=True)
        self.assertFalse(self.is_known(envelope))


class EquivocationTests(Case):
    def setUp(self) -> None:
        super().setUp()
        self.other = self.node.link(2)
        self.first = self.seal(5, 3)
        self.second = self.seal(7, 2, topic="other")
        self.push(self.first)

    def test_both_in_hand(self) -> None:
        """The first is kept as a stub, the author muted, the proof told once to every link, nobody blamed."""
        self.assert_rejected("equivocation", self.second)
        proof = messages.Evidence(self.first.raw, self.second.raw)
        for state in (self.link, self.other):
            self.assertEqual(sent_on(self.context, state, messages.Evidence), [proof])
        self.assertTrue(self.node.gossip.acceptance.is_muted(ALICE.node_id))
        self.assertTrue(self.node.gossip.holdings.is_stub(self.first.id))
        self.assertTrue(self.node.gossip.holdings.is_stub(self.second.id))
        third = self.seal(20, topic="other")
        self.assert_rejected("equivocation", third)
        self.assertEqual(chosen(self.context.actions, messages.Evidence), [])
        self.assertTrue(self.node.gossip.holdings.is_stub(third.id))

    def test_until_the_retention_is_over(self) -> None:
        """A mute ends, and it outlives a restart meanwhile."""
        self.assert_rejected("equivocation", self.second)
        (kept,) = [state for state in chosen(self.context.actions, StateKept) if state.key == "muted"]
        born = Node()
        born.gossip.load([], {"muted": kept.value})
        self.assertTrue(born.gossip.acceptance.is_muted(ALICE.node_id))
        self.assertFalse(born.gossip.acceptance.is_muted(BOB.node_id))
        born.context.now = 24 * 3600 + 1.0
        self.assertFalse(born.gossip.acceptance.is_muted(ALICE.node_id))

    def test_evidence(self) -> None:
        """A proof from a neighbour mutes a tracked author, turns what is held into stubs, and goes on once."""
        self.context.actions.clear()
        proof = messages.Evidence(self.first.raw, self.second.raw)
        self.node.gossip.evidence(self.other, proof)
        self.assertTrue(self.node.gossip.acceptance.is_muted(ALICE.node_id))
        self.assertEqual(sent_on(self.context, self.link, messages.Evidence), [proof])
        self.assertEqual(sent_on(self.context, self.other, messages.Evidence), [])
        self.assertTrue(self.node.gossip.holdings.is_stub(self.first.id))
        self.node.gossip.evidence(self.link, proof)
        self.assertEqual(len(chosen(self.context.actions, messages.Evidence)), 1)

    def test_evidence_in_either_order(self) -> None:
        """Two ranges that share a single number prove it, whichever is named first."""
        self.node.gossip.evidence(self.link, messages.Evidence(self.second.raw, self.first.raw))
        self.assertTrue(self.node.gossip.acceptance.is_muted(ALICE.node_id))

    def test_no_evidence(self) -> None:
        """What proves nothing mutes nobody: one twice, no overlap, other epochs, authors, forged, garbage, unknown."""
        forged = self.second.raw[:-SIGNATURE_SIZE] + bytes(SIGNATURE_SIZE)
        stranger = (self.seal(1, author=CAROL), self.seal(1, author=CAROL, topic="other"))
        resigned = self.first.raw[:-SIGNATURE_SIZE] + bytes(SIGNATURE_SIZE)
        cases = [
            (self.first.raw, self.first.raw),
            (self.first.raw, resigned),
            (self.first.raw, self.seal(8).raw),
            (self.first.raw, self.seal(7, 2, topic="other", epoch=9).raw),
            (self.first.raw, self.seal(7, 2, author=BOB).raw),
            (self.first.raw, forged),
            (forged, self.first.raw),
            (self.first.raw, bytes(200)),
            (stranger[0].raw, stranger[1].raw),
        ]
        for number, (one, two) in enumerate(cases):
            self.context.now += 2
            self.node.gossip.evidence(self.link, messages.Evidence(one, two))
            self.assertEqual(self.node.gossip.acceptance.muted, {}, number)

    def test_evidence_is_paced(self) -> None:
        """1/s a link, 10 at once: whoever sends more is not verified for."""
        verified: list[bytes] = []
        self.context.verify = lambda node_id, message, signature: bool(verified.append(message))
        for _ in range(30):
            self.node.gossip.evidence(self.link, messages.Evidence(self.first.raw, self.second.raw))
        self.assertEqual(len(verified), 10)
        self.node.gossip.evidence(self.other, messages.Evidence(self.first.raw, self.second.raw))
        self.assertEqual(len(verified), 11)

    def test_a_flood_of_equivocators(self) -> None:
        """T19: authors made up to equivocate are all muted, and the proof of ten, then of one a second, is told."""
        told = []
        for number in range(100):
            author = identity(5000 + number)
            self.push(self.seal(1, author=author))
            self.context.actions.clear()
            self.push(self.seal(1, author=author, topic="other"))
            self.assertTrue(self.node.gossip.acceptance.is_muted(author.node_id))
            told.append(len(sent_on(self.context, self.other, messages.Evidence)))
            self.context.now += 0.01
        self.assertEqual(told, [1] * 10 + [0] * 90)
        self.context.now += 1
        self.push(self.seal(1, author=CAROL))
        self.push(self.seal(1, author=CAROL, topic="other"))
        self.assertEqual(len(sent_on(self.context, self.other, messages.Evidence)), 1)

    def test_muted_are_bounded(self) -> None:
        """Of more than 256 the one muted longest ago is heard again."""
        acceptance = self.node.gossip.acceptance
        for number in range(MAX_MUTED + 1):
            self.context.now += 1
            acceptance.mute(number.to_bytes(32, "big"))
        self.assertEqual(len(acceptance.muted), MAX_MUTED)
        self.assertFalse(acceptance.is_muted(bytes(32)))
        self.assertTrue(acceptance.is_muted((MAX_MUTED).to_bytes(32, "big")))


class ToldTests(Case):
    parameters = {"members": frozenset([ALICE.node_id, BOB.node_id])}

    def setUp(self) -> None:
        super().setUp()
        self.authors = {peer: self.node.link(10 + n, peer) for n, peer in enumerate((ALICE, CAROL))}

    def test_the_author_hears_why(self) -> None:
        """On its own link, and on no other."""
        alice, carol = self.authors[ALICE], self.authors[CAROL]
        cases = [
            ("future", self.seal(age=-60), alice),
            ("expired", self.seal(age=60, lifetime=60), alice),
            ("old", self.seal(age=25 * 3600, lifetime=48 * 3600), alice),
            ("member", self.seal(author=CAROL), carol),
        ]
        for reason, envelope, state in cases:
            self.assert_rejected(reason, envelope, state)
            self.assertEqual(
                sent_on(self.context, state, messages.Refused), [messages.Refused(envelope.id, reason)]
            )
            self.context.actions.clear()
            self.push(envelope, self.link)
            self.assertEqual(chosen(self.context.actions, messages.Refused), [])

    def test_equivocation(self) -> None:
        """An author that equivocates on its own link hears that, too."""
        self.push(self.seal(1), self.authors[ALICE])
        other = self.seal(1, topic="other")
        self.assert_rejected("equivocation", other, self.authors[ALICE])
        told = sent_on(self.context, self.authors[ALICE], messages.Refused)
        self.assertEqual(told, [messages.Refused(other.id, "equivocation")])

    def refused(self, envelope: Envelope, state: LinkGossip) -> list[Refused]:
        """What the application hears when that link says that it refused this one."""
        self.context.actions.clear()
        self.node.gossip.refused(state, messages.Refused(envelope.id, "future"))
        return taken(self.context, Refused)

    def test_what_an_author_is_told(self) -> None:
        """The application hears of a refusal of what is its own, and was given to that link."""
        own, direct = (
            self.seal(author=ME),
            self.seal(author=ME, kind=DIRECT, recipient=BOB.node_id, body=b"x"),
        )
        self.node.gossip.sources.graft(self.link, messages.Graft(1))
        self.node.gossip.originate(own, entries_of(own), 1)
        self.node.gossip.relay.send_sealed(direct)
        for envelope in (own, direct):
            (told,) = self.refused(envelope, self.link)
            self.assertEqual((told.reason, told.id), ("future", envelope.id.hex()))

    def test_a_flood_of_refusals(self) -> None:
        """T40: who says without end that it refused something, or what it was never given, fills no log with that."""
        own, other = self.seal(author=ME), self.seal(1)
        self.node.gossip.sources.graft(self.link, messages.Graft(1))
        self.node.gossip.originate(own, entries_of(own), 1)
        self.push(other, self.authors[ALICE])
        self.assertEqual(self.refused(other, self.link), [], "it is not ours")
        self.assertEqual(len(self.refused(own, self.link)), 1)
        self.assertEqual(self.refused(own, self.link), [], "it has said so")
        self.assertEqual(self.refused(self.seal(2, author=ME), self.link), [], "it was never given that")

    def test_duplicates_and_budgets_are_not_told(self) -> None:
        """They are nobody's business."""
        self.push(self.seal(1), self.authors[ALICE])
        self.assert_rejected("duplicate", self.seal(1), self.authors[ALICE])
        self.assertEqual(chosen(self.context.actions, messages.Refused), [])
        self.assertEqual(taken(self.context, Deliver), [])
        self.assertTrue(self.context.wall >= WALL)
