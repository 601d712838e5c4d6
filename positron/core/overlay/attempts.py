"""One dial and one outbound slot, as values.

Rule: an attempt lives from its dial to the end of the link that came of it, so that whatever becomes of it is known to
be what it was made for.
"""

from __future__ import annotations

from math import inf

from attrs import define

from positron.core.links import Link

BOOTSTRAP, ANCHOR, SLOT, LOST, OPERATOR = "bootstrap", "anchor", "slot", "lost", "operator"
FEELER, PROBE = "feeler", "probe"
BESIDE = frozenset({FEELER, PROBE})
"""What is dialled beside the slots, for a moment; a probe may stay as a bridge."""


@define(eq=False)
class Slot:
    """One outbound slot; `seed` is empty in a stable one. Times are seconds of `now`."""

    seed: bytes = b""
    reseed_at: float = inf
    link: Link | None = None


@define(eq=False)
class Attempt:
    """One dial, until its link ends: why it was made and which slot it is to fill."""

    address: str
    purpose: str
    node_id: bytes | None = None
    slot: Slot | None = None
    replaces: Link | None = None
