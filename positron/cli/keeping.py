"""The command that keeps what a node has: backup."""

from __future__ import annotations

import os
from typing import Any

import click

from positron.cli.failures import CommandFailed
from positron.cli.finding import client, data_dir
from positron.cli.output import Output
from positron.cli.settings import Settings, pass_settings, shared

COPY_SECONDS = 600.0
"""How much longer than any other answer one may take that waits for the whole database to be copied."""


@click.command("backup")
@click.argument("file")
@shared
@pass_settings
def backup_(settings: Settings, file: str) -> None:
    """Copy the node's database to FILE, a new one, while the node runs.

    With --data-dir also that of a node that is stopped. The key is not in it: keep a copy of identity.key, too.
    """
    path = os.path.abspath(file)
    folder = _stopped(settings)
    body = _ask(settings, path) if folder is None else _copy(folder, path)
    Output(settings).record(body, ("file", "bytes"))


def _stopped(settings: Settings) -> str | None:
    """The data folder that was named, if no node runs there."""
    from positron.store.folder import is_held

    named = data_dir(settings)
    return None if settings.socket or named is None or is_held(named) else named


def _ask(settings: Settings, path: str) -> dict[str, Any]:
    """Have the node that runs write it."""
    node = client(settings)
    body = node.post("/v1/backup", {"file": path}, settings.timeout + COPY_SECONDS)
    if not os.path.lexists(path):
        raise CommandFailed(
            "backup",
            f"the node has written {path}, but it is not to be seen here",
            "a service may have a /tmp of its own: name a file in a folder that both see",
        )
    return body


def _copy(data_dir: str, path: str) -> dict[str, Any]:
    """Write it ourselves; no node starts meanwhile."""
    from positron.store import copying, folder, migrations

    database = os.path.join(data_dir, folder.DATABASE)
    if not os.path.exists(database):
        raise CommandFailed(
            "no_node", f"no node runs in {data_dir}, and it holds no database", "see --data-dir"
        )
    held = folder.DataFolder(data_dir)
    held.lock()
    try:
        migrations.check(database)
        return {"file": path, "bytes": copying.back_up_at_rest(database, path)}
    finally:
        held.unlock()
