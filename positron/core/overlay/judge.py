"""What the overlay asks of trust. The overlay decides whom to be linked to; trust decides what a peer has earned."""

from __future__ import annotations

from typing import Protocol


class Judge(Protocol):
    """The part of `positron.core.trust.Trust` that the overlay uses. `wall` is Unix seconds."""

    def first_hand(self, node_id: bytes, wall: float) -> float:
        """The first-hand score D, 0 to 1."""

    def score(self, node_id: bytes, wall: float) -> float:
        """Trust T, 0 to 1: it orders equal choices."""

    def banned_until(self, node_id: bytes, wall: float) -> float | None:
        """When its ban ends, or None (or a time that is past) if it is not banned."""

    def violation(self, node_id: bytes, cause: str, wall: float) -> float:
        """A breach of the protocol by this node's link: ban it; the seconds of the ban."""

    def ban(self, node_id: bytes, seconds: float, wall: float) -> None:
        """The operator bans it for more than 0 seconds."""

    def unban(self, node_id: bytes, wall: float) -> bool:
        """The operator lifts its ban; False if there was none."""

    def forget(self, node_id: bytes, wall: float) -> None:
        """Remove all that is known of it."""


def is_banned(trust: Judge, node_id: bytes, wall: float) -> bool:
    """Whether this node is banned at `wall`."""
    until = trust.banned_until(node_id, wall)
    return until is not None and until > wall
