"""Direct messages: sealed to one node, acknowledged by it, over the link if there is one, else flooded.

The plaintext begins with author, recipient, epoch and seq and is checked against the header, so a sealed text cannot
be lifted into another header. A RECEIPT is signed by the recipient and sent once the message is on disk. The sender
and the recipient keep a message; relays carry it for seconds, by PUSH only, and never announce it. That the
recipient's id and the size are public is said in the docs.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterable

from attrs import define

from positron.core.context import Context
from positron.core.envelope import BROADCAST, DIRECT, MAX_LIFETIME_MS, RECEIPT, Envelope
from positron.core.events import Deliver, Settle
from positron.core.identity import seal
from positron.core.records import EnvelopeKept, EnvelopesDropped, IndexEntry
from positron.core.sequences import Sequences
from positron.errors import DeliveryTimeout, UnknownPeer

_BINDING = struct.Struct(">32s32sQQ")
RECEIPT_LIFETIME_MS = 60_000
MAX_RECEIPTS = 1024
"""Receipts kept, to be given again to a sender that asks again."""

MAX_RECIPIENTS = 10_000
"""Nodes whose next sequence number is remembered. Anybody can send us a message, and so have a receipt."""

STORE_SHARE = 0.1
"""The share of the quota for what was sent to us and by us; of more the oldest goes, for nothing reads it again. Else
whoever sends us enough would take the room of everybody's broadcasts."""

MAX_WAITING = 4096
"""Direct messages in flight from this node; beyond it `send` fails at once."""


@define
class _Sent:
    token: int
    at: float
    due: float
    seq: int
    envelope: Envelope


@define
class Acknowledged:
    """The result of a `SendDirect`: the recipient has it on disk. `seq` counts per recipient."""

    epoch: int
    seq: int
    rtt: float


class Direct:
    """Sends, receives and acknowledges sealed messages. The owner calls `tick` at `deadline`."""

    def __init__(
        self,
        context: Context,
        sequences: Sequences,
        flood: Callable[[Envelope], None],
    ) -> None:
        """`flood` sends an envelope of our own: over the recipient's link, else to every link."""
        self._context = context
        self._sequences = sequences
        self._flood = flood
        self._next_seq: dict[tuple[int, bytes], int] = {}
        self._forgotten_seq = 0
        self._kept: deque[tuple[bytes, int]] = deque()
        self._kept_bytes = 0
        self._sent: dict[bytes, _Sent] = {}
        self._unstored: dict[int, Envelope] = {}
        self._receipts: dict[bytes, Envelope] = {}
        self.deadline = float("inf")
        """When the next sender gives up waiting; it may be early, never late."""

    def load(self, entries: Iterable[IndexEntry]) -> None:
        """Take over what the store held."""
        for entry in entries:
            if entry.kind != BROADCAST and entry.size:
                self._kept.append((entry.id, entry.size))
                self._kept_bytes += entry.size

    def send(self, token: int, recipient: bytes, payload: bytes, timeout: float) -> None:
        """Seal `payload` to `recipient` and send it; settles `token` on its receipt or after `timeout` seconds."""
        context = self._context
        if len(self._sent) >= MAX_WAITING:
            context.actions.append(
                Settle(token, error=DeliveryTimeout("too many direct messages are in flight"))
            )
            return
        seq = self._sequence(DIRECT, recipient)
        binding = _BINDING.pack(context.me.node_id, recipient, context.epoch, seq)
        try:
            body = seal(recipient, binding + payload)
        except ValueError:
            context.actions.append(Settle(token, error=UnknownPeer("that is not the id of any node")))
            return
        lifetime = min(max(1, int(timeout * 1000)), MAX_LIFETIME_MS)
        envelope = self._seal(DIRECT, recipient, seq, body, lifetime)
        due = context.now + timeout
        self._sent[envelope.id] = _Sent(token, context.now, due, seq, envelope)
        self.deadline = min(self.deadline, due)
        self._remember(envelope)
        self._flood(envelope)

    def _sequence(self, kind: int, recipient: bytes) -> int:
        """The next number. Of a recipient that was forgotten it is above all that were, so that none comes twice."""
        seq = self._next_seq.pop((kind, recipient), self._forgotten_seq) + 1
        self._next_seq[kind, recipient] = seq
        if len(self._next_seq) > MAX_RECIPIENTS:
            oldest = next(iter(self._next_seq))
            self._forgotten_seq = max(self._forgotten_seq, self._next_seq.pop(oldest))
        return seq

    def _seal(self, kind: int, recipient: bytes, seq: int, body: bytes, lifetime_ms: int) -> Envelope:
        context = self._context
        return context.sealer.seal(
            context.me,
            kind,
            epoch=context.epoch,
            seq=seq,
            created_ms=context.wall_ms,
            expires_ms=context.wall_ms + lifetime_ms,
            ttl=context.parameters.ttl,
            body=body,
            recipient=recipient,
        )

    # --------------------------------------------------------------------------------------------- receiving

    def received(self, envelope: Envelope, hops: int, introduced_by: bytes) -> bool:
        """A verified sealed envelope came. True if it was for us; it is not to be relayed then.

        Messages that cannot be opened or whose plaintext belongs to another header are counted as malformed; the
        link is not to blame, for it cannot look inside.
        """
        if envelope.recipient != self._context.me.node_id:
            return False
        self._sequences.accept(envelope, [], hops, introduced_by, live=True)
        if envelope.kind == RECEIPT:
            self._acknowledged(envelope)
        else:
            self._open(envelope, hops)
        return True

    def _open(self, envelope: Envelope, hops: int) -> None:
        context = self._context
        plaintext = context.me.open_sealed(envelope.body)
        binding = _BINDING.pack(envelope.author, envelope.recipient, envelope.epoch, envelope.seq)
        if plaintext is None or not plaintext.startswith(binding):
            context.count("rejected:malformed")
            return
        payload = plaintext[len(binding) :]
        context.count("direct_received")
        context.actions.append(
            Deliver(
                envelope.author,
                envelope.epoch,
                envelope.seq,
                envelope.created_ms,
                context.wall,
                hops,
                [("", payload)],
                direct=True,
            )
        )
        mark = self._remember(envelope, hops)
        self._unstored[mark] = envelope

    def _remember(self, envelope: Envelope, hops: int = 0) -> int:
        context = self._context
        mark = context.next_mark()
        context.remember(
            EnvelopeKept(
                envelope.id,
                envelope.raw,
                envelope.author,
                envelope.kind,
                envelope.epoch,
                envelope.seq,
                envelope.count,
                envelope.created_ms,
                envelope.expires_ms,
                context.wall,
                hops,
                (),
                envelope.recipient,
            ),
            mark,
        )
        self._kept.append((envelope.id, len(envelope.raw)))
        self._kept_bytes += len(envelope.raw)
        while self._kept_bytes > STORE_SHARE * context.parameters.quota:
            oldest, size = self._kept.popleft()
            self._kept_bytes -= size
            context.remember(EnvelopesDropped([oldest]))
        return mark

    def stored(self, mark: int) -> None:
        """Everything up to `mark` is on disk: acknowledge what that covers."""
        for key in [key for key in self._unstored if key <= mark]:
            envelope = self._unstored.pop(key)
            seq = self._sequence(RECEIPT, envelope.author)
            receipt = self._seal(RECEIPT, envelope.author, seq, envelope.id, RECEIPT_LIFETIME_MS)
            if len(self._receipts) >= MAX_RECEIPTS:
                del self._receipts[next(iter(self._receipts))]
            self._receipts[envelope.id] = receipt
            self._flood(receipt)

    def repeated(self, envelope: Envelope) -> None:
        """Its author sent it again over its own link: the receipt got lost, give it again."""
        receipt = self._receipts.get(envelope.id)
        if receipt is not None:
            self._flood(receipt)

    def _acknowledged(self, receipt: Envelope) -> None:
        sent = self._sent.get(receipt.body)
        if sent is None or sent.envelope.recipient != receipt.author:
            return
        del self._sent[receipt.body]
        self._context.actions.append(
            Settle(sent.token, Acknowledged(self._context.epoch, sent.seq, self._context.now - sent.at))
        )

    def link_up(self, node_id: bytes) -> None:
        """A link to this node is up: send it what it has not acknowledged; it knows what it has by the id."""
        for sent in self._sent.values():
            if sent.envelope.recipient == node_id:
                self._flood(sent.envelope)

    def tick(self) -> None:
        """Tell senders whose time is over."""
        now = self._context.now
        for key in [key for key, sent in self._sent.items() if sent.due <= now]:
            sent = self._sent.pop(key)
            linked = sent.envelope.recipient in self._context.links.up
            why = (
                "it is linked but did not answer"
                if linked
                else "there is no link to it, and no relay reached it"
            )
            self._context.actions.append(Settle(sent.token, error=DeliveryTimeout(f"no receipt: {why}")))
        self.deadline = min((sent.due for sent in self._sent.values()), default=float("inf"))
