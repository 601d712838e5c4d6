"""From the log of a run to its figures.

- A pair (message, node) is *owed* if the node is honest and alive at the end; the author's own is not counted.
- Latency and hops are those of owed pairs whose node was up from the message's publication to its arrival.
- *Within* so many seconds is the share, of owed pairs whose node was up all that time, that had arrived by then.
- What was sent (by anybody, to anybody, pings and syncs included, from the first message to two seconds after the last
  arrival) is divided by all first arrivals; `control` is everything but the frames that carry a message.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import ceil
from typing import NamedTuple

from attrs import frozen

from positron.simulation.network import Delivery, Published, Traffic

Outage = tuple[float, float]
"""A node was gone from, to (seconds)."""

PERCENTILES = {"p50": 0.5, "p99": 0.99, "p999": 0.999}

WITHIN = {"10s": 10.0, "30s": 30.0}
"""Seconds after publication by which the share that had arrived is told."""

FIRST, LATER = 6.0, 20.0
"""After an event, what was said in the first of so many seconds, and what was said later than so many, are measured
by themselves as well."""


class Sample(NamedTuple):
    """An owed pair that arrived, so many seconds after publication and so many links from the author."""

    message: int
    node: int
    latency: float
    hops: int


@frozen(kw_only=True)
class Window:
    """The figures of the messages of some span; a percentile of nothing is None."""

    messages: int
    owed: int
    arrived: int
    latency: dict[str, float | None]
    within: dict[str, float]

    @property
    def delivery(self) -> float:
        """Which share of the owed pairs arrived, 0 to 1."""
        return self.arrived / self.owed if self.owed else 1.0


@frozen(kw_only=True)
class Measurement(Window):
    """The figures of one run. `samples` are its owed pairs that arrived, as (message, node, latency, hops); a figure
    that nothing was measured for is None."""

    hops: dict[str, int | None]
    copies: float | None
    bytes: float | None
    control_bytes: float | None
    heal: float | None
    """Seconds from the end of the last cut to the last arrival of what was said before."""
    bridge: float | None
    """Seconds from the end of the last cut to the first link across it."""
    heal_after_bridge: float | None
    """Seconds from then to the last arrival of what was said before the end of the cut."""
    windows: dict[str, Window]
    """`first_6s` and `after_20s`, if there was an event."""
    samples: list[Sample]
    latencies: list[float]
    """The latencies that count, in order."""


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
    healed: float | None = None,
    bridged: float | None = None,
    event: float | None = None,
) -> Measurement:
    """The figures of a log. `owing` are the honest nodes that live; `healed` is when the last partition ended,
    `bridged` when the first link stood across it afterwards, `event` when something happened that has windows."""
    ledger = _Ledger(published, deliveries, owing, outages)
    whole = ledger.window(0.0, float("inf"))
    hops = sorted(one.hops for one in ledger.steady)
    firsts = len({(delivery.message, delivery.node) for delivery in deliveries})
    heal = ledger.heal(healed) if healed is not None and whole.arrived == whole.owed else None
    bridge = bridged - healed if healed is not None and bridged is not None else None
    return Measurement(
        messages=whole.messages,
        owed=whole.owed,
        arrived=whole.arrived,
        latency=whole.latency,
        within=whole.within,
        hops={
            "p50": _whole(percentile(hops, 0.5)),
            "p99": _whole(percentile(hops, 0.99)),
            "max": hops[-1] if hops else None,
        },
        copies=traffic.payload_frames / firsts if firsts else None,
        bytes=(traffic.payload_bytes + traffic.control_bytes) / firsts if firsts else None,
        control_bytes=traffic.control_bytes / firsts if firsts else None,
        heal=heal,
        bridge=bridge,
        heal_after_bridge=max(0.0, heal - bridge) if heal is not None and bridge is not None else None,
        windows={}
        if event is None
        else {
            "first_6s": ledger.window(event, event + FIRST),
            "after_20s": ledger.window(event + LATER, float("inf")),
        },
        samples=ledger.samples,
        latencies=sorted(one.latency for one in ledger.steady),
    )


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


class _Ledger:
    """What was said, what of it is owed to whom, and what arrived. `steady` are the samples of nodes that were up."""

    def __init__(
        self,
        published: Sequence[Published],
        deliveries: Sequence[Delivery],
        owing: Collection[int],
        outages: Mapping[int, Sequence[Outage]],
    ) -> None:
        self._published = published
        self._owing = owing
        self._outages = {node: gone for node, gone in outages.items() if node in owing}
        first: dict[tuple[int, int], Sample] = {}
        for message, node, time, hops in deliveries:
            if node in owing:
                sample = Sample(message, node, time - published[message].time, hops)
                first.setdefault((message, node), sample)
        self.samples = list(first.values())
        self.steady = [one for one in self.samples if not self._was_away(one.message, one.node, one.latency)]

    def _was_away(self, message: int, node: int, seconds: float) -> bool:
        """Whether the node was gone at any time from the publication on, for so long."""
        said = self._published[message].time
        return any(gone <= said + seconds and back >= said for gone, back in self._outages.get(node, ()))

    def window(self, begin: float, end: float) -> Window:
        """The figures of what was said from `begin` on and before `end`."""
        messages = [number for number, one in enumerate(self._published) if begin <= one.time < end]
        chosen = set(messages)
        owed = sum(len(self._owing) - (self._published[number].node in self._owing) for number in messages)
        steady = [one for one in self.steady if one.message in chosen]
        latencies = sorted(one.latency for one in steady)
        return Window(
            messages=len(messages),
            owed=owed,
            arrived=sum(one.message in chosen for one in self.samples),
            latency={name: percentile(latencies, share) for name, share in PERCENTILES.items()},
            within={name: self._within(messages, owed, steady, limit) for name, limit in WITHIN.items()},
        )

    def _within(self, messages: list[int], owed: int, steady: list[Sample], limit: float) -> float:
        away = sum(
            self._was_away(message, node, limit)
            for node in self._outages
            for message in messages
            if self._published[message].node != node
        )
        there = sum(
            one.latency <= limit
            for one in steady
            if one.node not in self._outages or not self._was_away(one.message, one.node, limit)
        )
        return there / (owed - away) if owed > away else 1.0

    def heal(self, healed: float) -> float:
        """Seconds from the end of the cut to the last arrival of what was said before it."""
        said = [one.time for one in self._published]
        late = [said[one.message] + one.latency for one in self.samples if said[one.message] <= healed]
        return max(0.0, max(late, default=healed) - healed)
