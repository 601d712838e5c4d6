"""The table of commands, and how a command ends."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from positron.cli.failures import FAILED, INTERRUPTED, USAGE, CommandFailed, as_json, exit_code
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
    "top": "watching",
    "stats": "looking",
    "trust": "steering",
    "trace": "looking",
    "ping": "steering",
    "doctor": "examining",
    "backup": "keeping",
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

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that was asked for; of an unknown one, the nearest that there is."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            from positron.config.kinds import nearest

            close = nearest(args[0], self.list_commands(ctx))
            raise click.UsageError(f"no such command {args[0]!r}{close}", ctx) from None


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
    _mend_streams()
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
        settings.json = settings.json or "--json" in given  # what stands behind the mistake was not read
        return _usage(error, settings)
    except PositronError as error:
        return _failed(error, settings)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except (ReaderGone, BrokenPipeError):
        _forget_output()  # they have what they wanted (`| head`)
        return 0
    except UnicodeEncodeError:
        return _failed(
            CommandFailed("usage", "an argument is not UTF-8", "only DATA may be other bytes"), settings
        )
    except OSError as error:
        return _broken(error, settings)


def _mend_streams() -> None:
    """Let nothing that is printed fail for its characters, and stand in for standard streams that are closed."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode))
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _forget_output() -> None:
    """Drop what cannot be written to stdout: Python would complain at exit about what is still to be flushed."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _broken(error: OSError, settings: Settings) -> int:
    """A file that cannot be used; without a name it is our own stdout, which then cannot tell of it."""
    if error.filename is None:
        _forget_output()
        settings.json = False
    problem = f"{error.filename or 'stdout'}: {error.strerror or error}"
    return _failed(CommandFailed("error", problem, "is there room, and may this user use it?"), settings)


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
