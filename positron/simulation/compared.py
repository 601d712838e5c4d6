"""The protocols that can be simulated, by name, behind one surface.

Rule: every protocol gets the same signed bytes to carry, the same kind of links and the same charge for each frame, so
that a difference between two rows of a table is one between protocols.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from random import Random

from positron.core.envelope import HEADER_SIZE
from positron.core.identity import SIGNATURE_SIZE
from positron.simulation.faults import Teased
from positron.simulation.latencies import from_file, latency_of
from positron.simulation.network import TOPIC, Delivery, Log, Network, PositronNetwork, Published, Traffic
from positron.simulation.rivals import BEHAVIOURS, RIVALS, RivalNetwork
from positron.simulation.scenario import Scenario
from positron.simulation.tracing import Step

OWN = "positron"
PROTOCOLS = (OWN, *RIVALS)

SIGNED_BYTES = HEADER_SIZE + SIGNATURE_SIZE + len(TOPIC) + 6
"""What positron's envelope adds to a payload: header, signature, topic and four msgpack headers (1 + 1 + 1 + 3)."""


NOTICE = 10.0
"""Between half of this and this many seconds after a machine went dark a rival gives up its links to it: the research's
failure detection, the same for all of them. positron's own liveness is what its core does."""


class _Rival:
    """A rival, behind the surface of `Network`."""

    def __init__(self, rival: RivalNetwork) -> None:
        self._rival = rival
        self._events = 0

    @property
    def now(self) -> float:
        return self._rival.now

    def run(self, seconds: float) -> None:
        self._rival.run(seconds)

    def publish(self, node: int, size: int) -> int:
        return self._rival.publish(node, size + SIGNED_BYTES)

    def crash(self, nodes: Iterable[int]) -> None:
        self._rival.crash(nodes, notice=NOTICE)

    def restart(self, nodes: Iterable[int]) -> None:
        self._rival.restart(nodes)

    def partition(self, groups: Sequence[Iterable[int]]) -> None:
        self._rival.partition(groups)

    def heal(self) -> None:
        self._rival.heal()

    def malicious(self, nodes: Iterable[int], behaviour: str) -> None:
        self._rival.malicious(nodes, behaviour)

    def spent(self) -> Traffic:
        traffic = self._rival.traffic
        return Traffic(traffic.payload_bytes, traffic.control_bytes, traffic.payload_frames)

    def arrived(self) -> int:
        return len(self._rival.deliveries)

    def log(self) -> Log:
        rival = self._rival
        published = [Published(*one) for one in rival.published]
        return Log(
            published, [Delivery(*one) for one in rival.deliveries], self.spent(), rival.events, rival.bridged
        )

    def faults(self, nodes: Iterable[int]) -> list[str]:
        """None: what a rival loses is its `delivery`, and no fault of ours."""
        return []

    def teased(self, nodes: Iterable[int]) -> Teased | None:
        """None: the rivals, as they are modelled, charge nobody."""
        return None

    def trace(self) -> list[Step] | None:
        """None: their messages are not followed."""
        return None


def build(scenario: Scenario, progress: Callable[[float], None], trace: int | None = None) -> Network:
    """The network of a scenario, formed and ready; of positron's messages the one of the number `trace` is followed.

    ValueError if its protocol cannot do what it asks.
    """
    latency = latency_of(scenario.latency, scenario.sigma, scenario.seed)
    if scenario.protocol == OWN:
        return PositronNetwork(
            nodes=scenario.nodes,
            latency=latency,
            loss=scenario.loss,
            seed=scenario.seed,
            fanout=scenario.fanout,
            bandwidth=scenario.bandwidth,
            skew=scenario.skew,
            born={
                one.behaviour: nodes
                for one, nodes in zip(scenario.malicious, scenario.cast(Random(scenario.seed)), strict=True)
                if one.is_from_birth
            },
            trace=trace,
            progress=progress,
        )
    if scenario.protocol not in RIVALS:
        raise ValueError(f"a protocol is one of {', '.join(PROTOCOLS)}")
    refuse(scenario)
    rival = RIVALS[scenario.protocol](
        nodes=scenario.nodes,
        latency=latency,
        loss=scenario.loss,
        bandwidth=scenario.bandwidth,
        seed=scenario.seed,
    )
    return _Rival(rival)


def refuse(scenario: Scenario) -> None:
    """ValueError if its protocol is not modelled with the behaviour that the scenario asks for, or the file of its
    latencies holds none; OSError if that cannot be read."""
    if isinstance(scenario.latency, str) and scenario.latency.startswith("@"):
        from_file(scenario.latency[1:])
    for malicious in scenario.malicious if scenario.protocol != OWN else ():
        if malicious.behaviour not in {*BEHAVIOURS, "turning"}:
            raise ValueError(f"the rivals know no {malicious.behaviour!r} nodes")
