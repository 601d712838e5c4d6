"""TLS under a `Connection`: Twisted's, with the one bound it lacks.

Rules: this is the only place that builds a `TLSMemoryBIOFactory`, which without a clock would look up the global
reactor (as `wrapClientTLS` and `wrapServerTLS` do, so nothing uses them). And a peer may not keep OpenSSL busy with
records that bring nothing: key updates are answered without bound by OpenSSL 3 and 4 and seen by nobody above it.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IReactorTime, ITransport, IWriteDescriptor
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol

from positron.transport.connection import Connection, ConnectionFactory
from positron.transport.tls import TLSIdentity

HOLLOW_LIMIT = 64 * 1024
"""Bytes of TLS in advance of content. The largest record needs 17 KiB before it yields any."""
CONTENT_WORTH = 8
"""Bytes of TLS that one byte of content pays for. The shortest frame in a record of its own costs six."""


class Channel(TLSMemoryBIOProtocol):
    """TLS around one `Connection`. Unlike Twisted's default it does not gather writes: a `Connection` has.

    For the same reason what is written goes to the socket at once, as far as it takes it. Else the reactor would first
    have to find it writable, in a turn of its own.
    """

    wrappedProtocol: Connection
    _hollow = 0
    _raw: Any = None

    def makeConnection(self, transport: ITransport) -> None:
        """Begin TLS on a connected transport."""
        self._raw = transport if IWriteDescriptor.providedBy(transport) else None
        super().makeConnection(transport)

    def write(self, data: bytes) -> None:
        """Encrypt and send. An error of the socket is left to the reactor, which sees it, too."""
        super().write(data)
        raw = self._raw
        if raw is not None and raw.connected and not (raw.disconnecting or raw.producerPaused):
            raw.doWrite()

    def dataReceived(self, bytes: bytes) -> None:
        """Bytes from the socket. Ends the link when too many of them in a row brought too little."""
        connection = self.wrappedProtocol
        before = connection.bytes_in
        super().dataReceived(bytes)
        connection.read_ended()
        content = connection.bytes_in - before
        self._hollow = max(0, self._hollow + len(bytes) - CONTENT_WORTH * content)
        if self._hollow > HOLLOW_LIMIT:
            connection.hang_up("empty TLS", abort=True)


class ChannelFactory(TLSMemoryBIOFactory):
    """Builds a `Channel` around each `Connection` that `connections` builds."""

    protocol = Channel

    def __init__(
        self, tls: TLSIdentity, connections: ConnectionFactory, clock: IReactorTime, *, outbound: bool
    ) -> None:
        super().__init__(tls, outbound, connections, clock)
