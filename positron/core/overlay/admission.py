"""Who may stay when there is no room: how many links, whom a newcomer replaces, and addresses that misbehave.

Rule: the node that asks to come in decides nothing about who goes. What an attacker cannot buy at once (age, nearness,
usefulness) protects a link; what it can buy (many addresses of one group) makes it the one to go.
"""

from __future__ import annotations

from collections import Counter, OrderedDict

from positron.core.addresses import AddressBook, host_of, is_private
from positron.core.context import Context
from positron.core.links import Link
from positron.core.overlay.judge import Judge

MAX_OUTBOUND = 8
DOUBTFUL = 0.3
"""A first-hand score below this goes first (docs/security.rst)."""

PROTECTED_OLDEST, PROTECTED_NEAREST, PROTECTED_USEFUL = 12, 8, 8

VIOLATORS_TO_REFUSE = 3
VIOLATION_WINDOW = 600.0
REFUSAL_SECONDS = 600.0
MAX_ADDRESSES_WATCHED = 1024


class Admission:
    """The capacity of one node: `max_peers` links in all, outbound min(8, max_peers // 2), inbound the rest."""

    def __init__(self, context: Context, book: AddressBook, trust: Judge) -> None:
        self._context = context
        self._book = book
        self._trust = trust
        parameters = context.parameters
        share = min(MAX_OUTBOUND, parameters.max_peers // 2)
        self.inbound_limit = parameters.max_peers - share
        self.outbound_limit = share if parameters.discovery else parameters.max_peers
        """Without discovery every link that we dial is one that the operator named."""
        self._violators: OrderedDict[str, dict[bytes, float]] = OrderedDict()
        self._refused_until: OrderedDict[str, float] = OrderedDict()

    def outbound_wanted(self) -> int:
        """How many links to dial for: one fewer than may be, once inbound is full and has no more places than that.

        If every node dialled as many as it lets in, a few could fill each other up, and nobody else would find room.
        Of an even `max_peers` up to 16 somebody's place has to stay empty.
        """
        if self.inbound_limit != self.outbound_limit:
            return self.outbound_limit
        inbound = sum(1 for link in self._context.links if not link.outbound)
        return self.outbound_limit - (inbound >= self.inbound_limit)

    def has_room(self, link: Link) -> bool:
        """Whether this link, not up yet, would be let in now, maybe at the cost of another."""
        if link.outbound:
            return len(self._context.links) < self._context.parameters.max_peers
        return self._within_address_limits(link) and self.victim(link) is not link

    def _within_address_limits(self, link: Link) -> bool:
        """Inbound links per address and per group, public ones only (docs/security.rst)."""
        limits = self._context.parameters.limits
        host = host_of(link.address)
        if is_private(host):
            return True
        inbound = [other for other in self._context.links if not other.outbound]
        same_host = sum(1 for other in inbound if host_of(other.address) == host)
        same_group = sum(1 for other in inbound if other.group == link.group)
        return (limits.inbound_address is None or same_host < limits.inbound_address) and (
            limits.inbound_group is None or same_group < limits.inbound_group
        )

    def victim(self, newcomer: Link) -> Link | None:
        """Who goes so that the inbound `newcomer` can be up: None (there is room), another, or itself."""
        inbound = [link for link in self._context.links if not link.outbound]
        full = len(self._context.links) >= self._context.parameters.max_peers
        if len(inbound) < self.inbound_limit and not full:
            return None
        first_hand, wall = self._trust.first_hand, self._context.wall
        worst = min([newcomer, *inbound], key=lambda link: first_hand(link.node_id, wall))
        if first_hand(worst.node_id, wall) < DOUBTFUL:
            return worst
        candidates = [*self._unprotected(inbound), newcomer]
        sizes = Counter(link.group for link in candidates)
        largest = max(sizes.values())
        return next(link for link in reversed(candidates) if sizes[link.group] == largest)

    def _unprotected(self, inbound: list[Link]) -> list[Link]:
        """Those that age, nearness and usefulness do not protect, oldest first.

        A link on probation is protected by its age only: the other two are too easily had for a moment.
        """
        now = self._context.now
        rest = sorted(inbound, key=lambda link: link.up_since)[PROTECTED_OLDEST:]
        proven = [link for link in rest if not link.on_probation(now)]
        near = [link for link in proven if link.rtt is not None]
        near.sort(key=lambda link: link.rtt or 0.0)
        safe = set(near[:PROTECTED_NEAREST])
        useful = [link for link in proven if link.last_useful > 0.0 and link not in safe]
        useful.sort(key=lambda link: -link.last_useful)
        safe.update(useful[:PROTECTED_USEFUL])
        return [link for link in rest if link not in safe]

    # --------------------------------------------------------------------------- addresses that misbehave

    def note_violation(self, link: Link) -> None:
        """A node broke the protocol on this link. Three ids from one public address within ten minutes, and ids
        that we do not know are refused from it for ten minutes."""
        host = host_of(link.address)
        if is_private(host):
            return
        now = self._context.now
        recent = {
            node_id: time
            for node_id, time in self._violators.pop(host, {}).items()
            if now - time < VIOLATION_WINDOW
        }
        recent[link.node_id] = now
        self._violators[host] = recent
        while len(self._violators) > MAX_ADDRESSES_WATCHED:
            self._violators.popitem(last=False)
        if len(recent) >= VIOLATORS_TO_REFUSE:
            del self._violators[host]
            self._refused_until.pop(host, None)
            self._refused_until[host] = now + REFUSAL_SECONDS
            while len(self._refused_until) > MAX_ADDRESSES_WATCHED:
                self._refused_until.popitem(last=False)

    def refuses(self, link: Link) -> bool:
        """Whether this link comes from such an address and its node is not one that we have dialled before."""
        until = self._refused_until.get(host_of(link.address))
        if until is None:
            return False
        if until <= self._context.now:
            del self._refused_until[host_of(link.address)]
            return False
        entry = self._book.get(link.node_id)
        return entry is None or not entry.kept.tried
