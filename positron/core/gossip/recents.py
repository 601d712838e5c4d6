"""The envelopes of the last seconds, in memory, and who claims which numbers in them."""

from __future__ import annotations

from attrs import define, field

from positron.core.context import Context
from positron.core.envelope import AUTHOR_TO_EPOCH, AUTHOR_TO_SEQ, BROADCAST, MAX_BUNDLE, Envelope

RECENT_SECONDS = 10.0
RECENT_BYTES = 12 * 1024 * 1024
"""Envelopes kept in memory, whatever the store does: of the last `RECENT_SECONDS`, up to so many bytes."""

RECENT_OVERHEAD = 1000
"""What one of them takes beside its bytes: objects, two sets, its place (measured). Of a short one that is most."""


@define(eq=False)
class Spread:
    """How an envelope is spreading. `shown`: links that showed it; `told`: that we told.

    `bearer` is the link that brought it, if one did.

    Whoever looks at it seconds later keeps this alone: in a flood the envelopes of three seconds are tens of MiB.
    """

    id: bytes
    first: float
    shown: set[int] = field(factory=set)
    told: set[int] = field(factory=set)
    bearer: int = 0


@define(eq=False)
class Recent:
    """An envelope of the last seconds, in memory."""

    envelope: Envelope
    hops: int
    spread: Spread


class Recents:
    """The last ones by id, oldest first. The owner calls `trim` about once a second."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.by_id: dict[bytes, Recent] = {}
        self._bytes = 0
        self._claims: dict[bytes, bytes] = {}
        """The ids of the BROADCASTs by author, epoch and first number, as they stand in the header. Of bytes alone, so
        that no garbage collection looks at it: with one more object for each envelope a full one comes sooner."""

    def add(self, envelope: Envelope, hops: int) -> Recent:
        """One more."""
        recent = Recent(envelope, hops, Spread(envelope.id, self._context.now))
        self.by_id[envelope.id] = recent
        if envelope.kind == BROADCAST:
            self._claims[envelope.raw[AUTHOR_TO_SEQ]] = envelope.id
        self._bytes += len(envelope.raw) + RECENT_OVERHEAD
        if self._bytes > RECENT_BYTES:
            self.trim()
        return recent

    def overlapping(self, envelope: Envelope) -> Envelope | None:
        """A BROADCAST here that claims numbers of this one, other than itself.

        Whoever signs its numbers again and again has us ask that for each, so it must not take a look at all of them.
        """
        run = envelope.raw[AUTHOR_TO_EPOCH]
        for seq in range(envelope.last_seq, max(0, envelope.seq - MAX_BUNDLE), -1):
            found = self._claims.get(run + seq.to_bytes(8, "big"))
            if found is not None and found != envelope.id:
                other = self.by_id[found].envelope
                if other.last_seq >= envelope.seq:
                    return other
        return None

    def trim(self) -> None:
        """Let go of what is over 10 s old, and of the oldest while there is too much."""
        edge = self._context.now - RECENT_SECONDS
        while self.by_id:
            envelope_id, recent = next(iter(self.by_id.items()))
            if recent.spread.first > edge and self._bytes <= RECENT_BYTES:
                break
            self.discard(envelope_id)

    def discard(self, envelope_id: bytes) -> None:
        """Let go of this one, if it is here."""
        recent = self.by_id.pop(envelope_id, None)
        if recent is not None:
            envelope = recent.envelope
            self._bytes -= len(envelope.raw) + RECENT_OVERHEAD
            if envelope.kind == BROADCAST:
                self._claims.pop(envelope.raw[AUTHOR_TO_SEQ], None)
