"""The command that measures positron on this computer: bench."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import click

from positron.cli.failures import FAILED
from positron.cli.output import Column, Output, progress_bar, size, trip
from positron.cli.settings import Settings, pass_settings, shared
from positron.cli.sweeping import flat

csv_option = click.option("--csv", "as_csv", is_flag=True, help="Print CSV, with a header.")


@click.group("bench")
def bench_() -> None:
    """Measure what positron costs on this computer."""


@bench_.command("local")
@click.option("--nodes", default=5, show_default=True, help="Processes, a node each.")
@click.option("--messages", default=50_000, show_default=True, help="How many are published, in all.")
@click.option("--size", "size_", default=256, show_default=True, help="Bytes of a payload.")
@click.option("--rate", default=0.0, help="Messages a second, of all authors together. [0: flat out]")
@click.option("--authors", default=1, show_default=True, help="Nodes that publish, each its share.")
@click.option("--slow", default=0, show_default=True, help="Nodes whose subscriber takes 10 ms a message.")
@click.option("--halting", default=0, show_default=True, help="Nodes that stand still 9/10 of the time.")
@click.option("--idle", default=0, show_default=True, help="Links of the first node that only listen.")
@csv_option
@shared
@pass_settings
def local(settings: Settings, as_csv: bool, size_: int, **values: Any) -> int:
    """Start real nodes on loopback, publish, and measure what arrives.

    Every message is signed, sent over TLS and stored on disk. Ends with 1 if any was lost or came twice. Latencies are
    the worst receiver's; flat out they are those of a queue, so give --rate for them.
    """
    from positron.bench.local import Plan, fault, measure

    try:
        plan = Plan(size=size_, **values)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    with progress_bar() as progress:
        figures = measure(plan, progress)
    output = Output(settings)
    if as_csv:
        _csv(output, [flat({name: value for name, value in figures.items() if name != "receivers"})])
    else:
        _show_local(output, figures)
    problem = fault(figures)
    if problem is not None:
        output.hint(problem)
    return FAILED if problem is not None else 0


@bench_.command("micro")
@click.option("--quick", is_flag=True, help="A tenth of the work, once: rough figures.")
@csv_option
@shared
@pass_settings
def micro(settings: Settings, as_csv: bool, quick: bool) -> None:
    """Measure what each step costs, beside the price of a signature.

    V is the CPU time to verify one Ed25519 signature, S to make one, measured in between; all else is a ratio to them,
    with its goal. Takes about a minute, and wants the computer for itself.
    """
    from positron.bench.micro import measure

    with progress_bar() as progress:
        figures = measure(progress, quick)
    output = Output(settings)
    if as_csv:
        _csv(output, figures["ratios"])
    elif output.json:
        output.object(figures)
    else:
        output.table(figures, "ratios", RATIOS)
        if output.terminal:
            verify, sign = (figures[name] * 1e6 for name in ("verify_seconds", "sign_seconds"))
            output.line(f"\nV = {verify:.1f} µs, S = {sign:.1f} µs")


RATIOS = (
    Column("about", "WHAT"),
    Column("name"),
    Column("value", "IS", lambda value: f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"),
    Column("unit", ""),
    Column("at_least", "GOAL", lambda at_least: ">=" if at_least else "<="),
    Column("goal", " ", lambda value: f"{value:,.10g}"),
    Column("met", "MET", lambda met: "yes" if met else "MISSED"),
    Column("raw"),
)

NODES = (
    Column("node", "NODE", str),
    Column("author", "PUBLISHED", lambda value: "yes" if value else ""),
    Column("messages", "HEARD", str),
    Column("messages_per_second", "PER SECOND", lambda value: f"{value:,.0f}"),
    Column("latency_seconds.p50", "P50", trip),
    Column("latency_seconds.p99", "P99", trip),
    Column("latency_seconds.p999", "P99.9", trip),
    Column("cpu_seconds", "CPU", lambda value: f"{value:.2f} s"),
    Column("rss_bytes", "MEMORY", size),
)


def _show_local(output: Output, figures: Mapping[str, Any]) -> None:
    """One object as JSON; else its figures by name, and for a terminal a row for each node."""
    if output.json:
        output.object(figures)
        return
    output.object({name: value for name, value in figures.items() if name != "receivers"})
    if output.terminal:
        output.line("")
        output.table({"receivers": [flat(row) for row in figures["receivers"]]}, "receivers", NODES)


def _csv(output: Output, rows: Sequence[Mapping[str, Any]]) -> None:
    """These rows under one header; a value that there is not is an empty field."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    output.line(text.getvalue().rstrip("\n"))
