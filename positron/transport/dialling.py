"""How to open a channel to somebody who listens."""

from __future__ import annotations

from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IReactorTime, IStreamClientEndpoint

from positron.transport.channel import Channel, ChannelFactory
from positron.transport.connection import Connection, ConnectionFactory, LinkOwner
from positron.transport.tls import TLSIdentity


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
    return cast(Channel, channel).wrappedProtocol
