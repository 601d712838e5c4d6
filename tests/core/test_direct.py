"""Direct messages: sealed for one, receipts only from disk, nothing lifted, nothing silent."""

from __future__ import annotations

import struct
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from positron.core import direct as module
from positron.core.context import Context
from positron.core.direct import MAX_WAITING, RECEIPT_LIFETIME_MS, Acknowledged, Direct
from positron.core.envelope import DIRECT, MAX_LIFETIME_MS, RECEIPT, Envelope
from positron.core.events import Deliver, Remember, Settle
from positron.core.identity import Identity, seal, verify
from positron.core.records import EnvelopeKept, EnvelopesDropped, IndexEntry
from positron.core.sequences import Sequences
from positron.errors import DeliveryTimeout, UnknownPeer
from tests.core.gossip_parts import (
    ALICE,
    BOB,
    CAROL,
    WALL,
    chosen,
    context_of,
    identity,
    link_state,
    sealed,
    taken,
)

HOUR = 3600.0


class Side:
    """One node with its direct messages; what it floods is in `flooded`."""

    def __init__(self, me: Identity, **parameters: Any) -> None:
        self.me = me
        self.context: Context = context_of(me, **parameters)
        self.sequences = Sequences(self.context, first_start_ms=0)
        self.flooded: list[Envelope] = []
        self.direct = Direct(self.context, self.sequences, self.flooded.append)

    def send(
        self, recipient: Identity, payload: bytes = b"psst", timeout: float = 10.0, token: int = 1
    ) -> Envelope:
        """Send and take the envelope that goes out."""
        self.direct.send(token, recipient.node_id, payload, timeout)
        return self.flooded.pop()

    def receive(self, envelope: Envelope) -> bool:
        """The envelope arrived, its signature was verified."""
        return self.direct.received(envelope, 2, CAROL.node_id)

    def settled(self) -> list[Settle]:
        """What the application was told."""
        return taken(self.context, Settle)

    def mark_of(self, envelope: Envelope) -> int:
        """The mark under which this envelope went to the store."""
        for action in self.context.actions:
            if isinstance(action, Remember) and isinstance(action.record, EnvelopeKept):
                if action.record.id == envelope.id:
                    return action.mark
        raise AssertionError("it was not handed to the store")


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.alice, self.bob, self.carol = Side(ALICE), Side(BOB), Side(CAROL)

    def deliver(self, envelope: Envelope) -> Envelope:
        """Bob receives and stores it; his receipt."""
        self.assertTrue(self.bob.receive(envelope))
        self.bob.direct.stored(self.bob.mark_of(envelope))
        (receipt,) = self.bob.flooded
        self.bob.flooded.clear()
        return receipt


class SendTests(Case):
    def test_envelope(self) -> None:
        """A DIRECT to the recipient, signed, that lives no longer than its sender waits, and is kept."""
        envelope = self.alice.send(BOB, timeout=7.5)
        self.assertEqual((envelope.kind, envelope.recipient), (DIRECT, BOB.node_id))
        self.assertEqual(envelope.expires_ms - envelope.created_ms, 7500)
        signed = self.alice.context.sealer.signed_bytes(envelope)
        self.assertTrue(verify(ALICE.node_id, signed, envelope.signature))
        self.assertNotIn(b"psst", envelope.raw)
        self.assertTrue(self.alice.mark_of(envelope))

    def test_sequences_are_per_recipient(self) -> None:
        """Each recipient's begins at 1, and receipts count apart from messages."""
        sent = [self.alice.send(to, token=token) for token, to in enumerate((BOB, BOB, CAROL, BOB))]
        self.assertEqual([envelope.seq for envelope in sent], [1, 2, 1, 3])
        self.assertEqual(self.deliver(sent[0]).seq, 1)
        self.assertEqual(self.bob.send(ALICE).seq, 1)

    def test_lifetime_is_bounded(self) -> None:
        """A timeout of years is seven days on the wire, one of nothing a millisecond."""
        for timeout, lifetime in ((1e9, MAX_LIFETIME_MS), (0.0, 1)):
            envelope = self.alice.send(BOB, timeout=timeout)
            self.assertEqual(envelope.expires_ms - envelope.created_ms, lifetime)

    def test_not_a_node_id(self) -> None:
        """What is no key fails at once."""
        self.alice.direct.send(5, bytes(32), b"x", 1.0)
        (settle,) = self.alice.settled()
        self.assertEqual(settle.token, 5)
        self.assertIsInstance(settle.error, UnknownPeer)
        self.assertEqual(self.alice.flooded, [])

    def test_too_many(self) -> None:
        """4,096 in flight; the next fails at once, and one that is over makes room."""
        for token in range(MAX_WAITING):
            self.alice.send(BOB, timeout=1.0 if token == 7 else 100.0, token=token)
        self.alice.context.actions.clear()
        self.alice.direct.send(-1, BOB.node_id, b"x", 1.0)
        (settle,) = self.alice.settled()
        self.assertIsInstance(settle.error, DeliveryTimeout)
        self.alice.context.now = 1.0
        self.alice.direct.tick()
        self.assertEqual([settle.token for settle in self.alice.settled()], [7])
        self.alice.send(BOB)


class ReceiveTests(Case):
    def test_delivered(self) -> None:
        """The recipient opens it, hands it to the application as direct, and keeps it."""
        envelope = self.alice.send(BOB, b"hello")
        self.assertTrue(self.bob.receive(envelope))
        (deliver,) = chosen(self.bob.context.actions, Deliver)
        self.assertEqual((deliver.author, deliver.entries), (ALICE.node_id, [("", b"hello")]))
        self.assertEqual((deliver.direct, deliver.late, deliver.history), (True, False, False))
        self.assertEqual((deliver.seq, deliver.epoch, deliver.hops), (1, envelope.epoch, 2))
        self.assertTrue(self.bob.mark_of(envelope))

    def test_for_somebody_else(self) -> None:
        """A relay neither opens nor keeps it, nor counts its sequence."""
        envelope = self.alice.send(BOB)
        self.assertFalse(self.carol.receive(envelope))
        self.assertEqual(self.carol.context.actions, [])
        self.assertIsNone(self.carol.sequences.judge(envelope, ALICE.node_id))

    def test_only_once(self) -> None:
        """Its numbers are a replay from then on."""
        envelope = self.alice.send(BOB)
        self.bob.receive(envelope)
        self.assertEqual(self.bob.sequences.judge(envelope, ALICE.node_id), "replay")

    def assert_not_opened(self, envelope: Envelope) -> None:
        self.assertTrue(self.bob.receive(envelope))
        self.assertEqual(self.bob.context.actions, [])
        self.assertEqual(self.bob.context.counters["rejected:malformed"], 1)
        self.bob.direct.stored(1 << 60)
        self.assertEqual(self.bob.flooded, [])

    def test_noise(self) -> None:
        """What does not open is counted and not acknowledged."""
        context = self.bob.context
        self.assert_not_opened(sealed(context, ALICE, kind=DIRECT, recipient=BOB.node_id, body=b"noise" * 20))

    def test_sealed_to_another(self) -> None:
        """What was sealed to Carol and addressed to Bob stays closed."""
        body = self.alice.send(CAROL).body
        self.assert_not_opened(sealed(self.bob.context, ALICE, kind=DIRECT, recipient=BOB.node_id, body=body))

    def test_lifted(self) -> None:
        """Carol puts Alice's sealed text under her own name: the plaintext says whose it is."""
        body = self.alice.send(BOB).body
        self.assert_not_opened(sealed(self.bob.context, CAROL, kind=DIRECT, recipient=BOB.node_id, body=body))

    def test_moved(self) -> None:
        """Nor does it fit under another sequence number or epoch of its own author."""
        original = self.alice.send(BOB)
        for change in ({"seq": 2}, {"epoch": original.epoch + 1}):
            self.bob = Side(BOB)
            values: dict[str, Any] = {"seq": original.seq, "epoch": original.epoch} | change
            moved = sealed(
                self.bob.context, ALICE, kind=DIRECT, recipient=BOB.node_id, body=original.body, **values
            )
            self.assert_not_opened(moved)

    def test_empty_plaintext(self) -> None:
        """Sealed nothing is no message."""
        body = seal(BOB.node_id, b"")
        self.assert_not_opened(sealed(self.bob.context, ALICE, kind=DIRECT, recipient=BOB.node_id, body=body))


class ReceiptTests(Case):
    def test_only_from_disk(self) -> None:
        """No receipt before the store said that it has the message, and then exactly one."""
        envelope = self.alice.send(BOB)
        self.bob.receive(envelope)
        mark = self.bob.mark_of(envelope)
        self.bob.direct.stored(mark - 1)
        self.assertEqual(self.bob.flooded, [])
        self.bob.direct.stored(mark)
        self.bob.direct.stored(mark)
        (receipt,) = self.bob.flooded
        self.assertEqual(
            (receipt.kind, receipt.author, receipt.recipient), (RECEIPT, BOB.node_id, ALICE.node_id)
        )
        self.assertEqual(receipt.body, envelope.id)
        self.assertEqual(receipt.expires_ms - receipt.created_ms, RECEIPT_LIFETIME_MS)

    def test_a_later_mark_covers_earlier_ones(self) -> None:
        """One `Stored` answers for everything up to its mark."""
        sent = [self.alice.send(BOB, token=token) for token in range(3)]
        for envelope in sent:
            self.bob.receive(envelope)
        self.bob.direct.stored(self.bob.mark_of(sent[1]))
        self.assertEqual([receipt.body for receipt in self.bob.flooded], [sent[0].id, sent[1].id])

    def test_acknowledged(self) -> None:
        """The sender hears the sequence number and how long it took."""
        receipt = self.deliver(self.alice.send(BOB, token=9))
        self.alice.context.actions.clear()
        self.alice.context.now = 0.25
        self.assertTrue(self.alice.receive(receipt))
        (settle,) = self.alice.settled()
        self.assertEqual((settle.token, settle.error), (9, None))
        self.assertEqual(settle.result, Acknowledged(self.alice.context.epoch, 1, 0.25))
        self.alice.context.now = self.alice.direct.deadline
        self.alice.direct.tick()
        self.assertEqual(self.alice.settled(), [])
        self.assertEqual(self.alice.direct.deadline, float("inf"))

    def test_from_anybody_else(self) -> None:
        """Carol cannot acknowledge for Bob, nor anybody what was never sent."""
        envelope = self.alice.send(BOB)
        self.alice.context.actions.clear()
        for body in (envelope.id, bytes(16), b"", b"x" * 40):
            forged = sealed(
                self.alice.context, CAROL, len(body) + 1, kind=RECEIPT, recipient=ALICE.node_id, body=body
            )
            self.assertTrue(self.alice.receive(forged))
        wrong = sealed(self.alice.context, BOB, kind=RECEIPT, recipient=ALICE.node_id, body=bytes(16))
        self.alice.receive(wrong)
        self.assertEqual(self.alice.settled(), [])
        self.assertEqual(self.alice.direct.deadline, 10.0)

    def test_twice(self) -> None:
        """A second receipt settles nothing more."""
        envelope = self.alice.send(BOB)
        receipt = self.deliver(envelope)
        self.alice.context.actions.clear()
        self.alice.receive(receipt)
        again = sealed(self.alice.context, BOB, 2, kind=RECEIPT, recipient=ALICE.node_id, body=envelope.id)
        self.alice.receive(again)
        self.assertEqual(len(self.alice.settled()), 1)


class TimeoutTests(Case):
    def test_never_silent(self) -> None:
        """After the timeout the sender hears why, and a receipt after that settles nothing."""
        receipt = self.deliver(self.alice.send(BOB, timeout=3.0, token=4))
        self.assertEqual(self.alice.direct.deadline, 3.0)
        self.alice.context.actions.clear()
        self.alice.context.now = 2.9
        self.alice.direct.tick()
        self.assertEqual(self.alice.settled(), [])
        self.alice.context.now = 3.0
        self.alice.direct.tick()
        (settle,) = self.alice.settled()
        self.assertEqual(settle.token, 4)
        self.assertIsInstance(settle.error, DeliveryTimeout)
        self.assertIn("no link", str(settle.error))
        self.alice.receive(receipt)
        self.assertEqual(self.alice.settled(), [])

    def test_says_that_it_is_linked(self) -> None:
        """A linked recipient that does not answer is another matter than one that is nowhere."""
        link_state(self.alice.context, 1, BOB)
        self.alice.send(BOB, timeout=1.0)
        self.alice.context.now = 1.0
        self.alice.direct.tick()
        self.assertIn("it is linked", str(self.alice.settled()[-1].error))

    def test_a_late_link(self) -> None:
        """When the recipient links up, it is sent what it has not acknowledged, the same envelope again."""
        first, second = self.alice.send(BOB, token=1), self.alice.send(BOB, token=2)
        self.alice.send(CAROL, token=3)
        self.alice.receive(self.deliver(first))
        self.alice.direct.link_up(BOB.node_id)
        self.assertEqual([envelope.id for envelope in self.alice.flooded], [second.id])


class BoundTests(Case):
    def come(self, author: int, seq: int, size: int = 1) -> Envelope:
        """A message of that author for Bob arrives."""
        sender = identity(100 + author)
        binding = struct.pack(">32s32sQQ", sender.node_id, BOB.node_id, WALL * 1000, seq)
        body = seal(BOB.node_id, binding + bytes(size))
        envelope = sealed(
            self.bob.context, sender, seq, kind=DIRECT, recipient=BOB.node_id, body=body, epoch=WALL * 1000
        )
        self.assertTrue(self.bob.receive(envelope))
        return envelope

    def receipt(self, author: int, seq: int) -> int:
        """The number of the receipt for such a message."""
        self.bob.direct.stored(self.bob.mark_of(self.come(author, seq)))
        return self.bob.flooded.pop().seq

    def test_authors_without_end(self) -> None:
        """T32: who was ever sent a receipt is not remembered for ever, and no number comes twice all the same."""
        self.patch(module, "MAX_RECIPIENTS", 4)
        self.assertEqual(self.receipt(0, 1), 1)
        for author in range(1, 7):
            first, second, third = (self.receipt(author, seq) for seq in (1, 2, 3))
            self.assertEqual([second, third], [first + 1, first + 2])
        self.assertGreater(self.receipt(0, 2), 3, "above all that were forgotten")
        self.assertEqual(self.receipt(6, 4), third + 1, "not forgotten")

    def test_room_in_the_store(self) -> None:
        """T33: what is sent to us takes a tenth of the store's quota at most; of more the oldest goes."""
        self.bob = Side(BOB, quota=400_000)
        came = [self.come(0, seq, 2000) for seq in range(1, 51)]
        kept = [record.id for record in chosen(self.bob.context.actions, EnvelopeKept)]
        self.assertEqual(kept, [envelope.id for envelope in came])
        dropped = [key for drop in chosen(self.bob.context.actions, EnvelopesDropped) for key in drop.ids]
        self.assertEqual(dropped, kept[: len(dropped)])
        left = sum(len(envelope.raw) for envelope in came[len(dropped) :])
        self.assertTrue(35_000 < left <= 40_000, left)
        born = Side(BOB, quota=400_000)
        held = [
            IndexEntry(each.id, each.created_ms, each.expires_ms, each.author, len(each.raw), DIRECT)
            for each in came[len(dropped) :]
        ]
        born.direct.load([IndexEntry(bytes(16), 1, 2, bytes(32), 1000), *held])
        self.bob = born
        self.come(0, 51, 2000)
        self.assertEqual(chosen(born.context.actions, EnvelopesDropped), [EnvelopesDropped([held[0].id])])
