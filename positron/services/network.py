"""Where endpoints come from: TCP here, memory in `positron.testing`.

Rule: an address is `host:port` as the core knows it; what to connect with follows from the host alone.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    TCP6ClientEndpoint,
    TCP6ServerEndpoint,
    serverFromString,
)
from twisted.internet.interfaces import IStreamClientEndpoint, IStreamServerEndpoint

from positron.config import Config
from positron.core.addresses import split_address

CONNECT_SECONDS = 5.0
"""How long a TCP connection may take."""


class Network(Protocol):
    """What a node listens on and dials with."""

    def servers(self, config: Config) -> list[IStreamServerEndpoint]:
        """One endpoint for each place to listen on."""

    def client(self, address: str) -> IStreamClientEndpoint:
        """The endpoint that connects to `address`. ValueError if it is none."""


class TCPNetwork:
    """The real one."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def servers(self, config: Config) -> list[IStreamServerEndpoint]:
        """See `Network`. Endpoint strings are only read where there are some: that loads Twisted's plugins."""
        if config.listen:
            return [serverFromString(self._reactor, text) for text in config.listen]
        host = config.host.strip("[]")
        endpoint = TCP6ServerEndpoint if isIPv6Address(host) else TCP4ServerEndpoint
        return [endpoint(self._reactor, config.port, interface=host)]

    def client(self, address: str) -> IStreamClientEndpoint:
        """See `Network`."""
        host, port = split_address(address)
        if isIPAddress(host):
            return TCP4ClientEndpoint(self._reactor, host, port, timeout=CONNECT_SECONDS)
        if isIPv6Address(host):
            return TCP6ClientEndpoint(self._reactor, host, port, timeout=CONNECT_SECONDS)
        return HostnameEndpoint(self._reactor, host, port, timeout=CONNECT_SECONDS)
