"""The file of a sweep, and what `simulate --sweep` does with it.

Rule: a value in the file is what would stand on the command line, and is read and refused in the same words.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from itertools import product
from typing import TYPE_CHECKING, Any

import click

from positron.cli.failures import FAILED, CommandFailed
from positron.cli.output import Column, Output
from positron.cli.scenarios import command_of, scenario_of, scenario_options

if TYPE_CHECKING:
    from positron.simulation.scenario import Scenario
    from positron.simulation.sweep import Row

TABLES = ("base", "vary", "seeds")


def read(path: str) -> tuple[list[Scenario], list[str]]:
    """The runs that a file asks for, and the names of what varies. CommandFailed or UsageError with a sentence if it
    cannot be read or makes no sense."""
    try:
        with open(path, "rb") as file:
            asked = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise CommandFailed(
            "config", f"{path}: {error}", "name a TOML file that describes the runs"
        ) from error
    base, vary, seeds = asked.get("base", {}), asked.get("vary", {}), asked.get("seeds", 1)
    unknown = sorted(set(asked) - set(TABLES))
    if unknown or not isinstance(base, dict) or not isinstance(vary, dict):
        raise click.UsageError(
            f"{path}: it has {', '.join(TABLES)}, and no {', '.join(unknown) or 'other form'}"
        )
    if type(seeds) is int:
        seeds = list(range(1, seeds + 1))
    for name, values in {**vary, "seeds": seeds}.items():
        if not isinstance(values, list) or not values:
            raise click.UsageError(f"{path}: {name} is a list of values, one at least")
    choices = [[(name, value) for value in values] for name, values in {**vary, "seed": seeds}.items()]
    return [_scenario({**base, **dict(chosen)}, path) for chosen in product(*choices)], list(vary)


def _scenario(values: dict[str, Any], path: str) -> Scenario:
    """The scenario of these values, as the command line would make it."""
    words = []
    for name, value in values.items():
        flag = "--" + name.replace("_", "-")
        if type(value) is bool:
            words += [flag] if value else []
        else:
            for one in value if isinstance(value, list) else [value]:
                words += [flag, str(one)]
    command: click.Command = click.command("sweep")(scenario_options(lambda: None))
    try:
        return scenario_of(command.make_context(path, words).params)
    except click.UsageError as error:
        raise click.UsageError(f"{path}: {error.format_message()}") from error


def run(output: Output, path: str, scheduler: str | None, columns: Sequence[Column]) -> int:
    """Play the runs of a file; a row for each. 1 if one of positron's was not clean or any raised."""
    if scheduler is not None and find_spec("distributed") is None:
        raise CommandFailed("config", "--scheduler needs dask.distributed", "pip install 'positron[cluster]'")
    scenarios, varied = read(path)
    rows = _played(scenarios, scheduler, output, varied)
    shown = [Column(name, name.upper(), str) for name in varied if name not in {c.field for c in columns}]
    if not output.json:
        found = [{**_parameters(row, varied), **flat(row.report)} for row in rows if row.report is not None]
        output.table({"runs": found}, "runs", [*shown, Column("seed", "SEED", str), *_without_seed(columns)])
    failed = [row for row in rows if not row.is_clean]
    for row in failed:
        for fault in row.faults:
            output.hint(fault)
        output.hint(f"replay it with: {command_of(row.scenario)}")
    return FAILED if failed else 0


def _without_seed(columns: Sequence[Column]) -> list[Column]:
    return [column for column in columns if column.field != "seed"]


def _played(scenarios: list[Scenario], scheduler: str | None, output: Output, varied: list[str]) -> list[Row]:
    """All rows; as JSON each is printed as soon as it is there."""
    from positron.simulation.sweep import cluster, cores, sweep

    rows = []
    try:
        with cores(len(scenarios)) if scheduler is None else cluster(scheduler) as executor:
            for row in sweep(scenarios, executor, _progress(len(scenarios))):
                rows.append(row)
                if output.json:
                    found = row.report if row.report is not None else {"error": row.faults[0]}
                    output.object(
                        {**found, "parameters": _parameters(row, varied), "command": command_of(row.scenario)}
                    )
    except OSError as error:
        raise CommandFailed(
            "config", f"no scheduler at {scheduler}: {error}", "start one with `dask scheduler`"
        ) from error
    return rows


def _parameters(row: Row, varied: list[str]) -> dict[str, Any]:
    return {name: _plain(getattr(row.scenario, name.replace("-", "_"))) for name in varied}


def _plain(value: Any) -> Any:
    return " ".join(str(one) for one in value) if isinstance(value, tuple) else value


def flat(report: dict[str, Any]) -> dict[str, Any]:
    """Nested figures under their names joined with dots, as columns name them."""
    found: dict[str, Any] = {}
    for name, value in report.items():
        found |= (
            {f"{name}.{key}": one for key, one in value.items()} if isinstance(value, dict) else {name: value}
        )
    return found


def _progress(count: int) -> Callable[[int], None]:
    """A line on stderr, if that is a terminal."""

    def told(done: int) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\033[K{done} of {count} runs" if done < count else "\r\033[K")
            sys.stderr.flush()

    return told
