"""Several nodes on this computer: how fast, how late, at what cost, and whether all of it arrived.

Every node is a process of its own, on loopback, with TLS, signatures and a store on disk, linked as any network is: by
a bootstrap node and what peers tell of each other. Some of them publish; each message is owed to all others.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import linear_regression
from typing import Any

from attrs import frozen

from positron.bench.counting import MIN_SIZE
from positron.bench.processes import FEEDER, Process, Processes, halting, start
from positron.core.envelope import MAX_PAYLOAD

Progress = Callable[[float], None]
"""Told the share of the deliveries that are done, 0 to 1."""

MAX_NODES = 100
MAX_MESSAGES = 10_000_000
MAX_IDLE = 1_000
ROOM = 16
"""Places for links that a node has over those it is given: half of them are for nodes that it dials itself."""
LINKS = 5
"""Links (or all others, if they are fewer) that every node has before the first message: a node's own target."""
WARM_UP, WARM_RATE = 50, 50
"""Messages published before those that are measured, and how many a second: links choose their sources by them."""
QUIET = 15.0
"""Seconds without a new delivery that end a run: three rounds of anti-entropy."""
LOOK_EVERY, SELDOM = 0.25, 1.0
"""Seconds between two looks at what has arrived; where a rate makes it last, a tenth of that, up to `SELDOM`. A look
takes a node 0.24 ms: four a second are a fortieth of all it does at 100 messages a second."""
SLOW_SECONDS = 0.01
"""What a slow subscriber takes for each message."""


@frozen(kw_only=True)
class Plan:
    """What is measured. `rate` is messages a second of all authors together, 0 for flat out.

    The first `authors` nodes publish. The last `slow` nodes have a subscriber that takes `SLOW_SECONDS` for a message,
    and the `halting` ones before those stand still nine tenths of the time. The first node has `idle` links more, to
    neighbours that take what they are sent and say nothing. ValueError with a sentence if it makes no sense.
    """

    nodes: int = 5
    messages: int = 50_000
    size: int = 256
    rate: float = 0.0
    authors: int = 1
    slow: int = 0
    halting: int = 0
    idle: int = 0

    def __attrs_post_init__(self) -> None:
        largest = MAX_PAYLOAD - 5  # what msgpack puts before so many bytes
        for wrong, sentence in (
            (not 2 <= self.nodes <= MAX_NODES, f"--nodes is 2 to {MAX_NODES}"),
            (not 1 <= self.messages <= MAX_MESSAGES, f"--messages is 1 to {MAX_MESSAGES}"),
            (not MIN_SIZE <= self.size <= largest, f"--size is {MIN_SIZE} to {largest} bytes"),
            (not 0 <= self.rate < float("inf"), "--rate is messages a second, or 0 for flat out"),
            (not 1 <= self.authors <= self.nodes, "--authors are some of the nodes, 1 at least"),
            (not 0 <= self.slow <= self.nodes, "--slow are some of the nodes"),
            (not 0 <= self.halting <= self.nodes, "--halting are some of the nodes"),
            (not 0 <= self.idle <= MAX_IDLE, f"--idle is 0 to {MAX_IDLE}"),
            (self.quick < 2, "--slow and --halting leave two nodes at least, the first author among them"),
        ):
            if wrong:
                raise ValueError(sentence)

    @property
    def quick(self) -> int:
        """How many nodes, the first ones, are neither slow nor halting: what is said of receivers is said of them."""
        return self.nodes - self.slow - self.halting

    def share_of(self, author: int) -> tuple[int, int]:
        """The number of the first message of this author, and how many are its."""
        first = self.messages * author // self.authors
        return first, self.messages * (author + 1) // self.authors - first

    def owed_to(self, node: int) -> int:
        """How many messages are owed to this node: all but its own."""
        return self.messages - (self.share_of(node)[1] if node < self.authors else 0)


class Run:
    """One run of a plan on nodes that are linked."""

    def __init__(self, plan: Plan, nodes: Processes, number: int) -> None:
        self.plan = plan
        self.nodes = nodes
        self.number = number
        self._owed = [plan.owed_to(node) for node in range(plan.nodes)]
        self.memory: list[tuple[int, int]] = []
        """Of looks at it: deliveries so far, of all nodes, and the most memory that one of them had."""

    def play(self, progress: Progress) -> None:
        """Publish everything, and wait until it is everywhere or nothing comes any more."""
        plan = self.plan
        for index, node in enumerate(self.nodes):
            slow = SLOW_SECONDS if index >= plan.nodes - plan.slow else 0.0
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
        with halting(self.nodes[plan.quick : plan.quick + plan.halting]):
            self._wait(authors, progress)
        for author in authors:
            author.answer("publish", QUIET)

    def report(self) -> list[dict[str, Any]]:
        """What each node heard. To sort a million delays takes memory: ask what was spent first."""
        return self.nodes.ask_all("report", run=self.number)

    def _wait(self, authors: Sequence[Process], progress: Progress) -> None:
        lasts = self.plan.messages / self.plan.rate if self.plan.rate else 0.0
        every = min(SELDOM, max(LOOK_EVERY, lasts / 10))
        arrived, since = 0, time.monotonic()
        while arrived < sum(self._owed) and time.monotonic() - since < QUIET:
            time.sleep(every)
            found = self.nodes.ask_all("count", run=self.number)
            counted = sum(one["messages"] for one in found)
            self.memory.append((counted, max(one["rss_bytes"] for one in found)))
            if counted > arrived:
                arrived, since = counted, time.monotonic()
                progress(arrived / sum(self._owed))
            for author in authors:
                author.has("publish")


@contextmanager
def _started(root: Path, plan: Plan) -> Iterator[Processes]:
    """The plan's nodes, linked, and the idle neighbours of the first."""
    room: dict[str, Any] = {"max_peers": plan.nodes + plan.idle + ROOM} if plan.idle else {}
    with start(root, plan.nodes, min(LINKS, plan.nodes - 1), **room) as nodes, Processes() as feeders:
        if plan.idle:
            place = json.dumps({"network": nodes.network, "address": nodes.address})
            feeders.append(Process(root, "idle", [*FEEDER, place]))
            feeders[0].ask("link", count=plan.idle)
        yield nodes


def measure(plan: Plan, progress: Progress = lambda _share: None) -> dict[str, Any]:
    """Start the nodes, publish, wait, stop. The figures, as `positron bench local --json` prints them.

    MeasureError if it could not be measured; a loss is a figure like others (`delivery` below 1).
    """
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="positron-bench-") as root:
        with _started(Path(root), plan) as nodes:
            warm = Plan(nodes=plan.nodes, messages=WARM_UP, rate=WARM_RATE, authors=plan.authors)
            Run(warm, nodes, 0).play(lambda _share: None)
            before = nodes.ask_all("spent")
            run = Run(plan, nodes, 1)
            run.play(progress)
            after = nodes.ask_all("spent")
            heard = run.report()
    spent = [_difference(*pair) for pair in zip(before, after, strict=True)]
    found = _figures(plan, heard, spent)
    growth = _growth(run.memory)
    return {
        **found,
        "rss_growth": None if growth is None else growth * (plan.nodes - 1),
        "wall_seconds": time.monotonic() - begun,
    }


def _difference(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    rising = ("cpu_seconds", "wire_bytes", "duplicates")
    return {
        name: value - before[name] if name in rising and value is not None else value
        for name, value in after.items()
    }


def _figures(plan: Plan, heard: list[dict[str, Any]], spent: list[dict[str, Any]]) -> dict[str, Any]:
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
    quick = [row for row in receivers if row["node"] < plan.quick]
    delivered = sum(row["messages"] for row in receivers)
    wire = [one["wire_bytes"] for one in spent]
    return {
        "nodes": plan.nodes,
        "messages": plan.messages,
        "size": plan.size,
        "rate": plan.rate or None,
        "authors": plan.authors,
        "slow": plan.slow,
        "halting": plan.halting,
        "idle": plan.idle,
        "delivery": delivered / sum(row["owed"] for row in receivers),
        "repeated": sum(one["repeated"] for one in heard),
        "messages_per_second": min(row["messages_per_second"] for row in quick),
        "latency_seconds": {name: _worst(quick, name) for name in ("p50", "p99", "p999")},
        "cpu_seconds_per_1000": _ratio(sum(row["cpu_seconds"] for row in rows) * 1000, delivered),
        "busiest_cpu_seconds": max(row["cpu_seconds"] for row in rows),
        "wire_bytes_per_payload_byte": None if None in wire else _ratio(sum(wire), delivered * plan.size),
        "duplicates_per_1000": _ratio(sum(row["duplicates"] for row in rows) * 1000, delivered),
        "rss_bytes": max(row["rss_bytes"] for row in rows),
        "receivers": rows,
    }


def _growth(memory: list[tuple[int, int]]) -> float | None:
    """Bytes of memory for each delivery, over the second half of the looks; None of too few.

    The slope of the line of least squares.
    """
    half = memory[len(memory) // 2 :]
    if len({counted for counted, _ in half}) < 2:
        return None
    return linear_regression(*zip(*half, strict=True)).slope


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
