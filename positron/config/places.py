"""Where a user's files live when nobody says otherwise (the XDG base directory rules)."""

from __future__ import annotations

import os
from collections.abc import Mapping


def default_data_dir(network: str, port: int, environ: Mapping[str, str]) -> str:
    """The data folder of a node on this network and port, as configured. Nothing is created.

    The network's name is percent-encoded, so that no name leaves the folder or hides in it.
    """
    from urllib.parse import quote

    base = environ.get("XDG_DATA_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), ".local", "share")
    name = quote(f"{network}-{port}", safe="")
    return os.path.join(base, "positron", name)


def runtime_dir(environ: Mapping[str, str]) -> str:
    """The folder where running nodes leave a note of themselves, one file named by PID. Nothing is created."""
    base = environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(base) and os.path.isdir(base):
        return os.path.join(base, "positron")
    return f"/tmp/positron-{os.getuid()}"  # noqa: S108 - `make_runtime_dir` checks whose it is


def make_runtime_dir(environ: Mapping[str, str]) -> str:
    """`runtime_dir`, made with mode 0700 if it is missing.

    Raises OSError if it cannot be made, or is not a folder of this user's own that nobody else may write to:
    under /tmp anybody could have made it first.
    """
    path = runtime_dir(environ)
    os.makedirs(path, mode=0o700, exist_ok=True)
    found = os.lstat(path)
    if (
        not os.path.isdir(path)
        or os.path.islink(path)
        or found.st_uid != os.getuid()
        or found.st_mode & 0o022
    ):
        raise PermissionError(f"{path} is not a private folder of this user")
    return path
