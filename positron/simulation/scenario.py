"""What is simulated: how many nodes, what they say, over which links, and what goes wrong when.

Rule: a scenario is values only. Times are seconds after the first message; everything random follows from `seed`.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from random import Random
from typing import TypeVar

from attrs import field, frozen

BEHAVIOURS = ("silent", "turning", "teasing", "flooding", "forging", "lying")
"""`silent` relays nothing; `turning` does so from the middle of the run on; `teasing` announces and never delivers;
`flooding` announces what does not exist, without pause; `forging` breaks the signature of all it relays; `lying` tells
who asks for peers of its fellow liars and of nodes that do not exist, and of nobody else."""


QUIET = 30.0
"""Seconds that a run goes on after the last message or fault, if something may still be missing."""

SESSION, DOWN = 300.0, 30.0
"""Churn: a node's session has this mean length (exponential), then it is gone for this long, in seconds."""


@frozen
class Crash:
    """This share of the honest nodes goes dark at this time: nobody is told, and they are gone for good."""

    share: float
    at: float

    def __str__(self) -> str:
        return f"{self.share}@{self.at}"


@frozen
class Partition:
    """Two random halves cannot reach each other for `length` seconds."""

    length: float
    at: float

    def __str__(self) -> str:
        return f"{self.length}@{self.at}"


@frozen
class Malicious:
    """This share of all nodes behaves like this, one of `BEHAVIOURS`; they publish nothing and are owed nothing.

    `at` is when they begin; None is from the first message on, for `turning` from the middle of the run on, for `lying`
    from their birth on: it is the forming of the network that such lies are about.
    """

    share: float
    behaviour: str
    at: float | None = None

    @property
    def is_from_birth(self) -> bool:
        """Whether they are like that while the network forms."""
        return self.behaviour == "lying" and self.at is None

    def __str__(self) -> str:
        return f"{self.share}:{self.behaviour}" + ("" if self.at is None else f"@{self.at}")


Fault = TypeVar("Fault", Crash, Partition, Malicious)


def _all(given: Fault | Iterable[Fault] | None) -> tuple[Fault, ...]:
    """One, several or none, as a tuple."""
    if given is None:
        return ()
    return tuple(given) if isinstance(given, Iterable) else (given,)


@frozen(kw_only=True)
class Scenario:
    """One run. ValueError with a sentence for what cannot be. Of crashes, partitions and malicious shares there may
    be several, given as a tuple; one alone needs none."""

    nodes: int = 1000
    protocol: str = "positron"
    rate: float = 5.0
    duration: float = 20.0
    warm_up: float = 0.0
    """Seconds for which they publish before; nothing of it is measured."""
    size: int = 1200
    """Bytes of a payload."""
    latency: float | str = 0.050
    """The median over pairs of nodes, in seconds; or `regional`; or `@` and a file's name (`latencies`)."""
    sigma: float = 0.5
    """How far a median's latencies spread."""
    bandwidth: float = 0.0
    """Of each node's uplink, which all its links share, in bits a second; 0 is no limit."""
    skew: float = 0.0
    """By how many seconds clocks are off at most, this way or that (uniform)."""
    loss: float = 0.0
    crash: tuple[Crash, ...] = field(default=(), converter=_all)
    partition: tuple[Partition, ...] = field(default=(), converter=_all)
    churn: bool = False
    malicious: tuple[Malicious, ...] = field(default=(), converter=_all)
    fanout: int = 3
    """Of positron's nodes; the rivals have their own numbers."""
    seed: int = 1
    messages: int = field(init=False)
    """How many are measured: one every 1 / `rate` seconds, each by a random honest node that lives."""

    @messages.default
    def _count(self) -> int:
        return round(self.rate * self.duration)

    @property
    def is_faultless(self) -> bool:
        """Whether every node lives from beginning to end, does as it should and can reach all others."""
        return not (self.crash or self.partition or self.churn or self.malicious)

    @property
    def warm_up_messages(self) -> int:
        """How many are published before those that are measured."""
        return round(self.warm_up * self.rate)

    @property
    def event(self) -> float | None:
        """When the first thing happens after which figures are taken anew: a crash, or nodes that turn malicious
        while others publish. Seconds after the first message; None if there is no such thing."""
        turns = [one.at for one in self.crash] + [one.at for one in self.malicious if one.at is not None]
        if any(one.behaviour == "turning" and one.at is None for one in self.malicious):
            turns.append(self.duration / 2)
        return min(turns, default=None)

    @property
    def liars(self) -> list[int]:
        """How many nodes each malicious share is."""
        return [round(self.nodes * one.share) for one in self.malicious]

    def cast(self, rng: Random) -> list[list[int]]:
        """Who is malicious: the nodes of each share, drawn with `rng` (one of the seed: every draw is the same). Node
        0, which the others grow from, is no liar from its birth on."""
        drawn = rng.sample(range(self.nodes), sum(self.liars) + 1)
        spare = drawn.pop()
        cast = [sorted(drawn.pop() for _ in range(count)) for count in self.liars]
        return [
            sorted(spare if one.is_from_birth and node == 0 else node for node in nodes)
            for one, nodes in zip(self.malicious, cast, strict=True)
        ]

    def _is_latency(self) -> bool:
        if isinstance(self.latency, str):
            return self.latency == "regional" or (self.latency.startswith("@") and len(self.latency) > 1)
        return 0 < self.latency <= 10

    def __attrs_post_init__(self) -> None:
        shares = [one.share for one in self.crash] + [one.share for one in self.malicious]
        cuts = sorted((one.at, one.at + one.length) for one in self.partition)
        checks = (
            (2 <= self.nodes <= 65_000, "nodes: 2 to 65000"),
            (self.rate > 0 and self.duration > 0, "rate and duration: above 0"),
            (0 <= self.warm_up <= 86_400, "warm-up: 0 to a day"),
            (1 <= self.messages <= 1_000_000, "rate * duration: 1 to 1000000 messages"),
            (16 <= self.size <= 65_000, "size: 16 to 65000 bytes"),
            (self._is_latency(), "latency: above 0, to 10 s; or regional; or @FILE"),
            (0 <= self.sigma <= 2, "sigma: 0 to 2"),
            (self.bandwidth == 0 or 1e4 <= self.bandwidth <= 1e12, "bandwidth: 10 kbit to 1000 gbit, or 0"),
            (0 <= self.skew <= 3600, "skew: 0 to an hour"),
            (0 <= self.loss < 1, "loss: a share from 0 to below 1"),
            (1 <= self.fanout <= 16, "fanout: 1 to 16"),
            (
                all(0 <= share < 1 for share in shares),
                "a share is from 0 to below 1",
            ),
            (
                all(one.behaviour in BEHAVIOURS for one in self.malicious),
                f"a behaviour is one of {', '.join(BEHAVIOURS)}",
            ),
            (sum(self.liars) <= self.nodes - 2, "two honest nodes at least"),
            (
                all(end < begin for (_, end), (begin, _) in pairwise(cuts)),
                "a partition ends before the next begins",
            ),
        )
        for holds, sentence in checks:
            if not holds:
                raise ValueError(sentence)
