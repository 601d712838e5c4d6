"""Several nodes on this computer: how fast, how late, at what cost, and whether all of it arrived.

Every node is a process of its own, on loopback, with TLS, signatures and a store on disk, linked as any network is: by
a bootstrap node and what peers tell of each other. Some of them publish; each message is owed to all others.
"""

from __future__ import annotations

import json
import secrets
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from positron.bench.counting import MIN_SIZE
from positron.bench.processes import Process, Processes
from positron.core.envelope import MAX_PAYLOAD

Progress = Callable[[float], None]
"""Told the share of the deliveries that are done, 0 to 1."""

MAX_NODES = 100
MAX_MESSAGES = 10_000_000
LINKS = 5
"""Links (or all others, if they are fewer) that every node has before the first message: a node's own target."""
LINKING = 60.0
"""Seconds that they may take for it."""
WARM_UP, WARM_RATE = 50, 50
"""Messages published before those that are measured, and how many a second: links choose their sources by them."""
QUIET = 15.0
"""Seconds without a new delivery that end a run: three rounds of anti-entropy."""
LOOK_EVERY = 0.25
"""Seconds between two looks at what has arrived."""


@frozen(kw_only=True)
class Plan:
    """What is measured. `rate` is messages a second of all authors together, 0 for flat out.

    The first `authors` nodes publish. The last `slow` nodes take `slow_seconds` for each message. ValueError with a
    sentence if it makes no sense.
    """

    nodes: int = 5
    messages: int = 50_000
    size: int = 256
    rate: float = 0.0
    authors: int = 1
    slow: int = 0
    slow_seconds: float = 0.01

    def __attrs_post_init__(self) -> None:
        largest = MAX_PAYLOAD - 5  # what msgpack puts before so many bytes
        for wrong, sentence in (
            (not 2 <= self.nodes <= MAX_NODES, f"--nodes is 2 to {MAX_NODES}"),
            (not 1 <= self.messages <= MAX_MESSAGES, f"--messages is 1 to {MAX_MESSAGES}"),
            (not MIN_SIZE <= self.size <= largest, f"--size is {MIN_SIZE} to {largest} bytes"),
            (not 0 <= self.rate < float("inf"), "--rate is messages a second, or 0 for flat out"),
            (not 1 <= self.authors <= self.nodes, "--authors are some of the nodes, 1 at least"),
            (not 0 <= self.slow < self.nodes, "--slow leaves one node at least that is not"),
        ):
            if wrong:
                raise ValueError(sentence)

    def share_of(self, author: int) -> tuple[int, int]:
        """The number of the first message of this author, and how many are its."""
        first = self.messages * author // self.authors
        return first, self.messages * (author + 1) // self.authors - first

    def owed_to(self, node: int) -> int:
        """How many messages are owed to this node: all but its own."""
        return self.messages - (self.share_of(node)[1] if node < self.authors else 0)


class _Run:
    """One run of a plan on nodes that are linked."""

    def __init__(self, plan: Plan, nodes: Processes, number: int) -> None:
        self.plan = plan
        self.nodes = nodes
        self.number = number
        self._owed = [plan.owed_to(node) for node in range(plan.nodes)]

    def play(self, progress: Progress) -> list[dict[str, Any]]:
        """Publish everything, and wait until it is everywhere or nothing comes any more. What each node heard."""
        plan = self.plan
        for index, node in enumerate(self.nodes):
            slow = plan.slow_seconds if index >= plan.nodes - plan.slow else 0.0
            node.ask("expect", run=self.number, total=plan.messages, slow=slow)
        authors = self.nodes[: plan.authors]
        for index, author in enumerate(authors):
            first, count = plan.share_of(index)
            author.tell(
                "publish",
                run=self.number,
                first=first,
                count=count,
                size=plan.size,
                rate=plan.rate / plan.authors,
            )
        self._wait(authors, progress)
        for author in authors:
            author.answer("publish", QUIET)
        return self.nodes.ask_all("report", run=self.number)

    def _wait(self, authors: Sequence[Process], progress: Progress) -> None:
        arrived, since = 0, time.monotonic()
        while arrived < sum(self._owed) and time.monotonic() - since < QUIET:
            time.sleep(LOOK_EVERY)
            counts = [one["messages"] for one in self.nodes.ask_all("count", run=self.number)]
            if sum(counts) > arrived:
                arrived, since = sum(counts), time.monotonic()
                progress(arrived / sum(self._owed))
            for author in authors:
                author.has("publish")


def start(folder: Path, count: int, **options: Any) -> Processes:
    """So many nodes that are linked. `options` are given to all of them, over what a measurement needs."""
    network = f"bench-{secrets.token_hex(8)}"
    nodes = Processes()
    try:
        bootstrap: list[str] = []
        for index in range(count):
            config = {
                "network": network,
                "host": "127.0.0.1",
                "port": 0,
                "bootstrap": bootstrap,
                "data_dir": str(folder / str(index)),
                **options,
            }
            nodes.append(Process(folder, str(index), "positron.bench.worker", [json.dumps(config)]))
            address = nodes[-1].ask("ready")["address"]
            bootstrap = bootstrap or [address]
        nodes.ask_all("linked", LINKING, peers=min(LINKS, count - 1))
    except BaseException:
        nodes.__exit__()
        raise
    return nodes


def measure(plan: Plan, progress: Progress = lambda _share: None) -> dict[str, Any]:
    """Start the nodes, publish, wait, stop. The figures, as `positron bench local --json` prints them.

    MeasureError if it could not be measured; a loss is a figure like others (`delivery` below 1).
    """
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="positron-bench-") as root:
        with start(Path(root), plan.nodes) as nodes:
            warm = Plan(nodes=plan.nodes, messages=WARM_UP, rate=WARM_RATE, authors=plan.authors)
            _Run(warm, nodes, 0).play(lambda _share: None)
            before = nodes.ask_all("spent")
            heard = _Run(plan, nodes, 1).play(progress)
            after = nodes.ask_all("spent")
    spent = [_difference(*pair) for pair in zip(before, after, strict=True)]
    return _figures(plan, heard, spent, time.monotonic() - begun)


def _difference(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    rising = ("cpu_seconds", "wire_bytes", "duplicates")
    return {
        name: value - before[name] if name in rising and value is not None else value
        for name, value in after.items()
    }


def _figures(
    plan: Plan, heard: list[dict[str, Any]], spent: list[dict[str, Any]], wall: float
) -> dict[str, Any]:
    rows = [
        {
            "node": index,
            "author": index < plan.authors,
            "owed": plan.owed_to(index),
            "messages": one["messages"],
            "messages_per_second": one["messages"] / one["seconds"] if one["seconds"] else 0.0,
            "latency_seconds": one["latency_seconds"],
            **{name: cost[name] for name in ("cpu_seconds", "rss_bytes", "duplicates")},
        }
        for index, (one, cost) in enumerate(zip(heard, spent, strict=True))
    ]
    receivers = [row for row in rows if row["owed"]]
    quick = [row for row in receivers if row["node"] < plan.nodes - plan.slow] or receivers
    delivered = sum(row["messages"] for row in receivers)
    wire = [one["wire_bytes"] for one in spent]
    return {
        "nodes": plan.nodes,
        "messages": plan.messages,
        "size": plan.size,
        "rate": plan.rate or None,
        "authors": plan.authors,
        "slow": plan.slow,
        "delivery": delivered / sum(row["owed"] for row in receivers),
        "repeated": sum(one["repeated"] for one in heard),
        "messages_per_second": min(row["messages_per_second"] for row in quick),
        "latency_seconds": {name: _worst(quick, name) for name in ("p50", "p99", "p999")},
        "cpu_seconds_per_1000": _ratio(sum(row["cpu_seconds"] for row in rows) * 1000, delivered),
        "busiest_cpu_seconds": max(row["cpu_seconds"] for row in rows),
        "wire_bytes_per_payload_byte": None if None in wire else _ratio(sum(wire), delivered * plan.size),
        "duplicates_per_1000": _ratio(sum(row["duplicates"] for row in rows) * 1000, delivered),
        "rss_bytes": max(row["rss_bytes"] for row in rows),
        "wall_seconds": wall,
        "receivers": rows,
    }


def _worst(rows: list[dict[str, Any]], name: str) -> float | None:
    return max((row["latency_seconds"][name] for row in rows if row["messages"]), default=None)


def _ratio(value: float, by: float) -> float | None:
    return value / by if by else None


def fault(figures: dict[str, Any]) -> str | None:
    """What was lost or came twice, in one sentence; None if nothing was."""
    lacking = [row for row in figures["receivers"] if row["messages"] < row["owed"]]
    if lacking:
        lost = sum(row["owed"] - row["messages"] for row in lacking)
        owed = sum(row["owed"] for row in figures["receivers"])
        where = ", ".join(str(row["node"]) for row in lacking)
        return f"{lost} of {owed} deliveries were lost, at node {where}"
    if figures["repeated"]:
        return f"{figures['repeated']} deliveries came twice"
    return None
