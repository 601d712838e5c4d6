"""Listening: the UNIX socket always, and TCP where the configuration says `http`.

The caller holds the lock of the data folder, so a socket found at our path is a dead node's and is replaced.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred, succeed
from twisted.internet.error import CannotListenError

from positron.config import Config
from positron.control.gate import Gate, load_token
from positron.control.ring import EventRing
from positron.control.routes import Api
from positron.control.site import Site
from positron.control.stream import Stream
from positron.errors import ConfigError
from positron.services.listening import stop_listening


class ControlService:
    """The control API of one node. `start` once, `stop` once; `stop` is safe whatever `start` came to.

    `socket_path` is where `DataFolder.place_socket` wants the socket, which may not be where the configuration does.
    """

    def __init__(
        self,
        reactor: Any,
        node: Any,
        config: Config,
        *,
        socket_path: str | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._reactor = reactor
        self._node = node
        self._config = config
        self._path = socket_path
        self._ring = EventRing(wall)
        self._streams: set[Stream] = set()
        self._sites: list[Site] = []
        self._ports: list[Any] = []
        self._subscription: Any = None
        self.socket_path: str | None = None
        """The UNIX socket in use, None while there is none."""
        self.http_address: str | None = None
        """`host:port` of the page and API over TCP, None while there is none."""

    def start(self) -> Deferred[None]:
        """Listen. Fails with `ConfigError`, one sentence, if a socket or port cannot be had."""
        return maybeDeferred(self._start)

    def _start(self) -> None:
        self._subscription = self._node.on_event(self._ring.add)
        path = self._path or self._config.control_path
        if path is not None:
            self._listen_unix(path)
        if self._config.http is not None:
            self._listen_tcp(self._config.http_host, self._config.http)

    def stop(self) -> Deferred[None]:
        """Listen no more, end every stream and connection, remove the socket. Fires when all are gone."""
        if self._subscription is not None:
            self._subscription.cancel()
            self._subscription = None
        ports, self._ports = self._ports, []
        stopped = DeferredList([stop_listening(port) for port in ports], fireOnOneErrback=True)
        for stream in list(self._streams):
            stream.close()
        self.socket_path = self.http_address = None
        return stopped.addCallback(self._close)

    def _close(self, _: object) -> Deferred[None]:
        sites, self._sites = self._sites, []
        closed = DeferredList([site.close() for site in sites], fireOnOneErrback=True)
        return closed.addCallback(lambda _: succeed(None))

    def _listen_unix(self, path: str) -> None:
        _remove_stale(path)
        site = Site(Api(self._node, self._ring, self._streams), self._reactor, same_user=True)
        try:
            # The mode must be passed: listenUNIX sets 0666 by itself, whatever the umask.
            port = self._reactor.listenUNIX(path, site, mode=0o600)
        except CannotListenError as error:
            raise ConfigError(f"control_socket: cannot listen on {path} ({_reason(error)})") from None
        self._sites.append(site)
        self._ports.append(port)
        self.socket_path = path

    def _listen_tcp(self, host: str, number: int) -> None:
        token = load_token(self._config.data_dir) if self._config.data_dir else None
        api = Api(self._node, self._ring, self._streams)
        site = Site(api, self._reactor, same_user=False)
        try:
            port = self._reactor.listenTCP(number, site, interface=host.strip("[]"))
        except CannotListenError as error:
            raise ConfigError(f"http: cannot listen on {host}:{number} ({_reason(error)})") from None
        bound = port.getHost()
        api.gate = Gate(host, bound.port, token)
        self._sites.append(site)
        self._ports.append(port)
        name = f"[{bound.host}]" if ":" in bound.host else bound.host
        self.http_address = f"{name}:{bound.port}"


def _remove_stale(path: str) -> None:
    """Remove a dead node's socket; leave anything that is no socket and say so."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise ConfigError(f"control_socket: {path} exists and is not a socket")
        os.unlink(path)
    except FileNotFoundError:
        return


def _reason(error: CannotListenError) -> str:
    """Why the system refused, in its words."""
    cause = error.socketError
    return str(getattr(cause, "strerror", None) or cause)
