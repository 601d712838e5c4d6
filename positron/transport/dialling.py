"""TLS channels under `Connection`s, and how to open one.

Rule: no global reactor. `TLSMemoryBIOFactory` and `wrapClientTLS` look it up when they are given no clock, so this is
the only place that builds the former, and nothing uses the latter.
"""

from __future__ import annotations

from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IReactorTime, IStreamClientEndpoint
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol

from positron.transport.connection import Connection, ConnectionFactory, LinkOwner
from positron.transport.tls import TLSIdentity


class ChannelFactory(TLSMemoryBIOFactory):
    """TLS around a `ConnectionFactory`.

    Twisted's default gathers small writes for one more reactor turn. A `Connection` has done that already.
    """

    protocol = TLSMemoryBIOProtocol

    def __init__(
        self, tls: TLSIdentity, connections: ConnectionFactory, clock: IReactorTime, *, outbound: bool
    ) -> None:
        super().__init__(tls, outbound, connections, clock)


def dial(
    reactor: IReactorTime,
    endpoint: IStreamClientEndpoint,
    tls: TLSIdentity,
    owner: LinkOwner,
    address: str,
    expected: bytes | None = None,
) -> Deferred[Connection]:
    """Connect. Fires with the `Connection` once TCP is connected, before TLS; errbacks if it cannot be.

    After it fired, `owner` hears `link_connected` or `link_refused`. `expected` is the node id the other side must
    prove. Cancelling gives up the attempt. How long to wait for TCP is the endpoint's business.
    """
    connections = ConnectionFactory(owner, reactor, outbound=True, expected=expected, address=address)
    connecting = endpoint.connect(ChannelFactory(tls, connections, reactor, outbound=True))
    return connecting.addCallback(_connection_of)


def _connection_of(channel: IProtocol) -> Connection:
    return cast(Connection, cast(TLSMemoryBIOProtocol, channel).wrappedProtocol)
