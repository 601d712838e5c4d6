"""What follows from what a peer did: scores moved, links cut, ids banned, the application told, rows kept.

Rule: blame the link, never the name on a message; and only what is proven costs anything.
"""

from __future__ import annotations

from positron.core.context import Context
from positron.core.envelope import Envelope
from positron.core.identity import to_text
from positron.core.links import UP, Link
from positron.core.notices import TrustChanged
from positron.core.overlay import Overlay
from positron.core.trust import Trust
from positron.errors import MessageError

MAX_UNKNOWN = 64
"""Messages of a later protocol that a link may send before it is up: no budget holds it back until then."""

KEEP_EVERY = 1.0
"""Seconds between two handings of audit rows to the store."""


class Conduct:
    """Joins trust and overlay. The owner calls `tick` at `deadline`."""

    def __init__(self, context: Context, trust: Trust, overlay: Overlay) -> None:
        self._context = context
        self._trust = trust
        self._overlay = overlay
        self.deadline = context.now

    def useful(self, link: Link, envelope: Envelope) -> None:
        """The link was the first to bring a valid envelope."""
        self._trust.useful(link.node_id, envelope.author, self._context.wall)
        self._overlay.news(link)

    def violation(self, link: Link, cause: str) -> None:
        """The link broke the protocol: cut it at once and ban its id."""
        old = self._first_hand(link.node_id)
        link.offence_at = self._context.now
        self._overlay.violation(link, cause)
        self._changed(link.node_id, old, cause)

    def unknown(self, link: Link) -> None:
        """The link sent what a later protocol may know: counted, and no fault but in a greeting that never ends."""
        self._context.count("unknown_messages")
        if link.state != UP:
            link.unknown += 1
            if link.unknown > MAX_UNKNOWN:
                raise MessageError("no greeting")

    def broken_promise(self, link: Link) -> None:
        """The link announced what it did not give; not charged while we suspect ourselves."""
        old = self._first_hand(link.node_id)
        if self._overlay.self_suspicion or not self._trust.broken_promise(link.node_id, self._context.wall):
            return
        link.offence_at = self._context.now
        self._context.count("broken_promises")
        self._changed(link.node_id, old, "promise")
        self._hang_up_if_banned(link.node_id)

    def set_score(self, node_id: bytes, score: float) -> None:
        """The operator's verdict on a score."""
        old = self._first_hand(node_id)
        self._trust.set_score(node_id, score, self._context.wall)
        self._changed(node_id, old, "operator")
        self._hang_up_if_banned(node_id)

    def tick(self) -> None:
        """Hand what changed to the store."""
        self.deadline = self._context.now + KEEP_EVERY
        self.keep(self._context.wall)

    def keep(self, wall: float) -> None:
        """Hand the rows of minutes that are over at `wall` to the store; infinity for all of them."""
        for row in self._trust.take_rows(wall):
            self._context.remember(row)
        for record in self._trust.take_records():
            self._context.remember(record)

    def _first_hand(self, node_id: bytes) -> float:
        return self._trust.first_hand(node_id, self._context.wall)

    def _hang_up_if_banned(self, node_id: bytes) -> None:
        link = self._context.links.up.get(node_id)
        if link is not None and self._trust.banned_until(node_id, self._context.wall) is not None:
            self._overlay.hang_up(link, "banned")

    def _changed(self, node_id: bytes, old: float, cause: str) -> None:
        new = self._first_hand(node_id)
        if new != old:
            self._context.emit(TrustChanged(node_id=to_text(node_id), old=old, new=new, cause=cause))
