"""The figures that positron claims, measured beside its rivals, held to their goals, and written into a page.

    python benchmarks/evidence.py [--nodes 1000] [--seeds 5] [--rows 1,6] [--output docs/evidence.rst]

Each row is a scenario of `positron simulate` that every protocol meets with the same seeds, links, authors and faults.
Runs go over all cores. Ends with 1 if a goal is missed or a run was not clean, and says which. With `--reports FILE` a
run that is there already, of the same scenario and the same code, is not made again: an hour's work may be cut in two.
"""

from __future__ import annotations

import argparse
import math
import shlex
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen
from journal import Journal

from positron.cli.scenarios import command_of
from positron.simulation.scenario import Crash, Malicious, Partition, Scenario
from positron.simulation.sweep import Row, cores, sweep

OWN, MESH, SMALL_MESH, TREE, PUSH = "positron", "gossipsub", "gossipsub6", "plumtree", "push"
RIVALS = (MESH, SMALL_MESH, TREE, PUSH)
FIRST_SEED = 21
"""Seeds that nothing was tuned on."""

WARM_UP = 16.0
Report = dict[str, Any]
Reports = dict[str, list[Report]]
"""The reports of one row by protocol, in the order of their seeds."""


@frozen
class Goal:
    """What a row must show: `figure` of its reports is at most (or at least) `bound`."""

    text: str
    figure: Callable[[Reports], float | None]
    bound: float
    at_least: bool = False

    def holds(self, reports: Reports) -> bool:
        """Whether it was reached; a figure that nothing was measured for is none."""
        found = self.figure(reports)
        if found is None:
            return False
        return found >= self.bound if self.at_least else found <= self.bound


@frozen(kw_only=True)
class Evidence:
    """One row of the page. `seeds` are how many runs each protocol makes; positron alone runs if `alone`."""

    number: str
    title: str
    scenario: dict[str, Any] = field(factory=dict)
    goals: tuple[Goal, ...]
    seeds: int = 1
    alone: bool = False

    def scenarios(self, nodes: int, seeds: int, rivals: Sequence[str] = RIVALS) -> list[Scenario]:
        """The runs, protocol by protocol."""
        names = (OWN,) if self.alone else (OWN, *rivals)
        values = {"nodes": nodes, "warm_up": WARM_UP, **self.scenario}
        return [
            Scenario(protocol=name, seed=FIRST_SEED + number, **values)
            for name in names
            for number in range(min(self.seeds, seeds))
        ]


# ------------------------------------------------------------------------------------------------------- figures


def pick(report: Report, path: str) -> float | None:
    """The figure at a path of names joined with dots."""
    value: Any = report
    for name in path.split("."):
        value = value[name] if value is not None else None
    return None if value is None else float(value)


def over(
    reports: Iterable[Report], path: str, what: Callable[[list[float]], float] = statistics.median
) -> float | None:
    """The median over seeds, or `what` else is made of them; None if one of them has no such figure."""
    values = [pick(report, path) for report in reports]
    found = [value for value in values if value is not None]
    return what(found) if found and len(found) == len(values) else None


def own(
    path: str, what: Callable[[list[float]], float] = statistics.median
) -> Callable[[Reports], float | None]:
    """A figure of positron: the median over seeds, or the worst of them."""
    return lambda reports: over(reports[OWN], path, what)


def ratio(path: str, rival: str) -> Callable[[Reports], float | None]:
    """The median over seeds of positron's figure divided by the rival's of the same seed."""

    def figure(reports: Reports) -> float | None:
        if rival not in reports:
            return None
        pairs = [
            (pick(mine, path), pick(other, path))
            for mine, other in zip(reports[OWN], reports[rival], strict=True)
        ]
        found = [mine / other for mine, other in pairs if mine is not None and other]
        return statistics.median(found) if found and len(found) == len(pairs) else None

    return figure


ALL = Goal("delivered: 100 % of the pairs, in every run", own("delivery", min), 1.0, at_least=True)
P99, FIRST_P99, LATER_P99 = (
    "latency_seconds.p99",
    "first_6s.latency_seconds.p99",
    "after_20s.latency_seconds.p99",
)


def p99_at_most(seconds: float, path: str = P99, when: str = "") -> Goal:
    """A bound of the 99th percentile, as the median over seeds."""
    return Goal(f"p99{when} at most {seconds * 1000:.0f} ms", own(path), seconds)


IGNORED = Goal(
    "no teaser broke more than 4 promises to any node that did not ignore it yet",
    own("teasers.broken_promises_max", max),
    4,
)


def rows(nodes: int) -> tuple[Evidence, ...]:
    """What the page shows."""
    lying = {"duration": 26.0}
    return (
        Evidence(
            number="1-5",
            title="no fault",
            seeds=5,
            goals=(
                ALL,
                Goal("p50 at most 1.05 of gossipsub D=8", ratio("latency_seconds.p50", MESH), 1.05),
                Goal("p99 at most 1.10 of gossipsub D=8", ratio(P99, MESH), 1.10),
                Goal("at most 3.0 copies", own("copies_per_delivery"), 3.0),
                Goal("bytes at most 40 % of gossipsub D=8", ratio("bytes_per_delivery", MESH), 0.40),
                Goal("bytes at most 50 % of gossipsub D=6", ratio("bytes_per_delivery", SMALL_MESH), 0.50),
                Goal("at most 650 control bytes", own("control_bytes_per_delivery"), 650),
                Goal("hops p99 at most log2 n", own("hops.p99"), math.log2(nodes)),
            ),
        ),
        Evidence(
            number="3",
            title="fanout 2, no fault",
            scenario={"fanout": 2},
            alone=True,
            goals=(ALL, Goal("at most 2.2 copies", own("copies_per_delivery"), 2.2)),
        ),
        Evidence(
            number="5",
            title="50 messages a second",
            scenario={"rate": 50.0, "duration": 2.0, "warm_up": 4.0},
            alone=True,
            goals=(ALL, Goal("at most 450 control bytes", own("control_bytes_per_delivery"), 450)),
        ),
        Evidence(number="6", title="10 % loss", scenario={"loss": 0.1}, goals=(ALL, p99_at_most(0.300))),
        Evidence(
            number="7",
            title="33 % silent from the start",
            scenario={"malicious": Malicious(0.33, "silent")},
            goals=(ALL, p99_at_most(0.275)),
        ),
        Evidence(
            number="8",
            title="33 % turn silent at once",
            scenario={"malicious": Malicious(0.33, "silent", 0.0), **lying},
            goals=(
                ALL,
                p99_at_most(0.400, FIRST_P99, " of the first 6 s"),
                p99_at_most(0.275, LATER_P99, " after 20 s"),
            ),
        ),
        Evidence(
            number="9",
            title="50 % turn silent at once",
            scenario={"malicious": Malicious(0.5, "silent", 0.0), **lying},
            goals=(
                ALL,
                Goal("99.99 % within 10 s", own("delivery_within.10s", min), 0.9999, at_least=True),
                Goal("100 % within 30 s", own("delivery_within.30s", min), 1.0, at_least=True),
            ),
        ),
        Evidence(
            number="10",
            title="33 % tease: they announce and never deliver",
            scenario={"malicious": Malicious(0.33, "teasing", 0.0), **lying},
            goals=(ALL, p99_at_most(0.400), IGNORED),
        ),
        Evidence(
            number="10b",
            title="50 % tease",
            scenario={"malicious": Malicious(0.5, "teasing", 0.0), **lying},
            goals=(ALL, p99_at_most(0.500), IGNORED),
        ),
        Evidence(
            number="11",
            title="30 % go dark at once",
            scenario={"crash": Crash(0.3, 0.0)},
            goals=(ALL, p99_at_most(0.350, FIRST_P99, " of the first 6 s")),
        ),
        Evidence(
            number="12",
            title="two halves for 60 s, 30 messages meanwhile",
            scenario={"partition": Partition(60.0, 0.0), "rate": 0.5, "duration": 60.0, "warm_up": 30.0},
            goals=(
                ALL,
                Goal(
                    "complete 5 s after the first bridging link", own("heal_after_bridge_seconds", max), 5.0
                ),
                Goal("complete 20 s after the heal", own("heal_seconds", max), 20.0),
                Goal("at most 2.5 copies", own("copies_per_delivery"), 2.5),
            ),
        ),
        Evidence(
            number="13",
            title="churn: sessions of 5 min",
            scenario={"churn": True, "duration": 60.0, "rate": 1.0},
            goals=(ALL,),
        ),
        Evidence(
            number="mix",
            title="regions, 5 % loss, churn, 20 % tease, together",
            scenario={
                "latency": "regional",
                "loss": 0.05,
                "churn": True,
                "malicious": Malicious(0.2, "teasing", 0.0),
            },
            goals=(ALL, IGNORED),
        ),
    )


# ---------------------------------------------------------------------------------------------------------- page

COLUMNS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("delivered", "delivery", lambda value: f"{math.floor(value * 1e5) / 1e3:g} %"),
    ("p50", "latency_seconds.p50", lambda value: f"{value * 1000:.0f} ms"),
    ("p99", P99, lambda value: f"{value * 1000:.0f} ms"),
    ("p99, first 6 s", FIRST_P99, lambda value: f"{value * 1000:.0f} ms"),
    ("p99, after 20 s", LATER_P99, lambda value: f"{value * 1000:.0f} ms"),
    ("hops p99", "hops.p99", lambda value: f"{value:.0f}"),
    ("copies", "copies_per_delivery", lambda value: f"{value:.2f}"),
    ("bytes", "bytes_per_delivery", lambda value: f"{value:,.0f}"),
    ("control", "control_bytes_per_delivery", lambda value: f"{value:,.0f}"),
    ("healed", "heal_seconds", lambda value: f"{value:.2f} s"),
)


def heading(row: Evidence) -> list[str]:
    """The title of a row's section."""
    title = f"{row.number}: {row.title}"
    return [title, "-" * len(title), ""]


def section(row: Evidence, reports: Reports, scenarios: list[Scenario]) -> list[str]:
    """A row as reStructuredText: its table, its goals, and the command that replays its first run."""
    seeds = [report["seed"] for report in reports[OWN]]
    said = f"seed {seeds[0]}" if len(seeds) == 1 else f"medians of seeds {seeds[0]} to {seeds[-1]}"
    columns = [one for one in COLUMNS if any(over(found, one[1]) is not None for found in reports.values())]
    lines = [*heading(row), f"{scenarios[0].nodes} nodes, {said}::", ""]
    lines += [f"    {command_of(scenarios[0])}", "", ".. list-table::", "   :header-rows: 1", ""]
    lines += table_row(["protocol", *[name for name, _, _ in columns]])
    for name, found in reports.items():
        values = [(over(found, path), form) for _, path, form in columns]
        lines += table_row([name, *["–" if value is None else form(value) for value, form in values]])
    lines.append("")
    for goal in row.goals:
        value = goal.figure(reports)
        verdict = "met" if goal.holds(reports) else "missed"
        lines.append(
            f"- {goal.text}: " + ("not measured" if value is None else f"**{verdict}** ({value:.4g})")
        )
    return [*lines, ""]


def table_row(cells: list[str]) -> list[str]:
    """One row of a list-table."""
    return [f"   {'*' if number == 0 else ' '} - {cell}" for number, cell in enumerate(cells)]


PREAMBLE = """\
Evidence
========

What positron claims, measured: the real core in virtual time beside {rivals}, each written from its specification,
over the same links (lognormal, median 50 ms, unless a row says otherwise), with the same authors, faults and seeds.
Payloads are 1.2 kB. Each network forms by its own rules, says things for a while unmeasured, and is measured then.
Where a goal is missed, it says so. Nothing on this page is written by hand; this made it::

    {command}

Delivered is the share of the pairs of a message and an honest node that lives; copies and bytes are per first arrival,
frames and TLS records included. A single run of a rival says little about its tail; rows of one seed are that.
"""

Plan = tuple[Evidence, list[Scenario]]


def page(
    plans: Sequence[Plan], results: Sequence[Row], rivals: Sequence[str], command: str
) -> tuple[str, list[str]]:
    """The page of these rows' results, in their order, and a sentence for each goal missed and each run not clean."""
    lines, missed = [PREAMBLE.format(rivals=", ".join(rivals), command=command)], []
    left = list(results)
    for row, scenarios in plans:
        mine, left = left[: len(scenarios)], left[len(scenarios) :]
        reports, faults = measured(row, mine)
        missed += faults
        if all(one.report is not None for one in mine):
            lines += section(row, reports, scenarios)
            missed += [f"row {row.number}: {goal.text}" for goal in row.goals if not goal.holds(reports)]
        else:
            lines += [*heading(row), "Not measured: a run failed.", ""]
    return "\n".join(lines), missed


def measured(row: Evidence, results: list[Row]) -> tuple[Reports, list[str]]:
    """The reports of a row by protocol, and a sentence for each run that was not clean."""
    reports: Reports = {}
    faults = []
    for result in results:
        if result.report is not None:
            reports.setdefault(result.scenario.protocol, []).append(result.report)
        if not result.is_clean:
            faults.append(f"row {row.number}: {command_of(result.scenario)}: {'; '.join(result.faults[:3])}")
    return reports, faults


def made(scenarios: Sequence[Scenario], journal: Journal) -> list[Row]:
    """These runs in their order, those that the journal has from there."""
    found = {scenario: journal.find(scenario) for scenario in scenarios}
    rows = {scenario: row for scenario, row in found.items() if row is not None}
    missing = [scenario for scenario in found if scenario not in rows]

    def progress(done: int) -> None:
        print(f"{done} of {len(missing)} runs", file=sys.stderr, flush=True)

    if missing:
        with cores(len(missing)) as executor:
            for row in sweep(missing, executor, progress):
                journal.add(row)
                rows[row.scenario] = row
    return [rows[scenario] for scenario in scenarios]


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=5, help="at most so many seeds a row")
    parser.add_argument("--rows", default="", help="numbers of rows, separated by commas; all if not given")
    parser.add_argument("--rivals", default=",".join(RIVALS), help="against whom, separated by commas")
    parser.add_argument("--output", type=Path, help="write the page there")
    parser.add_argument(
        "--reports",
        type=Path,
        help="write every run's figures there, one JSON object a line, and take from there those that are made",
    )
    return parser.parse_args()


def command(options: argparse.Namespace) -> str:
    """The command line that measures the same; where the page and the reports went is nobody's business."""
    words = ["python", "benchmarks/evidence.py"]
    for name, default in (("nodes", 1000), ("seeds", 5), ("rows", ""), ("rivals", ",".join(RIVALS))):
        if (value := getattr(options, name)) != default:
            words += [f"--{name}", str(value)]
    return shlex.join(words)


def main() -> int:
    """Measure, write the page, and say what was missed."""
    options = parse()
    rivals = options.rivals.split(",")
    wanted = set(filter(None, options.rows.split(",")))
    chosen = [row for row in rows(options.nodes) if not wanted or row.number in wanted]
    plans = [(row, row.scenarios(options.nodes, options.seeds, rivals)) for row in chosen]
    every = [scenario for _, scenarios in plans for scenario in scenarios]
    results = made(every, Journal(options.reports))
    text, missed = page(plans, results, rivals, command(options))
    if options.output is not None:
        options.output.write_text(text, encoding="utf-8")
    print(text)
    for sentence in missed:
        print(f"missed: {sentence}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
