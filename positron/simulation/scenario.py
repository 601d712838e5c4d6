"""What is simulated: how many nodes, what they say, over which links, and what goes wrong when.

Rule: a scenario is values only. Times are seconds after the first message; everything random follows from `seed`.
"""

from __future__ import annotations

from attrs import field, frozen

BEHAVIOURS = ("silent", "turning", "teasing", "flooding", "forging")
"""`silent` relays nothing; `turning` does so from the middle of the run on; `teasing` announces and never delivers;
`flooding` announces what does not exist, without pause; `forging` breaks the signature of all it relays."""

QUIET = 30.0
"""Seconds that a run goes on after the last message or fault."""

SESSION, DOWN = 300.0, 30.0
"""Churn: a node's session has this mean length (exponential), then it is gone for this long, in seconds."""


@frozen
class Crash:
    """This share of the honest nodes goes dark at this time: nobody is told, and they are gone for good."""

    share: float
    at: float


@frozen
class Partition:
    """Two random halves cannot reach each other for `length` seconds."""

    length: float
    at: float


@frozen
class Malicious:
    """This share of all nodes behaves like this, one of `BEHAVIOURS`; they publish nothing and are owed nothing."""

    share: float
    behaviour: str


@frozen(kw_only=True)
class Scenario:
    """One run. ValueError with a sentence for what cannot be."""

    nodes: int = 1000
    protocol: str = "positron"
    rate: float = 5.0
    duration: float = 20.0
    size: int = 1200
    """Bytes of a payload."""
    latency: float = 0.050
    """The median over pairs of nodes, in seconds."""
    sigma: float = 0.5
    loss: float = 0.0
    crash: Crash | None = None
    partition: Partition | None = None
    churn: bool = False
    malicious: Malicious | None = None
    fanout: int = 3
    """Of positron's nodes; the rivals have their own numbers."""
    seed: int = 1
    messages: int = field(init=False)
    """How many are published: one every 1 / `rate` seconds, each by a random honest node that lives."""

    @messages.default
    def _count(self) -> int:
        return round(self.rate * self.duration)

    def __attrs_post_init__(self) -> None:
        share = self.malicious.share if self.malicious is not None else 0.0
        crashing = self.crash.share if self.crash is not None else 0.0
        checks = (
            (2 <= self.nodes <= 65_000, "nodes: 2 to 65000"),
            (self.rate > 0 and self.duration > 0, "rate and duration: above 0"),
            (1 <= self.messages <= 1_000_000, "rate * duration: 1 to 1000000 messages"),
            (16 <= self.size <= 65_000, "size: 16 to 65000 bytes"),
            (0 < self.latency <= 10 and 0 <= self.sigma <= 2, "latency: above 0, to 10 s"),
            (0 <= self.loss < 1, "loss: a share from 0 to below 1"),
            (1 <= self.fanout <= 16, "fanout: 1 to 16"),
            (0 <= share < 1 and 0 <= crashing < 1, "a share is from 0 to below 1"),
            (
                self.malicious is None or self.malicious.behaviour in BEHAVIOURS,
                f"a behaviour is one of {', '.join(BEHAVIOURS)}",
            ),
            (round(self.nodes * share) <= self.nodes - 2, "two honest nodes at least"),
        )
        for holds, sentence in checks:
            if not holds:
                raise ValueError(sentence)
