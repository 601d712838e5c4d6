"""What each step costs, as a ratio to the price of one signature (S) or its verification (V) in the same run.

A node is fed by a neighbour that does nothing else, so what its process spends is the price of what it is fed. It keeps
its messages in memory, but for the row that is about storing. CPU time is of all threads of the process.
"""

from __future__ import annotations

import gc
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import field, frozen

from positron.bench.primitives import best, prices
from positron.bench.processes import FEEDER, WORKER, MeasureError, Process, Processes, start
from positron.simulation.running import simulate
from positron.simulation.scenario import Scenario

SIZE = 256
"""Bytes of a payload."""
BUNDLE = 32
SINGLES, BUNDLES = 10_000, 1_500
"""Envelopes that a node is fed, with one message and with `BUNDLE`."""
AUTHORED, AUTHORED_BUNDLES = 1_500, 300
"""Envelopes that a node publishes."""
MESH = 5
"""Nodes that relay to each other."""
RELAYED, RELAYED_PACED, RELAYED_RATE = 4_000, 3_000, 1_000
HANDSHAKES = 100
LINKS = 100
ROWS, ROW_SIZE = 20_000, 300
UNVERIFIED = ("-m", "positron.bench.unverified")
REPEATS = 3
"""Measurements of a row, of which the best counts: what disturbs only ever adds."""
SIMULATED, SIMULATED_SECONDS = 100, 5.0
QUICK = 0.1
"""The share of the work that `quick` does, once."""
PATIENCE = 60.0
"""Seconds without anything more of what was fed that end a measurement."""

Progress = Callable[[float], None]
"""Told the share of the measurements that are done, 0 to 1."""


@frozen
class Goal:
    """A ratio and what it should be: at least `goal`, or at most. `unit` is V, S or what the value is in itself."""

    name: str
    about: str
    goal: float
    at_least: bool = False
    unit: str = "V"


GOALS = (
    Goal("receive", "V / CPU to receive a message that has a signature of its own", 0.80, True, ""),
    Goal("receive_rest", "all of that but verifying", 0.12),
    Goal("receive_bundle", "to receive one of 32 messages under one signature", 0.10),
    Goal("receive_rate", "messages a second received, each with its signature, x V", 1.4, True, ""),
    Goal("publish", "S / CPU to publish a message with a signature of its own", 0.80, True, ""),
    Goal("publish_bundle", "to publish one of 32 messages under one signature", 0.20, unit="S"),
    Goal("relay", "per message and node of a mesh of five, flat out", 1.7),
    Goal("relay_1000", "the same at 1,000 messages a second", 5.0),
    Goal("duplicates", "envelopes that come again, per message and node of that mesh", 0.3, unit=""),
    Goal("lateness", "p99 of how late the loop is while it receives flat out", 0.010, unit="s"),
    Goal("stored_row", "to store an envelope", 0.25),
    Goal("handshake", "TLS handshake, the dearer side", 25.0),
    Goal("idle_link", "memory of a link that is idle", 48.0, unit="KiB"),
    Goal("simulator", "events a second of CPU that a simulated network handles", 50_000, True, ""),
)
"""DESIGN.md section 13 and research/limits.md, in the words of docs/performance.rst."""


@frozen
class Ratio:
    """A goal and what was measured: `value` in the goal's unit, `raw` in seconds of CPU, bytes or a count."""

    goal: Goal
    value: float
    raw: float
    met: bool = field(init=False)

    @met.default
    def _is_met(self) -> bool:
        return self.value >= self.goal.goal if self.goal.at_least else self.value <= self.goal.goal


class _Bench:
    """The measurements, each a step, so that prices can be taken between them."""

    def __init__(self, root: Path, quick: bool) -> None:
        self._root = root
        self._share = QUICK if quick else 1.0
        self._repeats = 1 if quick else REPEATS
        self._number = 0
        self.raw: dict[str, float] = {}
        self.verify, self.sign = prices()

    def run(self, progress: Progress) -> None:
        """Do all of them; `raw` has what was found."""
        steps = (
            self._receive,
            self._receive_rest,
            self._receive_bundle,
            self._publish,
            self._relay,
            self._store,
            self._links,
            self._simulate,
        )
        for done, step in enumerate(steps, 1):
            step()
            verify, sign = prices()
            self.verify, self.sign = min(self.verify, verify), min(self.sign, sign)
            progress(done / len(steps))

    def _some(self, count: int) -> int:
        """As much as is to be done of it."""
        return max(1, round(count * self._share))

    def _best(self, once: Callable[[], float]) -> float:
        return best(once, self._repeats)

    # ----------------------------------------------------------------------------------------------- processes

    @contextmanager
    def _nodes(self, count: int, program: Sequence[str] = WORKER, **options: Any) -> Iterator[Processes]:
        """So many linked nodes that keep messages in memory, and behind them a feeder of the first.

        With the limits of `local` nothing that is measured here is held back.
        """
        self._number += 1
        folder = self._root / str(self._number)
        folder.mkdir()
        with start(folder, count, count - 1, program, data_dir=None, profile="local", **options) as nodes:
            feeding = json.dumps({"network": nodes.network, "address": nodes.address})
            nodes.append(Process(folder, "feeder", [*FEEDER, feeding]))
            yield nodes

    def _fed(
        self, nodes: Sequence[Process], envelopes: int, bundle: int, rate: float = 0.0
    ) -> dict[str, float]:
        """Feed the first node; what it cost each message and node, how long it took, and how late the loop was."""
        *receivers, feeder = nodes
        feeder.ask("link", count=1)
        feeder.ask("seal", envelopes=envelopes, bundle=bundle, size=SIZE)
        owed = envelopes * bundle
        before = [node.ask("spent") for node in receivers]
        for node in receivers:
            node.ask("fed")
        begun = time.monotonic()
        feeder.ask("feed", PATIENCE + envelopes / (rate or 1000), rate=rate)
        late = self._until_there(receivers, owed)
        seconds = time.monotonic() - begun
        after = [node.ask("spent") for node in receivers]
        shares = owed * len(receivers)

        def risen(name: str) -> float:
            return sum(end[name] - start[name] for start, end in zip(before, after, strict=True)) / shares

        return {
            "cpu": risen("cpu_seconds"),
            "duplicates": risen("duplicates"),
            "seconds": seconds / owed,
            "late": late,
        }

    def _until_there(self, receivers: Sequence[Process], owed: int) -> float:
        """Wait until every node has all that is owed; how late the first one's loop was."""
        since, most, late = time.monotonic(), 0, 0.0
        while True:
            found = [node.ask("fed") for node in receivers]
            late = max(late, found[0]["late_seconds"] or 0.0)
            arrived = [one["messages"] for one in found]
            if min(arrived) >= owed:
                return late
            if sum(arrived) > most:
                most, since = sum(arrived), time.monotonic()
            if time.monotonic() - since > PATIENCE:
                raise MeasureError(f"{owed - min(arrived)} of {owed} messages did not arrive")
            time.sleep(0.02)

    # -------------------------------------------------------------------------------------------- measurements

    def _receive(self) -> None:
        found = []
        for _ in range(self._repeats):
            with self._nodes(1) as nodes:
                found.append(self._fed(nodes, self._some(SINGLES), 1))
        self.raw["receive"] = min(one["cpu"] for one in found)
        self.raw["receive_rate"] = 1 / min(one["seconds"] for one in found)
        self.raw["lateness"] = min(one["late"] for one in found)

    def _receive_rest(self) -> None:
        def once() -> float:
            with self._nodes(1, UNVERIFIED) as nodes:
                return self._fed(nodes, self._some(SINGLES), 1)["cpu"]

        self.raw["receive_rest"] = self._best(once)

    def _receive_bundle(self) -> None:
        def once() -> float:
            with self._nodes(1) as nodes:
                return self._fed(nodes, self._some(BUNDLES), BUNDLE)["cpu"]

        self.raw["receive_bundle"] = self._best(once)

    def _publish(self) -> None:
        for name, envelopes, bundle in (
            ("publish", self._some(AUTHORED), 1),
            ("publish_bundle", self._some(AUTHORED_BUNDLES), BUNDLE),
        ):
            with self._nodes(2) as nodes:
                author, reader, _ = nodes
                reader.ask("fed")
                # Few: each puts the author's clock forward by seconds.
                spent = []
                for _ in range(self._repeats):
                    asked = author.ask("author", envelopes=envelopes, bundle=bundle, size=SIZE)
                    spent.append(asked["cpu_seconds"])
                self._until_there([reader], envelopes * bundle * self._repeats)
            self.raw[name] = min(spent) / (envelopes * bundle)

    def _relay(self) -> None:
        with self._nodes(MESH) as nodes:
            found = self._fed(nodes, self._some(RELAYED), 1)
            self.raw["relay"] = found["cpu"]
        with self._nodes(MESH) as nodes:
            found = self._fed(nodes, self._some(RELAYED_PACED), 1, RELAYED_RATE)
            self.raw["relay_1000"] = found["cpu"]
            self.raw["duplicates"] = found["duplicates"]

    def _store(self) -> None:
        rows = self._some(ROWS)
        with self._nodes(1) as nodes:

            def once() -> float:
                folder = Path(tempfile.mkdtemp(dir=self._root))
                return float(
                    nodes[0].ask("store", folder=str(folder), rows=rows, size=ROW_SIZE)["cpu_seconds"]
                )

            self.raw["stored_row"] = self._best(once) / rows

    def _links(self) -> None:
        shakes = self._some(HANDSHAKES)
        with self._nodes(1, max_peers=LINKS + 20) as (node, feeder):

            def once() -> float:
                before = node.ask("spent")["cpu_seconds"]
                dialler = feeder.ask("shake", count=shakes)["cpu_seconds"]
                return max(float(dialler), node.ask("spent")["cpu_seconds"] - before)

            self.raw["handshake"] = self._best(once) / shakes
            feeder.ask("link", count=1)
            before = node.ask("spent")["rss_bytes"]
            feeder.ask("link", count=LINKS - 1)
            node.ask("linked", peers=LINKS)
            self.raw["idle_link"] = (node.ask("spent")["rss_bytes"] - before) / (LINKS - 1)

    def _simulate(self) -> None:
        def once() -> float:
            gc.disable()  # as the command does: it does not take its network apart, which is no event
            try:
                begun = time.process_time()
                outcome = simulate(Scenario(nodes=self._some(SIMULATED), duration=SIMULATED_SECONDS))
                return (time.process_time() - begun) / (outcome.events or 1)
            finally:
                gc.enable()

        self.raw["simulator"] = 1 / self._best(once)


def measure(progress: Progress = lambda _share: None, quick: bool = False) -> dict[str, Any]:
    """All ratios, as `positron bench micro --json` prints them. MeasureError if one cannot be measured.

    `quick` does a tenth of the work, once: rough figures.
    """
    with tempfile.TemporaryDirectory(prefix="positron-bench-") as root:
        bench = _Bench(Path(root), quick)
        bench.run(progress)
    return figures(bench.raw, bench.verify, bench.sign)


def figures(raw: dict[str, float], verify: float, sign: float) -> dict[str, Any]:
    """The ratios of what was measured, in the order of `GOALS`."""
    return {
        "verify_seconds": verify,
        "sign_seconds": sign,
        "ratios": [
            _row(Ratio(goal, _value(goal, raw[goal.name], verify, sign), raw[goal.name])) for goal in GOALS
        ],
    }


def _value(goal: Goal, raw: float, verify: float, sign: float) -> float:
    match goal.name, goal.unit:
        case "receive", _:
            return verify / raw
        case "publish", _:
            return sign / raw
        case "receive_rate", _:
            return raw * verify
        case _, "V":
            return raw / verify
        case _, "S":
            return raw / sign
        case _, "KiB":
            return raw / 1024
        case _:
            return raw


def _row(ratio: Ratio) -> dict[str, Any]:
    goal = ratio.goal
    return {
        "name": goal.name,
        "value": ratio.value,
        "unit": goal.unit,
        "goal": goal.goal,
        "at_least": goal.at_least,
        "met": ratio.met,
        "raw": ratio.raw,
        "about": goal.about,
    }
