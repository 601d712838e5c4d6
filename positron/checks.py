"""What the operator may have got wrong, found before a node starts.

Rule: a check creates nothing, changes nothing and holds nothing afterwards. It raises one sentence that names the
option to change.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
from typing import Any

from positron.config import Config, runtime_dir
from positron.errors import ConfigError
from positron.store import folder


def run(config: Config, reactor: Any, uid: int | None = None) -> None:
    """Every check, the cheapest explanation first. Raises ConfigError, IdentityError or StoreError.

    `uid` is the user that this process becomes before the node opens its files, if not who it is.
    """
    if config.data_dir:
        writable(config.data_dir, "--data-dir")
        _folder(config, uid)
    for key in ("log_file", "control_socket"):
        path = getattr(config, key)
        if path:
            writable(os.path.dirname(path), "--" + key.replace("_", "-"))
    _log(config)
    _socket(config)
    _identity(config, uid)
    _schema(config)
    bindable(config, reactor)


def writable(path: str, flag: str) -> None:
    """Refuse a folder that is not writable, or that could not be created where it is missing."""
    existing = os.path.abspath(path)
    while not os.path.lexists(existing):
        existing = os.path.dirname(existing)
    if not os.path.isdir(existing):
        raise ConfigError(f"{existing} is not a folder; choose another with {flag}")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ConfigError(f"{existing} is not writable for this user; choose another folder with {flag}")


def _folder(config: Config, uid: int | None) -> None:
    """Refuse a data folder that is another user's, open to others, or in use."""
    data_dir = config.data_dir
    if data_dir is None or not os.path.exists(data_dir):
        return
    folder.judge(data_dir, uid)
    if folder.is_held(data_dir):
        raise ConfigError(
            f"another node runs in {data_dir}; give this one a folder of its own with --data-dir"
        )


def _log(config: Config) -> None:
    """Refuse a log file that cannot be written. One that does not exist will be made, and its folder."""
    path = config.log_file
    if not path or not os.path.lexists(path):
        return
    try:
        with open(path, "rb+", 0) as file:
            file.seek(0, os.SEEK_END)  # as the log does, and as no pipe can
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be a log file ({error.strerror}); choose another with --log-file"
        ) from None


def _socket(config: Config) -> None:
    """Refuse a control socket whose path is too long, both where it was meant to be and in the runtime folder."""
    path = config.control_path
    if config.control_socket:
        parent = os.path.dirname(config.control_socket)
        if parent != config.data_dir and not os.path.isdir(parent):
            raise ConfigError(f"there is no folder {parent}; make it, or choose another --control-socket")
        if os.path.lexists(config.control_socket) and not _is_socket(config.control_socket):
            raise ConfigError(f"{config.control_socket} is not a socket; choose another --control-socket")
    elsewhere = os.path.join(runtime_dir(os.environ), "0123456789abcdef.sock")
    if path and min(len(os.fsencode(each)) for each in (path, elsewhere)) > folder.MAX_SOCKET_PATH:
        raise ConfigError(f"the path of the control socket, {path}, is too long; choose a shorter --data-dir")


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.lstat(path).st_mode)
    except OSError:
        return False


def _identity(config: Config, uid: int | None) -> None:
    """Refuse a key file that the node could not use. One that does not exist will be made."""
    path = config.identity_path
    unlocked_by = passphrase(config)
    if path is None:
        return
    if not os.path.lexists(path):
        writable(os.path.dirname(path), "--identity-file")
        return
    from positron.store import keyfile

    keyfile.load(path, unlocked_by, uid)


def passphrase(config: Config) -> bytes | None:
    """What unlocks the key file: the passphrase file's first line, without its line end."""
    if config.passphrase_file is None:
        return None
    try:
        with open(config.passphrase_file, "rb") as file:
            line = file.readline().rstrip(b"\r\n")
    except OSError as error:
        raise ConfigError(
            f"passphrase_file: {config.passphrase_file} cannot be read ({error.strerror})"
        ) from None
    if not line:
        raise ConfigError(f"passphrase_file: the first line of {config.passphrase_file} is empty")
    return line


def private(config: Config) -> None:
    """Raise for a file of secrets that other users may read or write.

    For advice, not a refusal: others than `positron` make these files, and some are for a group to read.
    """
    for key in ("secret_file", "passphrase_file"):
        path = getattr(config, key)
        if path is not None and os.stat(path).st_mode & 0o077:
            raise ConfigError(f"{key}: {path} is open to other users: chmod 600 {path}")


def _schema(config: Config) -> None:
    """Refuse a database that a newer positron, or another program, wrote, or that is of another network."""
    if config.database_path is not None:
        from positron.store import disk

        disk.check(config.database_path, config.network)


def bindable(config: Config, reactor: Any) -> None:
    """Refuse an endpoint string that is none, and a TCP address or port that cannot be bound right now."""
    from twisted.internet.endpoints import serverFromString

    for endpoint in config.endpoints:
        try:
            serverFromString(reactor, endpoint)
        except (ValueError, TypeError) as error:  # what endpoint parsers raise for their arguments
            raise ConfigError(f"listen: {endpoint!r} is not a usable endpoint ({error})") from None
        address = _tcp_address(endpoint)
        if address is not None:
            _try_bind(*address, "--listen" if config.listen else "--port")
    if config.http is not None:
        _try_bind(config.http_host, config.http, "--http")


def _tcp_address(endpoint: str) -> tuple[str, int] | None:
    """The interface and port of a `tcp:` or `tcp6:` endpoint string, or None for any other."""
    parts = [part.replace("\\:", ":").replace("\\\\", "\\") for part in re.split(r"(?<!\\):", endpoint)]
    if parts[0] not in ("tcp", "tcp6"):
        return None
    named = dict(part.split("=", 1) for part in parts[1:] if "=" in part)
    plain = [part for part in parts[1:] if "=" not in part]
    port = named.get("port", plain[0] if plain else "")
    default = "::" if parts[0] == "tcp6" else "0.0.0.0"  # noqa: S104 - Twisted's own default
    return (named.get("interface") or default, int(port)) if port.isdigit() else None


def _try_bind(host: str, port: int, flag: str) -> None:
    """Bind and let go again, with the same options Twisted binds with."""
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
            trial.listen(1)
        except socket.gaierror:
            raise ConfigError(f"{host} is not an address of this computer; choose another one") from None
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ConfigError(f"port {port} on {host} is taken; choose another with {flag}") from None
            raise ConfigError(
                f"cannot listen on {host} port {port} ({error.strerror}); choose another address or port"
            ) from None
