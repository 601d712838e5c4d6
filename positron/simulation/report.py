"""A run as its JSON, as a row of a table, as a curve, as CSV and as a picture."""

from __future__ import annotations

import csv
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, TextIO

from positron.simulation.faults import Teased
from positron.simulation.measure import Window
from positron.simulation.running import Outcome
from positron.simulation.tracing import Step

CURVE_STEPS = 12


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The figures under the names that the command promises. `delivery` is a share, spans are in seconds; a figure
    for which nothing was measured is None. `trace` is there only if a message was followed."""
    found = outcome.measurement
    traced = {} if outcome.trace is None else {"trace": [_step(step) for step in outcome.trace]}
    return {
        "seed": outcome.scenario.seed,
        "nodes": outcome.scenario.nodes,
        "protocol": outcome.scenario.protocol,
        "messages": found.messages,
        "delivery": found.delivery,
        "latency_seconds": {name: _rounded(value, 6) for name, value in found.latency.items()},
        "hops": dict(found.hops),
        "copies_per_delivery": _rounded(found.copies, 4),
        "bytes_per_delivery": _rounded(found.bytes, 1),
        "control_bytes_per_delivery": _rounded(found.control_bytes, 1),
        "heal_seconds": _rounded(found.heal, 6),
        "wall_seconds": round(outcome.wall_seconds, 3),
        "events": outcome.events,
        "delivery_within": dict(found.within),
        "bridge_seconds": _rounded(found.bridge, 6),
        "heal_after_bridge_seconds": _rounded(found.heal_after_bridge, 6),
        "event_seconds": outcome.scenario.event,
        "first_6s": _window(found.windows.get("first_6s")),
        "after_20s": _window(found.windows.get("after_20s")),
        "refused_publications": outcome.refused,
        "teasers": _teasers(outcome.teased),
        **traced,
    }


def _step(step: Step) -> dict[str, Any]:
    """`by` is how it came: published, push, pull or sync."""
    return {
        "node": step.node,
        "from": step.source,
        "seconds": round(step.seconds, 6),
        "hops": step.hops,
        "by": step.way,
    }


def _window(window: Window | None) -> dict[str, Any] | None:
    """The figures of what was said in some span."""
    if window is None:
        return None
    return {
        "messages": window.messages,
        "delivery": window.delivery,
        "latency_seconds": {name: _rounded(value, 6) for name, value in window.latency.items()},
        "delivery_within": dict(window.within),
    }


def _teasers(found: Teased | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "broken_promises_max": found.broken_max,
        "charged_promises_max": found.charged_max,
        "pairs": found.pairs,
        "ignored": found.ignored,
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def curve(outcome: Outcome) -> list[tuple[float, float]]:
    """(seconds after publication, share of the owed pairs that had arrived by then), to the last arrival."""
    latencies, owed = outcome.measurement.latencies, outcome.measurement.owed
    if not latencies:
        return []
    # The last thousandth would squeeze everything else into the first step.
    end = outcome.measurement.latency["p999"] or latencies[-1]
    times = [end * step / CURVE_STEPS for step in range(1, CURVE_STEPS + 1)]
    if latencies[-1] > end:
        times.append(latencies[-1])
    return [(at, bisect_right(latencies, at) / owed) for at in times]


def write_csv(file: TextIO, outcomes: Sequence[Outcome]) -> None:
    """A row for each owed pair that arrived: protocol, message, node, latency in seconds, hops."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("protocol", "message", "node", "latency_seconds", "hops"))
    for outcome in outcomes:
        for message, node, latency, hops in outcome.measurement.samples:
            writer.writerow((outcome.scenario.protocol, message, node, f"{latency:.6f}", hops))


def plot(path: str, outcomes: Sequence[Outcome]) -> None:
    """A picture of how each protocol's coverage grows with time. Needs matplotlib; OSError if it cannot be written."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5))
    axes = figure.add_subplot()
    for outcome in outcomes:
        latencies, owed = outcome.measurement.latencies, outcome.measurement.owed
        shares = [(index + 1) / owed for index in range(len(latencies))]
        axes.plot([seconds * 1000 for seconds in latencies], shares, label=outcome.scenario.protocol)
    axes.set_xlabel("milliseconds after publication")
    axes.set_ylabel("share of (message, node) pairs delivered")
    axes.set_title(f"{outcomes[0].scenario.nodes} nodes, seed {outcomes[0].scenario.seed}")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.savefig(path)
