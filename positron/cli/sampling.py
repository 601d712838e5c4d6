"""What a node counted, asked for again and again, and how fast it grew in between.

Rule: time is the node's own uptime, of the same answer as the counters, so that a slow answer bends no rate.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from positron.cli.client import Client
from positron.cli.failures import CommandFailed

COUNTS = (
    "received",
    "published",
    "relayed",
    "delivered",
    "duplicate",
    "rejected",
    "recovered",
    "gaps",
    "bytes_in",
    "bytes_out",
)
"""What is counted of the whole node, by the name before `_total`."""

LINK_COUNTS = ("messages_in", "messages_out", "bytes_in", "bytes_out")

GONE = frozenset({"no_node", "not_running", "timeout"})
"""The words of errors that a restart of the node brings with it."""

RETRY_SECONDS = 0.5
"""How soon a node that is gone is looked for again."""


class Sample(NamedTuple):
    """The answers of one moment."""

    status: dict[str, Any]
    totals: dict[str, int]
    uptime: float
    peers: list[dict[str, Any]]
    topics: list[dict[str, Any]]


class Look(NamedTuple):
    """What one look at the node found."""

    status: dict[str, Any]
    reading: dict[str, Any]
    """As `--json` prints it. `seconds` and all rates are None where there is nothing yet to compare with."""
    gone: bool
    """Nobody answers; the rest is from the last time that somebody did."""
    notice: str
    """What there is to say about it, once; mostly empty."""


class Watch:
    """One node, watched over its restarts. The first look fails as any command does, if there is no node."""

    def __init__(self, node: Client, interval: float) -> None:
        self._node = node
        self._interval = interval
        self._due = 0.0
        self._before: Sample | None = None
        self._last: Look | None = None

    def pause(self) -> float:
        """Seconds until the next look is due."""
        return max(0.0, self._due - time.monotonic())

    def look(self) -> Look:
        """Ask the node everything, now."""
        began = time.monotonic()
        last = self._last
        try:
            now = _sample(self._node)
        except CommandFailed as error:
            if last is None or error.code not in GONE:
                raise
            self._due = began + min(self._interval, RETRY_SECONDS)
            self._before = None
            notice = "" if last.gone else "the node has stopped: waiting for it"
            self._last = last._replace(gone=True, notice=notice)
            return self._last
        finally:
            self._node.close()  # a node hangs up on who is silent for a minute
        self._due = began + self._interval
        notice = "the node is back" if last is not None and last.gone else ""
        if self._before is not None and _restarted(self._before, now):
            self._before, notice = None, "the node was restarted"
        self._last = Look(now.status, _reading(self._before, now), False, notice)
        self._before = now
        return self._last


def _sample(node: Client) -> Sample:
    stats = node.get("/v1/stats")
    totals = {f"{name}_total": stats["messages"].get(f"{name}_total", 0) for name in COUNTS}
    for name in ("bytes_in_total", "bytes_out_total"):
        totals[name] = stats[name]
    return Sample(
        node.get("/v1/status"),
        totals,
        stats["uptime_seconds"],
        node.get("/v1/peers")["peers"],
        node.get("/v1/topics")["topics"],
    )


def _restarted(before: Sample, now: Sample) -> bool:
    return now.uptime < before.uptime or any(now.totals[name] < before.totals[name] for name in before.totals)


def _reading(before: Sample | None, now: Sample) -> dict[str, Any]:
    seconds = None if before is None else now.uptime - before.uptime or None
    return {
        "time": time.time(),
        "seconds": seconds,
        "node_id": now.status["node_id"],
        "uptime_seconds": now.uptime,
        "up": now.status["peers"]["up"],
        **now.totals,
        **_rates(before.totals if before else {}, now.totals, COUNTS, seconds),
        "peers": _busiest(_links(before, now, seconds), "bytes_in", "bytes_out"),
        "topics": _busiest(_topics(before, now, seconds), "messages"),
    }


def _rates(
    before: Mapping[str, Any], now: Mapping[str, Any], names: tuple[str, ...], seconds: float | None
) -> dict[str, float | None]:
    """How much each count grew a second. What is smaller than before began anew, as did what was not there."""
    rates: dict[str, float | None] = {}
    for name in names:
        old, new = before.get(f"{name}_total", 0), now[f"{name}_total"]
        grown = new - old if new >= old else new
        rates[f"{name}_per_second"] = None if seconds is None else round(grown / seconds, 3)
    return rates


def _links(before: Sample | None, now: Sample, seconds: float | None) -> list[dict[str, Any]]:
    """The links, each with its rates; one that is younger than the one before to the same peer is another."""
    known = {peer["node_id"]: peer for peer in before.peers} if before else {}
    rows = []
    for peer in now.peers:
        old = known.get(peer["node_id"], {})
        same = old.get("connected_seconds", 0.0) <= peer["connected_seconds"]
        rows.append({**peer, **_rates(old if same else {}, peer, LINK_COUNTS, seconds)})
    return rows


def _topics(before: Sample | None, now: Sample, seconds: float | None) -> list[dict[str, Any]]:
    known = {topic["topic"]: topic for topic in before.topics} if before else {}
    return [
        {**topic, **_rates(known.get(topic["topic"], {}), topic, ("messages",), seconds)}
        for topic in now.topics
    ]


def _busiest(rows: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    """The rows with most traffic now first, then those with most so far."""

    def traffic(row: dict[str, Any]) -> tuple[float, int]:
        return (
            sum(row[f"{name}_per_second"] or 0.0 for name in names),
            sum(row[f"{name}_total"] for name in names),
        )

    return sorted(rows, key=traffic, reverse=True)
