"""How long a link takes: rules that every protocol of a comparison shares.

Rule: a latency is asked once for each direction of a connection, or as often as one likes: a pair of nodes has one
delay for a whole run.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Protocol


class Numbered(Protocol):
    """A node, as far as its links depend on it: the first is number 1."""

    @property
    def number(self) -> int:
        """Which node it is."""


RETRANSMISSION = 0.2
"""Seconds by which a lost chunk comes later, with all that follows it on its link: TCP's lowest timeout (RFC 6298
implementations: 200 ms)."""

Latency = Callable[[Numbered, Numbered, Random], float]
"""Seconds from one node to another."""


def steady(seconds: float) -> Latency:
    """Every chunk takes this long."""
    return lambda _sender, _receiver, _rng: seconds


def lognormal(median: float, sigma: float) -> Latency:
    """Every pair of nodes has its own steady delay, lognormal over pairs."""
    pairs: dict[tuple[int, int], float] = {}

    def delay(sender: Numbered, receiver: Numbered, rng: Random) -> float:
        key = (min(sender.number, receiver.number), max(sender.number, receiver.number))
        if key not in pairs:
            pairs[key] = median * rng.lognormvariate(0.0, sigma)
        return pairs[key]

    return delay
