"""Envelopes that all nodes of a world share: each reads the same bytes, and what comes of them is one object.

Rule: only the simulator uses this. A node decides and verifies as if it had read the bytes itself.
"""

from __future__ import annotations

from positron.core.envelope import Envelope, Sealer

ENVELOPES_READ = 65_536
"""So many envelopes a world remembers, the oldest are forgotten first."""


class SharingSealer(Sealer):
    """Reads envelopes as any other; of the same bytes it makes the same object, for all who share `known` (by id)."""

    def __init__(self, network_id: bytes, known: dict[bytes, Envelope]) -> None:
        super().__init__(network_id)
        self._known = known

    def parse(self, raw: bytes, envelope_id: bytes | None = None) -> Envelope:
        """See `Sealer.parse`."""
        envelope_id = envelope_id or self.envelope_id(raw)
        known = self._known.get(envelope_id)
        if known is not None and known.raw == raw:
            return known
        envelope = super().parse(raw, envelope_id)
        if known is None:
            self._known[envelope_id] = envelope
            if len(self._known) > ENVELOPES_READ:
                del self._known[next(iter(self._known))]
        return envelope
