"""The command that simulates a network of any size: simulate."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from positron.cli import sweeping
from positron.cli.failures import FAILED, CommandFailed
from positron.cli.output import BAR, Column, Output, progress_bar, trip
from positron.cli.scenarios import PROTOCOLS, command_of, scenario_of, scenario_options
from positron.cli.settings import Settings, pass_settings, shared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from positron.simulation.running import Outcome, Progress
    from positron.simulation.scenario import Scenario


def _own_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What is done with a scenario."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_OPTIONS = (
    click.option("--compare", is_flag=True, help="All protocols, one after the other, in one table."),
    click.option("--real", is_flag=True, help="Start so many real nodes on loopback instead (50 at most)."),
    click.option("--trace", type=int, metavar="MESSAGE", help="Show the way of one message, counted from 0."),
    click.option(
        "--sweep", type=click.Path(dir_okay=False), help="Play all the runs that this TOML file asks for."
    ),
    click.option("--scheduler", metavar="tcp://HOST:PORT", help="Sweep on the machines of a dask scheduler."),
    click.option("--csv", "csv_file", type=click.Path(dir_okay=False), help="Write each arrival there."),
    click.option("--plot", "plot_file", type=click.Path(dir_okay=False), help="Draw the coverage there."),
)


@click.command("simulate")
@scenario_options
@_own_options
@shared
@pass_settings
def simulate_(
    settings: Settings,
    compare: bool,
    real: bool,
    trace: int | None,
    sweep: str | None,
    scheduler: str | None,
    csv_file: str | None,
    plot_file: str | None,
    **values: Any,
) -> int:
    """Simulate a network in virtual time, and measure it.

    It forms from one node for 30 s, publishes, and goes on for 30 s after the last message or fault, without faults
    for 10 s after the last arrival; times of faults count from the first message. Ends with 1 if a positron node
    missed, repeated or invented anything.
    """
    if plot_file is not None and find_spec("matplotlib") is None:
        raise CommandFailed("config", "--plot needs matplotlib", "pip install 'positron[plot]'")
    if sweep is not None or scheduler is not None:
        return sweeping.run(Output(settings), _only_sweep(sweep), scheduler, COLUMNS)
    if real:
        _refuse_unreal(values, compare)
    names = PROTOCOLS if compare else (values["protocol"],)
    scenarios = [scenario_of({**values, "protocol": name}) for name in names]
    if trace is not None:
        _refuse_trace(trace, scenarios, real)
    if settings.is_last and len(scenarios) == 1:
        _leave_standing()
    outcomes = []
    for scenario in scenarios:
        with progress_bar(f"{scenario.protocol:<10} ") as progress:
            outcomes.append(_started(scenario, progress) if real else _simulated(scenario, progress, trace))
    output = Output(settings)
    _show(output, outcomes, compare)
    _write(outcomes, csv_file, plot_file)
    return _verdict(output, outcomes, *(["--real"] if real else []))


def _leave_standing() -> None:
    """The process ends with its network: taking the millions of objects apart would be a twentieth of its time."""
    gc.disable()
    atexit.register(gc.freeze)


def _simulated(scenario: Scenario, progress: Progress, trace: int | None) -> Outcome:
    from positron.simulation.running import simulate

    return simulate(scenario, progress, trace)


def _only_sweep(sweep: str | None) -> str:
    """The file of a sweep. UsageError without one, or if anything else is given that would say what to run."""
    context = click.get_current_context()
    given = [
        name
        for name in context.params
        if name not in ("sweep", "scheduler")
        and context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    if sweep is None or given:
        raise click.UsageError(
            "--sweep FILE stands alone, but for --scheduler: the file says all that is run"
        )
    return sweep


def _refuse_trace(trace: int, scenarios: Sequence[Scenario], real: bool) -> None:
    """UsageError for a message that there is not, or that is not positron's in a simulated network."""
    first = scenarios[0]
    if real or len(scenarios) > 1 or first.protocol != "positron":
        raise click.UsageError("--trace is for simulated nodes of positron alone")
    if not 0 <= trace < first.messages:
        raise click.UsageError(f"--trace: there are messages 0 to {first.messages - 1}")


def _refuse_unreal(values: dict[str, Any], compare: bool) -> None:
    """UsageError for what only a simulated network can be asked for."""
    from positron.simulation.real import MAX_NODES

    given = [
        name
        for name in ("crash", "partition", "churn", "malicious", "loss", "bandwidth", "skew", "warm_up")
        if values[name]
    ]
    if compare or values["protocol"] != "positron":
        given.append("compare" if compare else "protocol")
    if given:
        raise click.UsageError(f"--{given[0].replace('_', '-')} is for simulated nodes, not for --real ones")
    if values["nodes"] > MAX_NODES:
        raise click.UsageError(f"--real starts {MAX_NODES} nodes at most: give --nodes")


def _started(scenario: Scenario, progress: Progress) -> Outcome:
    """The outcome of real nodes, run by this process's reactor."""
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

    from positron.simulation.real import run_real

    ended: list[Any] = []

    def begin() -> None:
        running = Deferred.fromCoroutine(run_real(reactor, scenario, progress))
        running.addBoth(ended.append)
        running.addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()
    if not ended:
        raise KeyboardInterrupt
    if isinstance(ended[0], Failure):
        ended[0].raiseException()
    outcome: Outcome = ended[0]
    return outcome


def _percent(share: float) -> str:
    # What is not complete must not look so: 0.99999 is 99.999 %.
    return f"{int(share * 100_000) / 1000:.3f} %"


def _number(value: float) -> str:
    return f"{value:.2f}"


def _whole(value: float) -> str:
    return f"{value:.0f}"


COLUMNS = (
    Column("protocol", "PROTOCOL"),
    Column("delivery", "DELIVERY", _percent),
    Column("latency_seconds.p50", "P50", trip),
    Column("latency_seconds.p99", "P99", trip),
    Column("latency_seconds.p999"),
    Column("hops.p50"),
    Column("hops.p99", "HOPS"),
    Column("hops.max"),
    Column("copies_per_delivery", "COPIES", _number),
    Column("bytes_per_delivery", "BYTES", _whole),
    Column("control_bytes_per_delivery", "CONTROL", _whole),
    Column("heal_seconds", "HEALED", lambda value: f"{value:.2f} s"),
    Column("seed"),
    Column("nodes"),
    Column("messages"),
    Column("wall_seconds"),
    Column("events"),
)

TRACE_COLUMNS = (
    Column("node", "NODE", str),
    Column("from", "FROM", str),
    Column("seconds", "AFTER", trip),
    Column("hops", "HOP", str),
    Column("by", "BY", str),
)


def _show(output: Output, outcomes: Sequence[Outcome], compare: bool) -> None:
    """One object or a list of them as JSON; else the table, and for a terminal the curve of each run."""
    from positron.simulation.report import as_json, curve

    reports = [as_json(outcome) for outcome in outcomes]
    if output.json and not compare:
        output.object(reports[0])
        return
    rows = reports if output.json else [sweeping.flat(report) for report in reports]
    output.table({"runs": rows}, "runs", COLUMNS)
    for report in reports if not output.json else ():
        if "trace" in report:
            if not output.terminal:
                output.line("\t".join(column.field for column in TRACE_COLUMNS))
            output.table(report, "trace", TRACE_COLUMNS)
    for outcome in outcomes if output.terminal else ():
        output.line(f"\n{outcome.scenario.protocol}: coverage by the time after publication")
        for at, share in curve(outcome):
            output.line(f"{at * 1000:9.1f} ms  {'█' * int(share * BAR):<{BAR}}  {_percent(share)}")


def _write(outcomes: Sequence[Outcome], csv_file: str | None, plot_file: str | None) -> None:
    from positron.simulation.report import plot, write_csv

    try:
        if csv_file is not None:
            with open(csv_file, "w", encoding="utf-8", newline="") as file:
                write_csv(file, outcomes)
        if plot_file is not None:
            plot(plot_file, outcomes)
    except (OSError, ValueError) as error:  # ValueError: matplotlib knows no picture of that name's ending
        raise CommandFailed("config", str(error), "choose another file") from error


def _verdict(output: Output, outcomes: Sequence[Outcome], *flags: str) -> int:
    """1 if an own run lost, repeated or invented something; the checker's sentences and what replays them go to
    stderr."""
    failed = [
        outcome for outcome in outcomes if outcome.scenario.protocol == "positron" and not outcome.is_clean
    ]
    for outcome in failed:
        for fault in outcome.faults:
            output.hint(fault)
        output.hint(f"replay it with: {command_of(outcome.scenario, *flags)}")
    return FAILED if failed else 0
