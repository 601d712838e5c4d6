"""The node's counters as Prometheus metric families, made at each scrape from what the node counts anyway.

Rule: base units, `_total` on counters, no label that a peer can choose: no peer ids, at most MAX_TOPICS topics.
`prometheus_client` is imported when first asked for, and its Twisted part never (it imports the reactor).
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator
from typing import Any

import twisted

MAX_TOPICS = 50
"""Topics beyond the busiest 50 are added up under `other`."""

RTT_BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
TRUST_BUCKETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

COUNTERS = {
    "published": "Messages published here.",
    "received": "Messages received and accepted.",
    "delivered": "Messages handed to the application.",
    "recovered": "Messages that filled an announced gap.",
}
"""The counters of status' `messages` that keep their name."""


def exposition(node: Any, accept: str) -> tuple[bytes, str]:
    """The text of a scrape and its content type, in the format that the `Accept` header prefers."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(node))
    encode, kind = choose_encoder(accept)
    return encode(registry), kind


class _Collector:
    """What a registry asks for the families."""

    def __init__(self, node: Any) -> None:
        self._node = node

    def describe(self) -> list[Any]:
        """Nothing in advance: what is exposed follows what the node has."""
        return []

    def collect(self) -> Iterator[Any]:
        """Every family."""
        status = self._node.status()
        yield from _messages(status)
        yield from _links(status, self._node.peers())
        yield from _connections(self._node.stats())
        yield from _rest(status)
        yield _topics(self._node.topics())


def _messages(status: dict[str, Any]) -> Iterator[Any]:
    from prometheus_client.core import CounterMetricFamily

    counts = status["messages"]
    for name, text in COUNTERS.items():
        yield CounterMetricFamily(f"positron_messages_{name}", text, value=counts[f"{name}_total"])
    yield CounterMetricFamily(
        "positron_messages_forwarded", "Messages relayed to peers.", value=counts["relayed_total"]
    )
    yield CounterMetricFamily(
        "positron_gaps", "Gaps announced to the application.", value=counts["gaps_total"]
    )
    yield CounterMetricFamily(
        "positron_envelopes_duplicate", "Envelopes that were here already.", value=counts["duplicate_total"]
    )
    rejected = CounterMetricFamily("positron_messages_dropped", "Envelopes rejected.", labels=["reason"])
    for reason, count in sorted(status["rejected"].items()):
        rejected.add_metric([reason], count)
    yield rejected


def _links(status: dict[str, Any], peers: Iterable[Any]) -> Iterator[Any]:
    from prometheus_client.core import GaugeMetricFamily

    counts: dict[tuple[str, str], int] = {
        (state, way): 0 for state in ("up", "suspect") for way in ("in", "out")
    }
    peers = list(peers)
    for peer in peers:
        counts[peer.state, peer.direction] = counts.get((peer.state, peer.direction), 0) + 1
    family = GaugeMetricFamily("positron_peers", "Links.", labels=["state", "direction"])
    for (state, way), count in counts.items():
        family.add_metric([state, way], count)
    yield family
    yield GaugeMetricFamily("positron_peers_known", "Peers known.", value=status["peers"]["known"])
    yield GaugeMetricFamily("positron_peers_banned", "Peers banned.", value=status["peers"]["banned"])
    trips = [peer.rtt_seconds for peer in peers if peer.rtt_seconds is not None]
    yield _histogram("positron_rtt_seconds", "Round trips of the links.", RTT_BUCKETS, trips)
    scores = [peer.trust for peer in peers]
    yield _histogram("positron_trust_score", "Trust in the linked peers.", TRUST_BUCKETS, scores)


def _connections(stats: Any) -> Iterator[Any]:
    from prometheus_client.core import CounterMetricFamily

    yield CounterMetricFamily("positron_bytes_received", "Bytes from all links.", value=stats.bytes_in_total)
    yield CounterMetricFamily("positron_bytes_sent", "Bytes to all links.", value=stats.bytes_out_total)
    yield CounterMetricFamily("positron_connections_opened", "Links begun.", value=stats.links_opened_total)
    for name, text, counts in (
        ("positron_connections_closed", "Links ended.", stats.links_closed),
        ("positron_handshake_failures", "Connections that became no link, both ways.", stats.links_refused),
    ):
        family = CounterMetricFamily(name, text, labels=["reason"])
        for reason, count in sorted(counts.items()):
            family.add_metric([reason], count)
        yield family


def _rest(status: dict[str, Any]) -> Iterator[Any]:
    from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily

    store = status["store"]
    yield GaugeMetricFamily("positron_ready", "1 once the node is ready.", value=int(status["ready"]))
    yield GaugeMetricFamily(
        "positron_uptime_seconds", "Time since the start.", value=status["uptime_seconds"]
    )
    skew = status["clock_skew_seconds"]
    if skew is not None:
        yield GaugeMetricFamily(
            "positron_clock_skew_seconds", "Our clock against the peers' median.", value=skew
        )
    yield GaugeMetricFamily("positron_storage_bytes", "Bytes of stored envelopes.", value=store["bytes"])
    yield GaugeMetricFamily("positron_storage_envelopes", "Envelopes stored.", value=store["envelopes"])
    yield GaugeMetricFamily("positron_storage_messages", "Messages stored.", value=store["messages"])
    versions = {
        "version": str(status["version"]),
        "python": platform.python_version(),
        "twisted": twisted.__version__,
    }
    yield InfoMetricFamily("positron_build", "Versions.", value=versions)


def _topics(topics: Iterable[Any]) -> Any:
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily("positron_topic_messages", "Messages by topic.", labels=["topic"])
    ordered = sorted(topics, key=lambda topic: (-topic.messages_total, topic.topic))
    for topic in ordered[:MAX_TOPICS]:
        family.add_metric([topic.topic], topic.messages_total)
    if ordered[MAX_TOPICS:]:
        family.add_metric(["other"], sum(topic.messages_total for topic in ordered[MAX_TOPICS:]))
    return family


def _histogram(name: str, text: str, bounds: tuple[float, ...], values: list[float]) -> Any:
    """How the values of this moment are spread: a gauge histogram, since it also shrinks."""
    from prometheus_client.core import GaugeHistogramMetricFamily

    buckets = [(f"{bound:g}", sum(1 for value in values if value <= bound)) for bound in bounds]
    return GaugeHistogramMetricFamily(
        name, text, buckets=[*buckets, ("+Inf", len(values))], gsum_value=sum(values)
    )
