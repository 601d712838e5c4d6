"""The command that watches a node at work: top."""

from __future__ import annotations

import os
import time

import click

from positron.cli.finding import client
from positron.cli.output import SCHEMA, Output
from positron.cli.sampling import COUNTS, Watch
from positron.cli.settings import Seconds, Settings, pass_settings, shared

SHORTEST = 0.1
"""Seconds between two looks, at least."""

FIELDS = ("time", "up", *(f"{name}_total" for name in COUNTS), *(f"{name}_per_second" for name in COUNTS))


@click.command("top")
@click.option(
    "--interval", type=Seconds(), default=1.0, metavar="SECONDS", help="Time between two looks. [1]"
)
@click.option("--count", type=click.IntRange(1), help="End after so many.")
@shared
@pass_settings
def top_(settings: Settings, interval: float, count: int | None) -> int:
    """Watch the node at work: rates, its busiest peers and topics. q ends it.

    A pipe gets a line of totals and rates per interval. A restart of the node is waited for.
    """
    if interval < SHORTEST:
        raise click.UsageError(f"--interval is at least {SHORTEST:g} seconds")
    watch, output = Watch(client(settings), interval), Output(settings)
    if output.terminal and os.environ.get("TERM", "dumb") != "dumb":
        from positron.cli.live import show

        return show(watch, output, count)
    return _print(watch, output, count)


def _print(watch: Watch, output: Output, count: int | None) -> int:
    """A line for each look that has rates."""
    shown = 0
    while shown != count:
        look = watch.look()
        if look.notice:
            output.hint(look.notice)
        if not look.gone and look.reading["seconds"] is not None:
            shown += 1
            if output.json:
                output.json_line({"schema": SCHEMA, **look.reading})
            else:
                output.row(FIELDS, look.reading)
        if shown != count:
            time.sleep(watch.pause())
    return 0
