"""The command that looks for what is wrong: doctor."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import Any

import click

from positron.cli.failures import FAILED, CommandFailed
from positron.cli.finding import client
from positron.cli.launching import given, node_options
from positron.cli.output import Column, Output
from positron.cli.settings import Settings, pass_settings, shared
from positron.config import Config, load
from positron.errors import PositronError

COLUMNS = (Column("check", "CHECK"), Column("result", "RESULT"), Column("detail", "DETAIL"))
MAX_SKEW = 10.0
"""Seconds against the peers' clocks from which the node itself warns."""


@click.command("doctor")
@node_options
@shared
@pass_settings
def doctor_(settings: Settings, config_file: str | None, **values: Any) -> int:
    """Check configuration, key, folder, ports and, if the node runs, its links and clock.

    Ends with 1 if something is wrong.
    """
    findings = list(_examine(settings, config_file, values))
    Output(settings).table({"checks": findings}, "checks", COLUMNS)
    return FAILED if any(finding["result"] == "wrong" for finding in findings) else 0


def _examine(settings: Settings, config_file: str | None, values: dict[str, Any]) -> Iterator[dict[str, str]]:
    try:
        config = load(given(settings, values), os.environ, config_file).config
    except PositronError as error:
        yield _finding("config", "wrong", str(error))
        return
    yield _finding("config", "ok", f"network {config.network}, data folder {config.data_dir}")
    yield _tried("folder", lambda: _folder(config))
    yield _tried("key", lambda: _key(config))
    if config.secret_file is not None or config.passphrase_file is not None:
        yield _tried("secrets", lambda: _secrets(config))
    try:
        node = client(settings)
        status = node.get("/v1/status")
    except CommandFailed as error:
        yield _finding("node", "note", str(error))
        yield _tried("ports", lambda: _ports(config))
        return
    yield _finding(
        "node", "ok" if status["ready"] else "wrong", f"{status['node_id']}, version {status['version']}"
    )
    yield _tried("socket", lambda: _socket(node.path))
    peers, skew = status["peers"], status["clock_skew_seconds"] or 0.0
    yield _finding("links", "ok" if peers["up"] else "wrong", f"{peers['up']} up, {peers['known']} known")
    yield _finding("clock", "ok" if abs(skew) < MAX_SKEW else "wrong", f"{skew:+.3f} s against the peers")


def _finding(check: str, result: str, detail: str) -> dict[str, str]:
    return {"check": check, "result": result, "detail": detail}


def _tried(check: str, look: Callable[[], str]) -> dict[str, str]:
    """What a look found, or the sentence it raised."""
    try:
        return _finding(check, "ok", look())
    except PositronError as error:
        return _finding(check, "wrong", str(error))


def _folder(config: Config) -> str:
    from positron.checks import writable
    from positron.store.folder import judge

    if config.data_dir is None:
        return "none: a node in memory"
    writable(config.data_dir, "--data-dir")
    if not os.path.isdir(config.data_dir):
        return f"{config.data_dir} will be made"
    judge(config.data_dir)
    return config.data_dir


def _key(config: Config) -> str:
    from positron.core.identity import to_text
    from positron.store.keyfile import node_id_of

    path = config.identity_path
    if path is None or not os.path.lexists(path):
        return "a new one will be made"
    return to_text(node_id_of(path))


def _secrets(config: Config) -> str:
    from positron.checks import passphrase, private
    from positron.node.parameters import read_secrets

    read_secrets(config.secret_file)
    passphrase(config)
    private(config)
    return "for the owner alone"


def _socket(path: str) -> str:
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if mode & 0o077:
        raise CommandFailed("config", f"{path} has mode {mode:o}: others may use it", f"chmod 600 {path}")
    return path


def _ports(config: Config) -> str:
    from positron.checks import bindable

    bindable(config, None)  # no endpoint asks for a reactor before it listens
    return "free"
