"""How cost grows with nodes, payload, authors and rate, and what slow readers and a million messages do.

    python benchmarks/growth.py --output docs/growth.inc

Each row is one run of `positron bench local`, whose command it shows; all of them in one sitting. CPU time is that of
all processes together for one delivery, as a multiple of V, the time to verify one signature, measured before each row.
`--rows NAME...` plays some of the tables, `--scale` less of the messages.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from attrs import evolve, fields

from positron.bench.local import Plan, fault, measure
from positron.bench.primitives import prices
from positron.bench.processes import MeasureError

FLAT = 20_000
MANY = 100_000
TABLES: dict[str, tuple[str, tuple[Plan, ...]]] = {
    "nodes": (
        "Nodes, flat out",
        tuple(Plan(nodes=nodes, messages=FLAT) for nodes in (2, 5, 10)),
    ),
    "size": (
        "Bytes of a payload, five nodes, flat out",
        tuple(
            Plan(size=size, messages=messages)
            for size, messages in (
                (64, FLAT),
                (256, FLAT),
                (1024, FLAT // 2),
                (4096, FLAT // 4),
                (16384, FLAT // 20),
            )
        ),
    ),
    "authors": (
        "Authors of five nodes, flat out",
        tuple(Plan(messages=FLAT, authors=authors) for authors in (1, 2, 5)),
    ),
    "rate": (
        "Messages a second, five nodes",
        tuple(
            Plan(messages=messages, rate=rate)
            for rate, messages in ((100, 1000), (1000, 5000), (5000, 20_000))
        ),
    ),
    "ten": (
        "Ten authors, ten nodes: no two messages of one author under one signature",
        tuple(
            Plan(nodes=10, authors=10, messages=messages, rate=rate)
            for rate, messages in ((300, 18_000), (600, 6_000), (1000, 10_000))
        ),
    ),
    "slow": (
        "A slow subscriber, and a node that stands still nine tenths of the time: what the others notice",
        (
            Plan(messages=900, rate=90),
            Plan(messages=900, rate=90, slow=1),
            Plan(messages=900, rate=90, halting=1),
        ),
    ),
    "links": (
        "Live links of the author: a hundred neighbours that only listen",
        tuple(
            Plan(nodes=2, messages=messages, rate=rate, idle=idle)
            for messages, rate in ((5000, 1000), (FLAT, 0))
            for idle in (0, 100)
        ),
    ),
    "million": ("A million messages: memory", (Plan(nodes=2, messages=1_000_000),)),
}
HEADS = ("command", "delivered", "messages/s", "p50", "p99", "CPU / V", "wire", "again", "memory", "growth")


def command(plan: Plan) -> str:
    """The command line that is this plan."""
    given = [
        (one.name, getattr(plan, one.name)) for one in fields(Plan) if getattr(plan, one.name) != one.default
    ]
    return " ".join(
        ["positron bench local", *(f"--{name} {str(value).removesuffix('.0')}" for name, value in given)]
    )


def row(plan: Plan) -> list[str]:
    """One run, as cells."""
    verify, _ = prices()
    try:
        found = measure(plan)
    except MeasureError as error:
        return [f"``{command(plan)}``", str(error), *["-"] * (len(HEADS) - 2)]
    problem = fault(found)
    if problem:
        print(f"{command(plan)}: {problem}", file=sys.stderr)
    return [f"``{command(plan)}``", *cells(found, verify)]


def cells(found: dict[str, Any], verify: float) -> list[str]:
    """The figures of a run."""
    latency = found["latency_seconds"]
    growth, wire = found["rss_growth"], found["wire_bytes_per_payload_byte"]
    return [
        f"{int(found['delivery'] * 100_000) / 1000:g} %",
        f"{found['messages_per_second']:,.0f}",
        *(f"{latency[name] * 1e3:.1f} ms" for name in ("p50", "p99")),
        f"{found['cpu_seconds_per_1000'] / 1000 / verify:.2f}",
        "-" if wire is None else f"{wire:.2f}",
        f"{found['duplicates_per_1000']:.0f}",
        f"{found['rss_bytes'] / (1 << 20):.0f} MiB",
        # Of few messages it is what a node takes once.
        "-" if growth is None or found["messages"] < MANY else f"{growth:.1f} B",
    ]


def table(title: str, rows: list[list[str]]) -> str:
    """A table under its title."""
    lines = [title, "." * len(title), "", ".. list-table::", "   :header-rows: 1", ""]
    for one in [list(HEADS), *rows]:
        lines += [f"   {'* -' if index == 0 else '  -'} {cell}" for index, cell in enumerate(one)]
    return "\n".join([*lines, ""])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", nargs="+", choices=list(TABLES), default=list(TABLES))
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of messages")
    parser.add_argument("--output", type=Path, help="write the tables there")
    options = parser.parse_args()
    written = []
    for name in options.rows:
        title, plans = TABLES[name]
        rows = []
        for plan in plans:
            plan = evolve(plan, messages=max(100, int(plan.messages * options.scale)))
            rows.append(row(plan))
            print("  ".join(rows[-1]), file=sys.stderr, flush=True)
        written.append(table(title, rows))
    text = "\n".join(written)
    if options.output is None:
        print(text)
    else:
        options.output.write_text(text)


if __name__ == "__main__":
    main()
