"""What gossip keeps about one link. All of it goes when the link goes, but for broken promises (`Puller`)."""

from __future__ import annotations

from collections import deque

from attrs import define, field

from positron.core.limits import Bucket, Limits
from positron.core.links import Link

WANT_WINDOW = 256 * 1024
"""Bytes that may be wanted of one link and not yet be here, counted at the link's mean envelope size."""

FIRST_MEAN = 1024.0
FIRST_OWED = 4
"""Envelopes a link may owe us before it gave one, and all that it may have broken its promise of before it is ignored.
Each answer lets it owe one more, so what it may owe doubles with each round trip, and it starts anew once nothing is
wanted of it. A liar breaks no more promises than it kept a moment ago, and four."""

MAX_SKIPPED = 1024
MAX_BACKLOG = 16_384
"""Ids that a link showed and that are still to be wanted of it; it shows the rest again in its next exchange."""

MAX_MISSED, MISSED_SECONDS = 8192, 600.0
MAX_OFFERS = 65_536
"""Ids that a link may ask for: as many as can be held. They are 2.6 MiB, of each link; beyond, the older half goes."""

SERVED_TWICE = 2
REFUSED = 1 << 8
"""Added to how often an id was served when the link says that it refused the envelope."""


@define(eq=False)
class LinkGossip:
    """`pushes`: they grafted me, I push to them. `source`: I grafted them, they push to me."""

    link: Link
    envelopes: Bucket
    bytes_in: Bucket
    have: Bucket
    author: Bucket
    direct: Bucket
    direct_bytes: Bucket
    pushes: bool = False
    rank: int = 255
    source: bool = False
    told_rank: int = 0
    """The rank that our last GRAFT gave the link, 0 if it is no source."""
    backoff_until: float = 0.0
    lag: float = 0.05
    waste: float = 0.0
    spoke: float = float("-inf")
    """When it last pushed an envelope of its own."""
    congested: bool = False
    skipped: deque[bytes] = field(factory=lambda: deque(maxlen=MAX_SKIPPED))
    """Ids of the last envelopes that it would have been pushed, were it not congested."""
    mean_size: float = FIRST_MEAN
    wanted: dict[bytes, float] = field(factory=dict)
    """Ids asked of this link and not answered yet, and when."""
    owed: int = FIRST_OWED
    """How many ids may be wanted of it at once, besides `WANT_WINDOW`."""
    backlog: list[bytes] = field(factory=list)
    """Ids that an anti-entropy exchange showed, to be wanted in this order as the window allows."""
    missed: dict[bytes, float] = field(factory=dict)
    """Ids that an exchange showed and that it does not hold: stubs, of what was pruned or refused there; and until when
    it is not asked for them again. If it gets one after all, it says so by HAVE."""
    offers: dict[bytes, int] = field(factory=dict)
    """Ids we announced to this link or showed it in an exchange: how often each was served."""
    fetching: int = 0
    """Ids wanted by this link that the store is looking up for us."""
    pongs: list[int] = field(factory=list)
    """Nonces of PINGs that came while `fetching`: answered after it."""
    checks: dict[int, list[bytes]] = field(factory=dict)
    """PINGs sent after a WANT: at their PONG these ids must have been answered."""
    broken: int = 0
    """Promises it broke since it last gave what was asked of it."""
    ignored_until: float = 0.0
    """Until then what it announces is not asked for: it broke too many promises."""
    pulls: int = 0
    """Pulls for which this link is an announcer, at most 256."""

    def offer(self, envelope_id: bytes) -> None:
        """Remember that this link may ask for the id, longer than for those it was told of before."""
        served = self.offers.pop(envelope_id, 0)
        if len(self.offers) >= MAX_OFFERS:  # a new dict, for one of which much was deleted grows all the same
            self.offers = dict(list(self.offers.items())[MAX_OFFERS // 2 :])
        self.offers[envelope_id] = served

    def may_serve(self, envelope_id: bytes) -> bool:
        """Whether a WANT of this id is to be served: offered before, and not twice already. Counts it."""
        served = self.offers.get(envelope_id)
        if served is None or served % REFUSED >= SERVED_TWICE:
            return False
        self.offers[envelope_id] = served + 1
        return True

    def refused(self, envelope_id: bytes) -> bool:
        """The link says that it refused what it was given. False if it was not, or if it said so before."""
        served = self.offers.get(envelope_id)
        if served is None or served >= REFUSED:
            return False
        self.offers[envelope_id] = served + REFUSED
        return True

    def miss(self, envelope_id: bytes, now: float) -> None:
        """It showed this id in an exchange and does not hold it."""
        if len(self.missed) >= MAX_MISSED:
            del self.missed[next(iter(self.missed))]
        self.missed[envelope_id] = now + MISSED_SECONDS

    def room(self) -> int:
        """How many more ids may be wanted of this link now: of one that broke promises, as many as are left to it."""
        owed = FIRST_OWED - self.broken if self.broken else self.owed
        return max(0, min(owed, int(WANT_WINDOW / self.mean_size)) - len(self.wanted))

    def answered(self, envelope_id: bytes) -> bool:
        """An answer to a WANT came, PUSH or MISS; False if the id was not wanted of this link."""
        if self.wanted.pop(envelope_id, None) is None:
            return False
        self.owed = self.owed + 1 if self.wanted or self.backlog else FIRST_OWED
        return True

    def measured(self, size: int) -> None:
        """An envelope of this size came on the link."""
        self.mean_size += (size - self.mean_size) * 0.1


def link_gossip(link: Link, limits: Limits) -> LinkGossip:
    """Fresh state for a link that came up."""
    return LinkGossip(
        link,
        limits.envelopes.bucket(),
        limits.bytes.bucket(),
        limits.have.bucket(),
        limits.author.bucket(),
        limits.direct.bucket(),
        limits.direct_bytes.bucket(),
    )
