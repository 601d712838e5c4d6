"""Pushing to more links than asked for it, near the author.

There are no duplicates near the author, so flooding there buys latency for nothing. The author itself always pushes to
up to 16 links: whoever has not heard of an envelope has asked nobody for it. How far it pays beyond that depends on the
size of the network, which nobody knows: so every node measures, per hop, which share of the pushes that others sent
it unasked was waste, and floods up to 16 links at a hop while that share is low, none above 0.65. The rule finds the
depth by itself (docs/design.rst, Figures).
"""

from __future__ import annotations

from positron.core.context import Context
from positron.core.gossip.state import LinkGossip

MAX_HOPS = 4
MAX_LINKS = 16
NONE_ABOVE = 0.65
"""The share of waste at a hop from which nobody floods."""

FULL_BELOW, FULL_BELOW_SPARING = 0.55, 0.45
"""The share below which all 16 get it; the second for a node of fewer than three sources, which chose to have fewer
copies."""

FIRST, FIRST_LATER = 0.6, 0.63
"""The waste of the first hop and of the later ones, while nothing is known of them."""

WEIGHT = 0.1
"""How much one push counts in the measured waste of its hop."""

FADE = 0.998
"""What is left of the measured waste of a hop with each envelope there, so that it is tried again."""

UNKNOWN, UNKNOWN_WEIGHT = 0.75, 0.01
"""Nobody tells us what became of a push of ours. Each counts a little, as more waste than we would go on with: who
sees few pushes of others, and so learns nothing, explores now and then instead of flooding for ever."""


class Flood:
    """The measured waste by hop, and what follows from it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._waste = [0.0, FIRST, *[FIRST_LATER] * (MAX_HOPS - 1)]
        self._full_below = FULL_BELOW if context.parameters.fanout > 2 else FULL_BELOW_SPARING

    def measure(self, hops: int, duplicate: bool) -> None:
        """A link that is no source of ours pushed an envelope that had crossed `hops` links before."""
        if 0 < hops <= MAX_HOPS:
            self._waste[hops] += ((1.0 if duplicate else 0.0) - self._waste[hops]) * WEIGHT

    def choose(self, links: list[LinkGossip], hops: int, already: int) -> list[LinkGossip]:
        """Which of `links` to push an envelope to that crossed `hops` links and goes to `already` links anyway."""
        if hops > MAX_HOPS:
            return []
        if not links:
            self._waste[hops] *= FADE
            return []
        room = MAX_LINKS if hops == 0 else self._room(hops)
        room -= already
        if room <= 0:
            return []
        if len(links) > room:
            links = self._context.rng.sample(links, room)
        if hops:
            share = 1 - (1 - UNKNOWN_WEIGHT) ** len(links)
            self._waste[hops] += (UNKNOWN - self._waste[hops]) * share
        return links

    def _room(self, hops: int) -> int:
        self._waste[hops] *= FADE
        # No later hop is less wasteful than an earlier one, whatever a noisy measure says of it.
        waste = max(self._waste[: hops + 1])
        return int(MAX_LINKS * min(1.0, max(0.0, (NONE_ABOVE - waste) / (NONE_ABOVE - self._full_below))))
