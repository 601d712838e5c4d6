"""From the log of a run to its figures.

- A pair (message, node) is *owed* if the node is honest and alive at the end; the author's own is not counted.
- Latency and hops are those of owed pairs whose node was up from the message's publication to its arrival.
- What was sent (by anybody, to anybody, pings and syncs included, from the first message to the end of the run) is
  divided by all first arrivals; `control` is everything but the frames that carry a message.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import ceil

from attrs import frozen

from positron.simulation.network import Delivery, Published, Traffic

Outage = tuple[float, float]
"""A node was gone from, to (seconds)."""


@frozen(kw_only=True)
class Measurement:
    """The figures of one run. `samples` are its owed pairs that arrived, as (message, node, latency, hops); a figure
    that nothing was measured for is None."""

    messages: int
    owed: int
    arrived: int
    latency: dict[str, float | None]
    hops: dict[str, int | None]
    copies: float | None
    bytes: float | None
    control_bytes: float | None
    heal: float | None
    samples: list[tuple[int, int, float, int]]
    latencies: list[float]
    """The latencies that count, in order."""

    @property
    def delivery(self) -> float:
        """Which share of the owed pairs arrived, 0 to 1."""
        return self.arrived / self.owed if self.owed else 1.0


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The smallest of these ordered values that `share` (0..1) of them do not exceed; None of nothing."""
    if not ordered:
        return None
    return ordered[max(0, ceil(share * len(ordered)) - 1)]


def measure(
    published: Sequence[Published],
    deliveries: Sequence[Delivery],
    traffic: Traffic,
    *,
    owing: Collection[int],
    outages: Mapping[int, Sequence[Outage]],
    healed: float | None,
) -> Measurement:
    """The figures of a log. `owing` are the honest nodes that live; `healed` is when a partition ended, if one did."""
    arrived: dict[tuple[int, int], Delivery] = {}
    for delivery in deliveries:
        if delivery.node in owing:
            arrived.setdefault((delivery.message, delivery.node), delivery)
    owed = sum(len(owing) - (one.node in owing) for one in published)
    samples, latencies, hops = [], [], []
    for delivery in arrived.values():
        said = published[delivery.message].time
        samples.append((delivery.message, delivery.node, delivery.time - said, delivery.hops))
        if all(back < said or gone > delivery.time for gone, back in outages.get(delivery.node, ())):
            latencies.append(delivery.time - said)
            hops.append(delivery.hops)
    latencies.sort()
    hops.sort()
    firsts = len({(delivery.message, delivery.node) for delivery in deliveries})
    complete = len(arrived) == owed
    return Measurement(
        messages=len(published),
        owed=owed,
        arrived=len(arrived),
        latency={name: percentile(latencies, share) for name, share in PERCENTILES.items()},
        hops={
            "p50": _whole(percentile(hops, 0.5)),
            "p99": _whole(percentile(hops, 0.99)),
            "max": hops[-1] if hops else None,
        },
        copies=traffic.payload_frames / firsts if firsts else None,
        bytes=(traffic.payload_bytes + traffic.control_bytes) / firsts if firsts else None,
        control_bytes=traffic.control_bytes / firsts if firsts else None,
        heal=_heal(published, arrived.values(), healed) if complete else None,
        samples=samples,
        latencies=latencies,
    )


PERCENTILES = {"p50": 0.5, "p99": 0.99, "p999": 0.999}


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _heal(
    published: Sequence[Published], arrived: Collection[Delivery], healed: float | None
) -> float | None:
    """Seconds from the end of the cut to the last arrival of what was said before it."""
    if healed is None:
        return None
    late = [one.time for one in arrived if published[one.message].time <= healed < one.time]
    return max(late, default=healed) - healed
