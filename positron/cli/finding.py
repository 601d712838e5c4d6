"""Which running node is meant: the one of --socket or --data-dir, else the only one there is."""

from __future__ import annotations

import os

from positron.cli.client import START_HINT, Client
from positron.cli.failures import CommandFailed
from positron.cli.settings import Settings


def client(settings: Settings) -> Client:
    """A client of that node. `CommandFailed` if there is none, or more than one."""
    return Client(socket_path(settings), settings.timeout)


def data_dir(settings: Settings) -> str | None:
    """The data folder that was named, None if none was."""
    named = settings.data_dir or os.environ.get("POSITRON_DATA_DIR")
    return os.path.abspath(os.path.expanduser(named)) if named else None


def socket_path(settings: Settings) -> str:
    """The control socket of that node."""
    if settings.socket:
        return settings.socket
    from positron.store import folder

    named = data_dir(settings)
    if named is not None:
        return folder.socket_of(named)
    from positron.config.places import runtime_dir

    nodes = folder.running(runtime_dir(os.environ))
    if not nodes:
        raise CommandFailed("no_node", "no node runs for this user", START_HINT)
    if len(nodes) > 1:
        listed = "\n".join(
            f"  --data-dir {node.data_dir}  (network {node.network}, port {node.port})" for node in nodes
        )
        raise CommandFailed(
            "several_nodes", f"several nodes run; say which one is meant:\n{listed}", "see --data-dir"
        )
    return nodes[0].control
