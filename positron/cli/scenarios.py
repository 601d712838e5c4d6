"""What `simulate` is told: its options, the scenario that they make, and the command line that a scenario is.

Rule: `scenario_of` and `command_of` undo each other, so that a run that fails can name the command that replays it.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from positron.simulation.scenario import Scenario

PROTOCOLS = ("positron", "push", "gossipsub", "gossipsub6", "plumtree")
BEHAVIOURS = ("silent", "turning", "teasing", "flooding", "forging", "lying")


class Share(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.4 on
    """A share: 0.1 or 10%."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """From 0 to below 1."""
        text = str(value)
        try:
            share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
        except ValueError:
            share = -1.0
        if not 0 <= share < 1:
            self.fail(f"{text!r} is not a share (such as 0.1 or 10%)", param, ctx)
        return share


class Span(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.4 on
    """A time span: 50ms, 20, 20s or 2m."""

    name = "duration"
    units = (("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds, not negative."""
        text = str(value)
        unit, factor = next(((unit, by) for unit, by in self.units if text.endswith(unit)), ("", 1.0))
        try:
            seconds = float(text.removesuffix(unit)) * factor
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds < float("inf"):
            self.fail(f"{text!r} is not a duration (such as 50ms, 20s or 2m)", param, ctx)
        return seconds


class Links(Span):
    """A rule of latencies: a time span (the median), `regional`, or `@` and a file's name."""

    name = "SPAN|regional|@FILE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Seconds, or the rule as it is."""
        if isinstance(value, str) and (value == "regional" or value.startswith("@")):
            return value
        return super().convert(value, param, ctx)


class Bandwidth(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.4 on
    """Bits a second: 20mbit, 512kbit, 1gbit or a plain number."""

    name = "bandwidth"
    units = (("kbit", 1e3), ("mbit", 1e6), ("gbit", 1e9), ("bit", 1.0))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Bits a second, not negative."""
        text = str(value)
        unit, factor = next(((unit, by) for unit, by in self.units if text.endswith(unit)), ("", 1.0))
        try:
            bits = float(text.removesuffix(unit)) * factor
        except ValueError:
            bits = -1.0
        if not 0 <= bits < float("inf"):
            self.fail(f"{text!r} is not a bandwidth (such as 20mbit or 512kbit)", param, ctx)
        return bits


class Parts(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.4 on
    """Values with a sign before all but the first, such as SHARE@TIME. One whose sign is written with a `[`, as in
    `[@`, may be left out."""

    def __init__(self, form: str, first: Any, *more: tuple[str, Any]) -> None:
        self.name = form
        self._first = first
        self._more = more

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        """All of them, in order, without what was left out at the end."""
        rest = str(value)
        parts: list[Any] = []
        for sign, kind in reversed(self._more):
            before, found, after = rest.rpartition(sign.removeprefix("["))
            if found:
                rest = before
                parts.append(kind.convert(after, param, ctx))
            elif not sign.startswith("["):
                self.fail(f"{value!r} is not of the form {self.name}", param, ctx)
        return (self._first.convert(rest, param, ctx), *reversed(parts))


CRASH = Parts("SHARE@TIME", Share(), ("@", Span()))
PARTITION = Parts("LENGTH@TIME", Span(), ("@", Span()))
MALICIOUS = Parts("SHARE:BEHAVIOUR[@TIME]", Share(), (":", click.Choice(BEHAVIOURS)), ("[@", Span()))


def _several(flag: str, kind: Parts, about: str) -> Callable[..., Any]:
    return click.option(
        flag, type=kind, multiple=True, metavar=kind.name, help=f"{about} May be given several times."
    )


OPTIONS = (
    click.option("--nodes", "--count", default=1000, show_default=True, help="How many nodes."),
    click.option("--protocol", type=click.Choice(PROTOCOLS), default="positron", show_default=True),
    click.option("--rate", default=5.0, show_default=True, help="Messages a second, of random authors."),
    click.option("--duration", type=Span(), default=20.0, help="How long they publish. [20s]"),
    click.option(
        "--warm-up", type=Span(), default=0.0, help="How long they publish before, unmeasured. [0s]"
    ),
    click.option("--size", default=1200, show_default=True, help="Bytes of a payload."),
    click.option(
        "--latency",
        type=Links(),
        metavar=Links.name,
        default=0.05,
        help="Median of the links, lognormal; or five regions; or a matrix in ms. [50ms]",
    ),
    click.option("--sigma", default=0.5, show_default=True, help="How far latencies spread."),
    click.option(
        "--bandwidth", type=Bandwidth(), default=0.0, help="Of a node's uplink, such as 20mbit. [0: no limit]"
    ),
    click.option(
        "--skew", type=Span(), default=0.0, help="Clocks are off by as much, this way or that. [0s]"
    ),
    click.option("--loss", type=Share(), default=0.0, help="Share of chunks that come 200 ms late. [0]"),
    _several("--crash", CRASH, "So many go dark, at once."),
    _several("--partition", PARTITION, "Two halves, cut apart."),
    click.option("--churn", is_flag=True, help="Nodes go (after 5 min on average) and return 30 s later."),
    _several("--malicious", MALICIOUS, f"One of {', '.join(BEHAVIOURS)}."),
    click.option("--fanout", default=3, show_default=True, help="Eager sources of a positron node."),
    click.option("--seed", default=1, show_default=True, help="One seed, one result."),
)
"""Each is the field of `Scenario` of that name."""


def scenario_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that make a scenario."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def scenario_of(values: dict[str, Any]) -> Scenario:
    """The scenario that these values of the options are. UsageError with a sentence if there is none."""
    from positron.simulation.compared import refuse
    from positron.simulation.scenario import Crash, Malicious, Partition, Scenario

    values = dict(values)
    for name, kind in (("crash", Crash), ("partition", Partition), ("malicious", Malicious)):
        values[name] = tuple(kind(*parts) for parts in values[name])
    try:
        scenario = Scenario(**values)
        refuse(scenario)
    except (OSError, ValueError) as error:
        raise click.UsageError(str(error)) from error
    return scenario


def command_of(scenario: Scenario, *flags: str) -> str:
    """The command line that is this scenario, quoted for a shell: what is no default, and the seed in any case.

    `flags` are options that are no part of a scenario.
    """
    from attrs import fields

    words = ["positron", "simulate", *flags]
    for one in fields(type(scenario)):
        value = getattr(scenario, one.name)
        if not one.init or (value == one.default and one.name != "seed"):
            continue
        flag = "--" + one.name.replace("_", "-")
        if value is True:
            words.append(flag)
        else:
            for each in value if isinstance(value, tuple) else (value,):
                words += [flag, str(each).removesuffix(".0")]
    return shlex.join(words)
