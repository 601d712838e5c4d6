"""How long a link takes: rules that every protocol of a comparison shares.

Rule: a latency is asked once for each direction of a connection, or as often as one likes: a pair of nodes has one
delay for a whole run.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from math import exp
from random import Random
from statistics import NormalDist
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


def lognormal(median: float, sigma: float, seed: int = 0) -> Latency:
    """Every pair of nodes has its own steady delay, lognormal over pairs."""
    return _Pairs(lambda _one, _other: median, sigma, seed)


REGIONS = (
    (0.008, 0.045, 0.075, 0.110, 0.140),
    (0.045, 0.008, 0.060, 0.120, 0.090),
    (0.075, 0.060, 0.008, 0.050, 0.100),
    (0.110, 0.120, 0.050, 0.008, 0.070),
    (0.140, 0.090, 0.100, 0.070, 0.008),
)
"""Median seconds between five parts of the world, and inside each: the research's."""

REGIONAL_SIGMA = 0.2


def regional(seed: int = 0) -> Latency:
    """Every node is in one of five regions, drawn by the seed; a pair's delay is lognormal (sigma 0.2) about the median
    of its two regions."""
    rng = Random(f"regions {seed}")
    places: list[int] = []

    def median(one: int, other: int) -> float:
        while len(places) <= max(one, other):
            places.append(rng.randrange(len(REGIONS)))
        return REGIONS[places[one]][places[other]]

    return _Pairs(median, REGIONAL_SIGMA, seed)


_NORMAL = NormalDist()


class _Pairs:
    """One delay for each pair of nodes, whatever the order and whoever asks first: the same for all who have the seed,
    so that all protocols of a comparison meet the same links."""

    def __init__(self, median: Callable[[int, int], float], sigma: float, seed: int) -> None:
        self._median = median
        self._sigma = sigma
        self._key = b"%d" % seed
        self._known: dict[tuple[int, int], float] = {}

    def __call__(self, sender: Numbered, receiver: Numbered, _rng: Random) -> float:
        one, other = sender.number, receiver.number
        pair = (one, other) if one < other else (other, one)
        delay = self._known.get(pair)
        if delay is None:
            digest = blake2b(b"%d %d" % pair, digest_size=7, key=self._key).digest()
            share = (int.from_bytes(digest, "big") + 0.5) / 2.0**56
            delay = self._median(*pair) * exp(self._sigma * _NORMAL.inv_cdf(min(share, 1 - 2.0**-53)))
            self._known[pair] = delay
        return delay


def from_file(path: str) -> Latency:
    """What a file says: a square matrix, a line for each place, numbers in milliseconds with blanks or commas between
    them; `#` begins a comment. Line i, column j: from place i to place j, and in the diagonal between two nodes of one
    place. The first node is at the first place, and so on, and over again if there are more nodes than places.

    OSError if it cannot be read, ValueError with a sentence if it is no such matrix.
    """
    with open(path, encoding="utf-8") as file:
        lines = [line.partition("#")[0].replace(",", " ").split() for line in file]
    try:
        matrix = [[float(number) / 1000 for number in line] for line in lines if line]
    except ValueError:
        raise ValueError(f"{path}: a latency is a number of milliseconds") from None
    size = len(matrix)
    if not size or any(len(row) != size for row in matrix):
        raise ValueError(f"{path}: a matrix of latencies has as many numbers in each line as it has lines")
    if not all(0 < seconds <= 10 for row in matrix for seconds in row):
        raise ValueError(f"{path}: latencies are above 0, to 10000 ms")

    def delay(sender: Numbered, receiver: Numbered, _rng: Random) -> float:
        return matrix[(sender.number - 1) % size][(receiver.number - 1) % size]

    return delay


def latency_of(rule: float | str, sigma: float, seed: int) -> Latency:
    """The rule of a scenario: a median in seconds, `regional`, or `@` and the name of a file (see `from_file`)."""
    if not isinstance(rule, str):
        return lognormal(rule, sigma, seed)
    return regional(seed) if rule == "regional" else from_file(rule.removeprefix("@"))
