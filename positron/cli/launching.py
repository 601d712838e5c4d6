"""Commands that make, start and stop a node: init, start, stop."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

import click

from positron.cli.client import Client
from positron.cli.failures import CommandFailed
from positron.cli.finding import client
from positron.cli.output import Output
from positron.cli.settings import Settings, data_dir_option, pass_settings, shared
from positron.config import OPTIONS, Option

POLL_SECONDS = 0.05
EXIT_SECONDS = 2.0
"""How long `stop` waits for the process after the node in it is gone; one that hosts other things stays."""


def node_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command a flag for each option of a node, and --config; their values arrive as keywords, as text.

    --data-dir is not among them: it is one of the shared options.
    """
    for option in reversed(OPTIONS.values()):
        if option.key != "data_dir":
            command = _flag(option)(command)
    return click.option(
        "--config", "config_file", metavar="FILE", help="Read options from this file (TOML or JSON)."
    )(command)


def _flag(option: Option) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    text = f"{option.help} [{option.default_text().replace('``', '')}]"
    return click.option(option.flag, option.key, multiple=option.many, metavar=option.key.upper(), help=text)


def given(settings: Settings, values: dict[str, Any]) -> dict[str, Any]:
    """Those options of a node that were on the command line, by key."""
    every = {"data_dir": settings.data_dir, **values}
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in every.items()
        if value is not None and value != ()
    }


@click.command("start")
@node_options
@data_dir_option
@pass_settings
def start_(settings: Settings, config_file: str | None, **values: Any) -> NoReturn:
    """Run a node in the foreground, as `twistd -n positron` does with the same options."""
    flags = ["--config", config_file] if config_file else []
    for key, value in given(settings, values).items():
        for one in value if isinstance(value, list) else [value]:
            flags += [OPTIONS[key].flag, one]
    sys.stdout.flush()
    program = [*_twistd(), "-n", "positron", *flags]
    os.execv(program[0], program)  # noqa: S606 - no shell is the point


def _twistd() -> list[str]:
    """How to run twistd: the script beside this interpreter, or Twisted's own entry."""
    beside = os.path.join(os.path.dirname(sys.executable), "twistd")
    if os.access(beside, os.X_OK):
        return [beside]
    return [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]


@click.command("init")
@node_options
@shared
@pass_settings
def init_(settings: Settings, config_file: str | None, **values: Any) -> None:
    """Make a data folder with a key and, from the options given, a positron.toml."""
    from positron.checks import passphrase
    from positron.config import load
    from positron.config.render import to_toml
    from positron.config.sources import FILE_NAME
    from positron.core.identity import SEED_SIZE, to_text
    from positron.store import folder, keyfile

    config = load(given(settings, values), os.environ, config_file).config
    if config.data_dir is None or config.identity_path is None:
        raise CommandFailed("config", "a node in memory has nothing to make", "give --data-dir")
    held = folder.DataFolder(config.data_dir)
    held.lock()
    try:
        path = os.path.join(config.data_dir, FILE_NAME)
        identity = keyfile.create(config.identity_path, os.urandom(SEED_SIZE), passphrase(config))
        if any(values.values()) and not os.path.lexists(path):
            _write(path, to_toml(config))
    finally:
        held.unlock()
    body = {"node_id": to_text(identity.node_id), "data_dir": config.data_dir}
    Output(settings).record(body, ("node_id", "data_dir"))


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


@click.command("stop")
@shared
@pass_settings
def stop_(settings: Settings) -> None:
    """Let the node leave, and wait until it is gone."""
    node = client(settings)
    data_dir = node.get("/v1/config")["config"]["data_dir"]
    process = node.process_id()
    node.post("/v1/leave")
    node.close()
    deadline = time.monotonic() + settings.timeout
    _wait(lambda: not _answers(node) and not _held(data_dir), deadline, settings)
    if process is not None:
        _wait_for_exit(process)
    output = Output(settings)
    if output.json:
        output.object({"stopped": True})
    else:
        output.hint("stopped")


def _wait(over: Callable[[], bool], deadline: float, settings: Settings) -> None:
    while not over():
        if time.monotonic() >= deadline:
            raise CommandFailed(
                "timeout", f"the node has not left within {settings.timeout:g} s", "its log says why"
            )
        time.sleep(POLL_SECONDS)


def _answers(node: Client) -> bool:
    try:
        node.get("/healthz")
    except CommandFailed as error:
        return error.code not in ("no_node", "timeout")
    return True


def _held(data_dir: str) -> bool:
    from positron.store.folder import is_held

    return is_held(data_dir)


def _wait_for_exit(process: int) -> None:
    """Wait a moment for the process, so that whoever looks next does not find it ending."""
    deadline = time.monotonic() + EXIT_SECONDS
    while time.monotonic() < deadline:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return
        except PermissionError:
            return
        time.sleep(POLL_SECONDS)
