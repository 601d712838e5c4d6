"""The control plane: one HTTP resource tree that the `positron` command, browsers, Prometheus and curl share.

- `service`: listens on the UNIX socket, and on TCP where the configuration says so.
- `site`: what is refused before a request is read: foreign users, large bodies, too many connections.
- `gate`: what a request over TCP must show.
- `routes`: the table of routes and the resource that serves it; `views` answers, `calls` reads what was asked.
- `stream`, `ring`: server-sent events. `metrics`: Prometheus. `page` and dashboard/: the status page.

Rule: GET changes nothing, and every answer is what the command prints with `--json`. Nothing here imports the
reactor; it is handed in.
"""

from __future__ import annotations

from positron.control.service import ControlService

__all__ = ["ControlService"]
