"""The options that every command takes, before or after its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


class Settings:
    """What was given, with defaults for what was not."""

    def __init__(self) -> None:
        self.data_dir: str | None = None
        self.socket: str | None = None
        self.json = False
        self.quiet = False
        self.no_color = False
        self.timeout = 10.0
        """Seconds to wait for the node."""
        self.is_last = False
        """Whether the process ends with this command."""


class Seconds(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.4 on
    """A time span: 90, 90s, 5m, 24h or 7d."""

    name = "duration"
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds, not negative."""
        if isinstance(value, int | float):
            return float(value)
        unit = self.units.get(value[-1:])
        try:
            seconds = float(value[:-1] if unit else value) * (unit or 1)
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds < float("inf"):
            self.fail(f"{value!r} is not a duration (such as 90, 90s, 5m, 24h or 7d)", param, ctx)
        return seconds


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Remember a shared option if it was given here."""
    if value is not None and parameter.name is not None:
        setattr(context.ensure_object(Settings), parameter.name, value)


def _shared(*names: str, **about: Any) -> Callable[[Command], Command]:
    return click.option(*names, expose_value=False, callback=_keep, default=None, **about)


data_dir_option = _shared("--data-dir", "-d", metavar="DIR", help="Data folder of the node that is meant.")

_OPTIONS = (
    data_dir_option,
    _shared("--socket", metavar="PATH", help="Control socket of the node that is meant."),
    _shared("--json", is_flag=True, help="Print JSON."),
    _shared("--timeout", type=Seconds(), metavar="SECONDS", help="How long to wait for the node. [10]"),
    _shared("--quiet", "-q", is_flag=True, help="No hints on stderr."),
    _shared("--no-color", is_flag=True, help="No colours."),
)


def shared(command: Command) -> Command:
    """Give a command the shared options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def pass_settings(command: Command) -> Command:
    """Call a command with the settings first."""
    decorate: Any = click.make_pass_decorator(Settings, ensure=True)
    decorated: Command = decorate(command)
    return decorated
