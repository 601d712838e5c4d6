"""The judgement of an envelope, the cheapest question first (docs/protocol.rst).

lengths and ranges -> created and expiry -> id seen? -> (author, epoch, seq) new? -> verify -> decode under limits ->
membership and author. An overlapping sequence is verified too, since only a signed one is worth a stub. Nothing is
remembered of an envelope whose signature did not hold, so a forged copy suppresses
nothing.
"""

from __future__ import annotations

from attrs import define

from positron.core.context import Context
from positron.core.envelope import BROADCAST, MAX_FUTURE_MS, Entry, Envelope, decode_entries
from positron.core.gossip.holdings import Holdings
from positron.core.gossip.state import LinkGossip
from positron.core.records import StateKept
from positron.core.sequences import Sequences
from positron.errors import EnvelopeError

VIOLATIONS = ("malformed", "signature")
"""Reasons that no correct neighbour can cause: it verifies before it relays."""

STUBBED = ("replay", "member", "equivocation")
"""Reasons found after the signature held that stand for ever: a stub takes the envelope's place in the index."""

TOLD = ("future", "expired", "old", "quota", "member", "equivocation")
"""Reasons that an author hears as REFUSED on its own link."""

MAX_MUTED = 256
"""Authors muted at once; of more, those muted longest ago are heard again."""


@define
class Verdict:
    """`reason` None: accepted, and `entries` are its messages (none for a sealed one)."""

    reason: str | None
    envelope: Envelope | None = None
    entries: list[Entry] | None = None
    conflict: Envelope | None = None
    """For `equivocation`: the accepted envelope that claims the same numbers."""


class Acceptance:
    """Judges envelopes; changes nothing but the list of muted authors."""

    def __init__(self, context: Context, holdings: Holdings, sequences: Sequences) -> None:
        self._context = context
        self._holdings = holdings
        self._sequences = sequences
        self.muted: dict[bytes, float] = {}
        """Authors that equivocated, and until when (seconds of the wall clock) they are not heard."""

    def load(self, state: dict[str, str]) -> None:
        """Take over who was muted when the store was written."""
        for item in filter(None, state.get("muted", "").split(",")):
            author, _, until = item.partition(":")
            self.muted[bytes.fromhex(author)] = float(until)

    def judge(self, state: LinkGossip, raw: bytes) -> Verdict:
        """What to do with an envelope that came on this link."""
        sealer = self._context.sealer
        envelope_id = sealer.envelope_id(raw)
        recent = self._holdings.recent.get(envelope_id)
        if recent is not None:  # two of three pushes: the id says that all but the signature is the same
            return Verdict("duplicate", recent.envelope)
        try:
            envelope = sealer.parse(raw, envelope_id)
        except EnvelopeError as error:
            return Verdict(error.reason)
        reason = self._timely(envelope)
        if reason is not None:
            return Verdict(reason, envelope)
        if self._holdings.is_known(envelope.id):
            return Verdict("duplicate", envelope)
        asked = envelope.id in state.wanted
        reason = self._sequences.judge(envelope, state.link.node_id, exempt=asked)
        if reason is not None and reason != "replay":
            return Verdict(reason, envelope)
        return self._verified(envelope, reason)

    def _timely(self, envelope: Envelope) -> str | None:
        now_ms = self._context.wall_ms
        if envelope.created_ms > now_ms + MAX_FUTURE_MS:
            return "future"
        if envelope.expires_ms <= now_ms:
            return "expired"
        if envelope.created_ms < self._holdings.floor_ms:
            return "old"
        return None

    def _verified(self, envelope: Envelope, reason: str | None) -> Verdict:
        if not self._context.verify(
            envelope.author, self._context.sealer.signed_bytes(envelope), envelope.signature
        ):
            return Verdict("signature", envelope)
        try:
            entries = decode_entries(envelope) if envelope.kind == BROADCAST else None
        except EnvelopeError as error:
            return Verdict(error.reason, envelope)
        members = self._context.parameters.members
        if (
            members is not None
            and envelope.author not in members
            and envelope.author != self._context.me.node_id
        ):
            return Verdict("member", envelope)
        if self.muted and self.is_muted(envelope.author):
            return Verdict("equivocation", envelope)
        if reason == "replay" and envelope.kind == BROADCAST:
            conflict = self._holdings.overlapping(envelope)
            if conflict is not None:
                return Verdict("equivocation", envelope, conflict=conflict)
        return Verdict(reason, envelope, entries)

    def is_muted(self, author: bytes) -> bool:
        """Whether this author equivocated lately."""
        until = self.muted.get(author)
        return until is not None and until > self._context.wall

    def mute(self, author: bytes) -> None:
        """Hear nothing of this author for the retention."""
        if len(self.muted) >= MAX_MUTED:
            del self.muted[min(self.muted, key=lambda key: self.muted[key])]
        self.muted[author] = self._context.wall + self._context.parameters.retention
        muted = ",".join(f"{key.hex()}:{until:.0f}" for key, until in self.muted.items())
        self._context.remember(StateKept("muted", muted))

    def evidence(self, first: bytes, second: bytes) -> Envelope | None:
        """One of two envelopes that together prove an equivocation; None if they prove nothing."""
        try:
            one, two = self._context.sealer.parse(first), self._context.sealer.parse(second)
        except EnvelopeError:
            return None
        same = (one.author, one.kind, one.recipient, one.epoch) == (
            two.author,
            two.kind,
            two.recipient,
            two.epoch,
        )
        if not same or one.id == two.id or one.seq > two.last_seq or two.seq > one.last_seq:
            return None
        for envelope in (one, two):
            if not self._context.verify(
                envelope.author, self._context.sealer.signed_bytes(envelope), envelope.signature
            ):
                return None
        return one
