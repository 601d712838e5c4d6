"""The table of commands, and how a command ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from positron.cli.failures import FAILED, INTERRUPTED, USAGE, as_json, exit_code
from positron.cli.output import Output, ReaderGone, visible
from positron.cli.settings import Settings, shared
from positron.errors import PositronError

COMMANDS = {
    "init": "launching",
    "start": "launching",
    "stop": "launching",
    "status": "looking",
    "id": "looking",
    "peers": "steering",
    "topics": "looking",
    "pub": "talking",
    "sub": "talking",
    "send": "talking",
    "events": "talking",
    "stats": "looking",
    "trust": "steering",
    "trace": "looking",
    "ping": "steering",
    "doctor": "examining",
    "bench": "bench",
    "simulate": "simulate",
    "config": "configuring",
    "key": "configuring",
    "completion": "configuring",
    "generate-config": "configuring",
    "version": "configuring",
}
"""The module of each command; its function there is called the same, with an underscore behind it."""

HIDDEN = frozenset({"generate-config", "version"})


class Commands(click.Group):
    """The group of all commands; a command's module is imported when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the table."""
        return [name for name in COMMANDS if name not in HIDDEN]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"positron.cli.{COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_") + "_")
        return command


def _version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    """Print the version and end."""
    if value and not context.resilient_parsing:
        from positron import __version__

        click.echo(f"positron {__version__}")
        context.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["--help", "-h"]})
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Print the version."
)
@shared
def command() -> None:
    """Run a node of a positron network, and talk to one that runs."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    settings = Settings()
    settings.is_last = arguments is None
    name = os.path.basename(sys.argv[0]) if arguments is None else "positron"
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        result = command.main(
            given, name if name == "dnet" else "positron", obj=settings, standalone_mode=False
        )
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        return _usage(error, settings)
    except PositronError as error:
        return _failed(error, settings)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except (ReaderGone, BrokenPipeError):
        # They have what they wanted (`| head`). Python would complain at exit about what is still to be flushed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _usage(error: click.ClickException, settings: Settings) -> int:
    """A command line that makes no sense."""
    if settings.json:
        Output(settings).json_line(as_json("usage", error.format_message(), "see --help"))
    else:
        error.show()
    return error.exit_code if isinstance(error, click.UsageError) else max(error.exit_code, FAILED)


def _failed(error: PositronError, settings: Settings) -> int:
    """A command that could not do what it was asked."""
    if settings.json:
        Output(settings).json_line(as_json(error.code, str(error), error.hint))
    else:
        lines = [*str(error).split("\n"), *([f"hint: {error.hint}"] if error.hint else [])]
        click.echo("positron: " + "\n".join(map(visible, lines)), err=True)
    return exit_code(error.code) if error.code else USAGE
