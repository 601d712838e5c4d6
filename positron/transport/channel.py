"""TLS under a `Connection`: Twisted's, with the one bound it lacks, and less ado about what comes or goes alone.

Rules: this is the only place that builds a `TLSMemoryBIOFactory`, which without a clock would look up the global
reactor (as `wrapClientTLS` and `wrapServerTLS` do, so nothing uses them). And a peer may not keep OpenSSL busy with
records that bring nothing: key updates are answered without bound by OpenSSL 3 and 4 and seen by nobody above it.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IReactorTime, IWriteDescriptor
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import directlyProvides, providedBy

from positron.transport.connection import Connection, ConnectionFactory
from positron.transport.tls import TLSIdentity

HOLLOW_LIMIT = 64 * 1024
"""Bytes of TLS in advance of content. The largest record needs 17 KiB before it yields any."""
CONTENT_WORTH = 8
"""Bytes of TLS that one byte of content pays for. The shortest frame in a record of its own costs six."""
HEADER_SIZE = 5
"""Of a record of TLS: u8 type, u16 version, u16 length of what follows."""
ENCRYPTED = 0x17_0303_0000
"""The header of an encrypted record of TLS 1.3, as a number, less that length."""
RECORD_COST = HEADER_SIZE + 1 + 16
"""What an encrypted record has besides content: its header, the type of its content and a tag."""


def lone_content(bytes: bytes) -> int:
    """How much content these bytes from a socket hold, if they seem to be one record of TLS 1.3 with nothing else."""
    size = len(bytes)
    if size > RECORD_COST and int.from_bytes(bytes[:HEADER_SIZE]) == ENCRYPTED + size - HEADER_SIZE:
        return size - RECORD_COST
    return 0


class Straight:
    """A transport that can write what is gathered to its socket at once, as far as that takes it.

    A reactor's transport has the reactor look first whether its socket is writable, which costs more than the writing
    of a small message. What does not fit at once is written as ever, and so is all that comes before that is gone.
    """

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._gathered: list[bytes] | None = None
        self._behind = False
        directlyProvides(self, providedBy(transport))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def gather(self) -> None:
        """Keep what is written until `write_out`."""
        self._gathered = []

    def write(self, data: bytes) -> None:
        """Gather it, or have it written when the reactor finds the socket writable."""
        if self._gathered is not None:
            self._gathered.append(data)
        else:
            self._behind = True
            self._transport.write(data)

    def write_out(self) -> None:
        """Write what was gathered. An error of the socket is left to the reactor, which sees it, too; of a socket that
        the reactor let go of, nothing is left to write to."""
        data, self._gathered = b"".join(self._gathered or ()), None
        transport = self._transport
        if self._behind:
            self._behind = transport in transport.reactor.getWriters()
        if not transport.connected:
            return
        if data and not self._behind:
            sent = transport.writeSomeData(data)
            data = data[sent:] if isinstance(sent, int) else data
        if data:
            self.write(data)


class Channel(TLSMemoryBIOProtocol):
    """TLS around one `Connection`. Unlike Twisted's default it does not gather writes: a `Connection` has."""

    wrappedProtocol: Connection
    _hollow = 0
    _lone = 0
    _straight: Straight | None = None

    def makeConnection(self, transport: Any) -> None:
        """Begin TLS on a connected transport."""
        if IWriteDescriptor.providedBy(transport):
            transport = self._straight = Straight(transport)
        super().makeConnection(transport)

    def write(self, data: bytes) -> None:
        """Encrypt and send, at once as far as the socket takes it."""
        if self._straight is None:
            super().write(data)
        else:
            self._straight.gather()
            super().write(data)
            self._straight.write_out()

    def dataReceived(self, bytes: bytes) -> None:
        """Bytes from the socket. Ends the link when too many of them in a row brought too little."""
        connection = self.wrappedProtocol
        before = connection.bytes_in
        if connection.node_id and not self.disconnecting:
            self._lone = lone_content(bytes)
        super().dataReceived(bytes)
        connection.read_ended()
        content = connection.bytes_in - before
        self._hollow = max(0, self._hollow + len(bytes) - CONTENT_WORTH * content)
        if self._hollow > HOLLOW_LIMIT:
            connection.hang_up("empty TLS", abort=True)

    def _flushReceiveBIO(self) -> None:
        """Read what came: Twisted calls this. Of a lone record of content one read is all.

        Twisted reads on until OpenSSL raises, and then looks for what OpenSSL wants to send, which raises, too. Where
        a node hears little and all its caches are cold, that is as much again as the reading. It is for whatever else
        came, also in secret: keys, alerts and padding are read by Twisted alone.

        What content there was must make up the whole of what came. So even a peer that has records begin where none
        seems to leaves no more unread behind than it had begun before.
        """
        lone, self._lone = self._lone, 0
        if lone:
            try:
                content = self._tlsConnection.recv(lone + 1)
            except (SSL.WantReadError, SSL.ZeroReturnError):
                pass  # these come again
            except SSL.Error:
                self._tlsShutdownFinished(Failure())
            else:
                self.wrappedProtocol.dataReceived(content)
                if len(content) == lone:
                    return
        super()._flushReceiveBIO()


class ChannelFactory(TLSMemoryBIOFactory):
    """Builds a `Channel` around each `Connection` that `connections` builds."""

    protocol = Channel

    def __init__(
        self, tls: TLSIdentity, connections: ConnectionFactory, clock: IReactorTime, *, outbound: bool
    ) -> None:
        super().__init__(tls, outbound, connections, clock)
