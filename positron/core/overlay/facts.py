"""What others ask of the overlay: counts, addresses, clocks, doubts. Reading changes nothing."""

from __future__ import annotations

from positron.core.addresses import AddressBook, host_of, is_private
from positron.core.context import Context
from positron.core.limits import PROFILES, Limits
from positron.core.links import Link
from positron.core.overlay.clocks import Clocks
from positron.core.overlay.discovery import Discovery
from positron.core.overlay.liveness import Liveness
from positron.core.overlay.slots import Slots


class Facts:
    """The read-only side of `Overlay`, which sets what stands here."""

    _context: Context
    _book: AddressBook
    _slots: Slots
    _clocks: Clocks
    _discovery: Discovery
    _liveness: Liveness

    @property
    def known(self) -> int:
        """How many other nodes there are as far as we know, linked or not."""
        linked = sum(1 for node_id in self._context.links.up if node_id not in self._book)
        named = self._slots.bootstraps.unlinked()
        unmet = [item for item in named if item.node_id is None or item.node_id not in self._book]
        return len(self._book) + linked + len(unmet)

    @property
    def target(self) -> int:
        """How many links there should be at least."""
        return self._slots.target

    @property
    def suspects(self) -> frozenset[bytes]:
        """The ids of the linked nodes that have left a PING unanswered."""
        return frozenset(link.node_id for link in self._context.links if self._liveness.is_suspect(link))

    @property
    def outbound(self) -> int:
        """How many links that are up we dialled."""
        return sum(1 for link in self._context.links if link.outbound)

    @property
    def inbound(self) -> int:
        """How many links that are up the other side dialled."""
        return len(self._context.links) - self.outbound

    @property
    def self_suspicion(self) -> bool:
        """Whether silence may be our own fault at present, so that nobody is to be charged for it."""
        return self._liveness.self_suspicion

    @property
    def clock_skew(self) -> float:
        """Seconds that our wall clock is ahead of the median of our peers' (negative: behind)."""
        return self._clocks.skew

    @property
    def skewed_out(self) -> bool:
        """Whether our wall clock is so wrong that nobody would accept what we publish."""
        return self._clocks.skewed_out

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where we say that we can be reached."""
        return self._discovery.addresses

    @property
    def observed(self) -> list[str]:
        """The hosts at which our peers see us."""
        return self._discovery.observed

    def limits_for(self, link: Link) -> Limits:
        """The limits of this link: a private or loopback address gets those of `lan` at least."""
        limits = self._context.parameters.limits
        if self._context.parameters.profile == "wan" and is_private(host_of(link.address)):
            return PROFILES["lan"]
        return limits
