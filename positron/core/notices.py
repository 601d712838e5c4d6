"""What the application is told of its node: what `node.events()` yields. Frozen, keyword-only, and without a way back.

Node ids are in text form. The core says each inside the action `Emit`, in the order in which things happened.
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import field, frozen


@frozen(kw_only=True)
class PeerUp:
    """A link to `node_id` (text form) is up; `direction` is `in` or `out`."""

    node_id: str
    address: str
    direction: str


@frozen(kw_only=True)
class PeerDown:
    """The last link to `node_id` is down; `reason` says why in a few words."""

    node_id: str
    reason: str


@frozen(kw_only=True)
class TrustChanged:
    """The first-hand score of `node_id` moved by something worth telling (offences, bans, verdicts)."""

    node_id: str
    old: float
    new: float
    cause: str


@frozen(kw_only=True)
class Gap:
    """Messages `first_seq .. last_seq` of `author` in `epoch` did not come in time; delivery goes on behind them."""

    author: str
    epoch: int
    first_seq: int
    last_seq: int


@frozen(kw_only=True)
class Recovered:
    """Messages of an announced gap came after all, delivered with `late=True`."""

    author: str
    epoch: int
    first_seq: int
    last_seq: int


@frozen(kw_only=True)
class Lagged:
    """A subscriber or stream was too slow: `skipped` messages are no longer in its memory."""

    topic: str
    skipped: int


@frozen(kw_only=True)
class Refused:
    """A neighbour refused something of ours: a link (WELCOME) or an envelope (REFUSED), and why."""

    node_id: str
    reason: str
    address: str = ""
    id: str = ""


@frozen(kw_only=True)
class ClockSkewed:
    """Our wall clock is `seconds` ahead of the median of our peers' (negative: behind)."""

    seconds: float


@frozen(kw_only=True)
class Ready:
    """The node is bound, its key and its store are open."""

    node_id: str
    address: str = field(default="")


Notice: TypeAlias = (
    PeerUp | PeerDown | TrustChanged | Gap | Recovered | Lagged | Refused | ClockSkewed | Ready
)
