"""Token buckets, and what one link, address or author may use in each profile.

Rule: every number that depends on the profile stands here and nowhere else; docs/security.rst has them as a table
(where another is, it is named). Buckets know no clock: `now` is handed in, in seconds.
"""

from __future__ import annotations

from math import isfinite
from typing import NamedTuple

from attrs import field, frozen

MIB = 1024 * 1024
KIB = 1024

PACE = 0.8
"""Senders use this share of what receivers allow, so that jitter never makes an honest node an offender."""

CONTROL_MESSAGES = 10_000
"""Messages a second, neither PUSH nor HAVE, that use up a link's budget of bytes however short they are: a flood of
them takes a tenth of a core, at 5 to 10 us each."""

LINK_FULL = 256 * 1024
"""Bytes in a link's send queue above which it is said to be full (`Congested`), and is pushed nothing."""

HANDSHAKE_BURST = 3.0
"""Seconds' worth of handshakes that may come at once (docs/design.rst, Figures: 20/s with a burst of 60)."""

_CLOCK_GRAIN = 1e-6


class Bucket:
    """A budget that refills at `rate` units a second up to `burst`, and is full at first.

    A clock that goes backwards refills nothing and takes nothing; refilling goes on from the earlier time.
    """

    __slots__ = ("_time", "burst", "left", "rate")

    def __init__(self, rate: float, burst: float) -> None:
        if not (isfinite(rate) and isfinite(burst) and rate > 0 and burst > 0):
            raise ValueError(f"a bucket's rate and burst are positive numbers, not {rate} and {burst}")
        self.rate = rate
        self.burst = burst
        self.left = burst
        """What was in it when it was last used; below zero is a debt. It may have refilled since."""
        self._time = float("-inf")

    def take(self, amount: float, now: float) -> bool:
        """Take `amount` (>= 0) if all of it is there, else nothing and say False. Over `burst`: never."""
        if self.level(now) < amount:
            return False
        self.left -= amount
        return True

    def debit(self, amount: float, now: float) -> None:
        """Take `amount` (>= 0) whether or not it is there: it was spent. The level may go below zero."""
        if now != self._time:  # all that came in one chunk has one time
            self.level(now)
        self.left -= amount

    def level(self, now: float) -> float:
        """What is in the bucket: at most `burst`, below zero while in debt."""
        if now > self._time:
            level = self.left + (now - self._time) * self.rate
            self.left = level if level < self.burst else self.burst
        self._time = now
        return self.left

    def wait(self, now: float, amount: float = 0.0) -> float:
        """Seconds until the level is above zero and at least `amount` (capped at `burst`); 0 if it is now.

        Rounded up (a microsecond and a billionth), so that whoever comes back then is not sent away for a
        rounding error; that holds where a full burst takes less than hours to refill.
        """
        level = self.level(now)
        amount = min(amount, self.burst)
        if level > 0 and level >= amount:
            return 0.0
        return (amount - level) / self.rate * (1 + 1e-9) + _CLOCK_GRAIN


class Rate(NamedTuple):
    """So many units a second, and so many at once."""

    rate: float
    burst: float

    def bucket(self) -> Bucket:
        """A full bucket of this rate."""
        return Bucket(self.rate, self.burst)

    def paced(self) -> Bucket:
        """A full bucket for the sender's side: `PACE` of both numbers."""
        return Bucket(self.rate * PACE, self.burst * PACE)


@frozen(kw_only=True)
class Limits:
    """One profile. Rates are per second, sizes in bytes, None is `no limit but max_peers`."""

    envelopes: Rate
    """Live envelopes of one link."""
    bytes: Rate
    """Bytes in of one link."""
    author: Rate
    """An author's own envelopes, on its own links."""
    have: Rate
    """HAVE ids of one link."""
    history: Rate
    """History sent out by the whole node, in bytes; the burst is one second's worth."""
    handshakes_all: float
    handshakes_address: float
    half_open_all: int
    half_open_address: int
    inbound_address: int | None = None
    inbound_group: int | None = None
    new_authors: Rate
    """Authors never heard of, introduced by one link (docs/protocol.rst)."""
    direct: Rate
    """Sealed envelopes for others, relayed for one link (docs/protocol.rst)."""
    direct_bytes: Rate
    held_envelopes: int
    """Envelopes of one author held back to restore their order (docs/guarantees.rst)."""
    held_bytes: int
    held_bytes_all: int
    handshakes_all_burst: float = field(init=False)
    handshakes_address_burst: float = field(init=False)

    @handshakes_all_burst.default
    def _all_burst(self) -> float:
        return self.handshakes_all * HANDSHAKE_BURST

    @handshakes_address_burst.default
    def _address_burst(self) -> float:
        return self.handshakes_address * HANDSHAKE_BURST


PROFILES: dict[str, Limits] = {
    "wan": Limits(
        envelopes=Rate(200, 800),
        bytes=Rate(2 * MIB, 8 * MIB),
        author=Rate(50, 200),
        have=Rate(2_000, 8_000),
        history=Rate(4 * MIB, 4 * MIB),
        handshakes_all=20,
        handshakes_address=2,
        half_open_all=64,
        half_open_address=4,
        inbound_address=3,
        inbound_group=10,
        new_authors=Rate(1, 100),
        direct=Rate(10, 40),
        direct_bytes=Rate(256 * KIB, 1 * MIB),
        held_envelopes=256,
        held_bytes=1 * MIB,
        held_bytes_all=8 * MIB,
    ),
    "lan": Limits(
        envelopes=Rate(2_000, 8_000),
        bytes=Rate(32 * MIB, 64 * MIB),
        author=Rate(1_000, 4_000),
        have=Rate(20_000, 80_000),
        history=Rate(32 * MIB, 32 * MIB),
        handshakes_all=100,
        handshakes_address=20,
        half_open_all=128,
        half_open_address=32,
        new_authors=Rate(50, 100),
        direct=Rate(100, 400),
        direct_bytes=Rate(2_560 * KIB, 10 * MIB),
        held_envelopes=1_024,
        held_bytes=8 * MIB,
        held_bytes_all=32 * MIB,
    ),
    "local": Limits(
        envelopes=Rate(10_000, 40_000),
        bytes=Rate(128 * MIB, 256 * MIB),
        author=Rate(10_000, 40_000),
        have=Rate(100_000, 400_000),
        history=Rate(128 * MIB, 128 * MIB),
        handshakes_all=500,
        handshakes_address=500,
        half_open_all=256,
        half_open_address=256,
        new_authors=Rate(500, 100),
        direct=Rate(500, 2_000),
        direct_bytes=Rate(12_800 * KIB, 50 * MIB),
        held_envelopes=1_024,
        held_bytes=8 * MIB,
        held_bytes_all=32 * MIB,
    ),
}
"""The three profiles by name; `attrs.evolve` makes one with an operator's own numbers."""
