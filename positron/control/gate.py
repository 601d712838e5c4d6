"""What a request over TCP must show before it is answered.

- its `Host` is one that this page is served under, so that no foreign name can be rebound to this computer;
- an `Origin`, if a browser sends one, is this page itself;
- the bearer token, for whatever changes state or reads what was sealed to this node alone. Away from the
  loopback interface everything but the health checks needs it.

The UNIX socket has no gate: the file's mode and the caller's user id decide there.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
from collections.abc import Iterable
from secrets import token_urlsafe

from twisted.web.http import Request

from positron.control.problems import Problem
from positron.errors import ConfigError

TOKEN_FILE = "http.token"  # noqa: S105 - the name of the file, not what is in it


def is_loopback(host: str) -> bool:
    """Whether `host` can be reached from this computer only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def is_wildcard(host: str) -> bool:
    """Whether `host` means every interface."""
    return host.strip("[]") in ("", "0.0.0.0", "::")  # noqa: S104 - recognised, not bound


class Gate:
    """The check of one TCP listener. `token` None: nothing that needs a token is possible."""

    def __init__(self, host: str, port: int, token: str | None) -> None:
        self._token = token
        self._open = is_loopback(host)
        self._hosts = None if is_wildcard(host) else frozenset(_names(host, port))

    def check(self, request: Request, protected: bool, health: bool) -> None:
        """Return if the request may pass, else raise `Problem`."""
        host = request.getHeader("host") or ""
        if self._hosts is not None and host.lower() not in self._hosts:
            raise Problem(421, "host", "this Host is not served here", "use the address given with --http")
        origin = request.getHeader("origin")
        if origin is not None and origin.lower() != f"http://{host.lower()}":
            raise Problem(
                403, "origin", "requests from other pages are refused", "open the page that is at /"
            )
        if (protected or not self._open) and not health:
            self._check_token(request.getHeader("authorization") or "")

    def _check_token(self, given: str) -> None:
        scheme, _, token = given.partition(" ")
        expected = (self._token or "").encode()
        matches = hmac.compare_digest(token.strip().encode("utf-8", "replace"), expected)
        if not (expected and scheme.lower() == "bearer" and matches):
            raise Problem(
                401,
                "token",
                "this needs the bearer token",
                f"it is in {TOKEN_FILE} in the node's data folder",
            )


def _names(host: str, port: int) -> Iterable[str]:
    """Every Host header that means this listener."""
    bare = host.strip("[]").lower()
    names = {f"[{bare}]" if ":" in bare else bare}
    if is_loopback(host):
        names |= {"localhost", "127.0.0.1", "[::1]"}
    for name in names:
        yield f"{name}:{port}"
        if port == 80:
            yield name


def load_token(data_dir: str) -> str:
    """The token of this data folder, made (0600) if there is none. ConfigError if its file cannot be used."""
    path = os.path.join(data_dir, TOKEN_FILE)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _read_token(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be made ({error.strerror})") from None
    token = token_urlsafe(32)
    with open(descriptor, "w") as file:
        file.write(token + "\n")
    return token


def _read_token(path: str) -> str:
    try:
        with open(path) as file:
            found = os.fstat(file.fileno())
            token = file.read(1000).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({getattr(error, 'strerror', 'not text')})") from None
    if found.st_mode & 0o077:
        raise ConfigError(f"{path}: others may read it; chmod 600, or remove it and a new one is made")
    if len(token) < 22:
        raise ConfigError(f"{path}: too short for a token; remove it and a new one is made")
    return token
