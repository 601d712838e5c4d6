"""The links of a node, as every part of the core sees them.

The overlay opens, judges and ends links and is the only one to change a link's `state`; the other parts keep what
they know about a link on it (`gossip`, `sync`, ...), so that all of it goes when the link goes.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define, field

from positron.core.messages import Hello

GREETING, UP, CLOSING = "greeting", "up", "closing"
MAX_PINGS = 16
"""Unanswered PINGs remembered per link; the oldest is forgotten first."""


@define(eq=False)
class Link:
    """One authenticated channel to a peer. Times are in seconds of `now`; `rtt` is None until measured."""

    number: int
    node_id: bytes
    outbound: bool
    address: str
    group: str
    binding: bytes
    since: float
    state: str = GREETING
    hello: Hello | None = None
    up_since: float = 0.0
    last_heard: float = 0.0
    rtt: float | None = None
    offence_at: float = float("-inf")
    paused: bool = False
    messages_in: int = 0
    messages_out: int = 0
    unknown: int = 0
    """Messages of a later protocol that it sent before it was up."""
    probe: bool = False
    """We dialled it to see whether others hear what we do not, and for nothing else (`overlay.quiet`)."""
    agreed_at: float = float("-inf")
    """When an exchange of sets last ended, and it held nothing that we lack."""
    last_useful: float = 0.0
    """When it last brought an envelope first: what eviction protects."""
    pings: dict[int, float] = field(factory=dict)
    """When each unanswered PING was sent, by its nonce; at most `MAX_PINGS`."""

    def on_probation(self, now: float) -> bool:
        """Younger than 60 s, or an offence in the last 60 s."""
        return now - self.up_since < 60.0 or now - self.offence_at < 60.0


class Links:
    """Every link by its number, and the one that is up by node id."""

    def __init__(self) -> None:
        self.all: dict[int, Link] = {}
        self.up: dict[bytes, Link] = {}

    def __iter__(self) -> Iterator[Link]:
        """The links that are up, oldest first."""
        return iter(self.up.values())

    def __len__(self) -> int:
        return len(self.up)

    def get(self, number: int) -> Link | None:
        """The link of that number, whatever its state."""
        return self.all.get(number)
