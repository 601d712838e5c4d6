"""The `positron` command (`dnet` is its second name).

- `app`        the table of commands, and how a command ends: its exit code and what is said of an error
- `settings`   the options that every command takes, before or after its name
- `finding`    which running node is meant; `client` talks to it over its control socket
- `output`     tables for a terminal, tab-separated text for a pipe, JSON where asked for
- `looking`, `talking`, `steering`, `launching`, `configuring`, `examining`, `keeping`, `watching`: the commands
  themselves
- `sampling`   what a node counted, again and again, and its rates; `live` draws them for `top`

Rule: a command that talks to a node imports no Twisted and answers at once; rich is imported for a terminal only.
stdout is data, stderr is progress and hints.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; `arguments` are the process's own if None. Returns the exit code."""
    from positron.cli.app import run

    return run(arguments)
