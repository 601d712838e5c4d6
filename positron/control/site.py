"""twisted.web's server, bounded: what is refused before a request reaches a route.

Rule: at most MAX_CHANNELS connections, MAX_BODY bytes of body kept in memory, no form parsing, no request log, no
timer while nothing happens; and every connection can be closed, so that `stop` leaves nothing behind.
"""

from __future__ import annotations

import os
import socket
import struct
from io import BytesIO
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web import resource, server
from twisted.web.http import HTTPChannel

MAX_CHANNELS = 256
MAX_BODY = 512 * 1024
"""The largest payload is 64 KiB, and JSON writes a control character as six bytes; the rest is margin."""
MAX_DRAIN = 4 * 1024 * 1024
"""How much of a body over MAX_BODY is still read (and dropped), so that its sender hears why."""
IDLE_SECONDS = 60
CLOSE_SECONDS = 1.0
"""How long `close` waits for replies to be read before it cuts."""

_CREDENTIALS = struct.Struct("3i")


def peer_uid(handle: socket.socket) -> int | None:
    """The user id of the process at the other end of a UNIX socket, where the platform tells (Linux).

    Elsewhere the socket's mode (0600) in its folder (0700) has to suffice, and None is returned.
    """
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    _, uid, _ = _CREDENTIALS.unpack(handle.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size))
    return uid


class Request(server.Request):
    """A request whose body is kept in memory up to MAX_BODY, and counted and dropped beyond."""

    too_large = False
    gone = False
    """Whether the client went away: nothing may be written any more."""
    _received = 0
    channel: Channel
    content: BytesIO

    def gotLength(self, length: int | None) -> None:
        """Keep the body in memory, never in a temporary file."""
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        """Keep or drop a piece of the body; hang up on one that does not end."""
        self._received += len(data)
        if self._received > MAX_DRAIN:
            self.channel.cut()
        elif self._received > MAX_BODY:
            self.too_large = True
            self.content.seek(0)
            self.content.truncate()
        else:
            self.content.write(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Let no body be parsed as a form: bodies are JSON whatever their type says (as curl -d says)."""
        self.requestHeaders.removeHeader(b"content-type")
        super().requestReceived(command, path, version)

    def connectionLost(self, reason: Failure) -> None:
        """Remember that nobody waits for the reply."""
        self.gone = True
        super().connectionLost(reason)


class Channel(HTTPChannel):
    """One connection. Refused at once if it is one too many or from another user."""

    _is_full = False

    def connectionMade(self) -> None:
        """Admit it or cut it."""
        super().connectionMade()
        site: Site = self.factory
        transport: Any = self.transport
        if ITCPTransport.providedBy(transport):
            transport.setTcpKeepAlive(True)  # a stream has no other end where its client's host is gone
        if len(site.channels) >= MAX_CHANNELS or not self._is_ours(site):
            self.cut()
        site.channels.add(self)

    def checkPersistence(self, request: Any, version: bytes) -> bool:
        """Whether another request may follow. Who sends hundreds at once and reads no reply has two answered: all that
        the others would be answered would wait in memory."""
        if self._is_full:
            request.responseHeaders.setRawHeaders(b"connection", [b"close"])
            return False
        return super().checkPersistence(request, version)

    def pauseProducing(self) -> None:
        """The other end does not read what it was sent."""
        self._is_full = True
        super().pauseProducing()

    def resumeProducing(self) -> None:
        """It has read."""
        self._is_full = False
        super().resumeProducing()

    def cut(self) -> None:
        """End the connection now, whatever is still unsent."""
        transport: Any = self.transport
        transport.abortConnection()

    def _is_ours(self, site: Site) -> bool:
        """Whether the other end may talk to us: over a UNIX socket this user and root only."""
        if not site.same_user:
            return True
        transport: Any = self.transport
        uid = peer_uid(transport.getHandle())
        return uid is None or uid in site.allowed

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the site that it has one less."""
        super().connectionLost(reason)
        self.factory.lost(self)


class Site(server.Site):
    """The site of one listener. `same_user`: it is a UNIX socket, and other users' processes are refused."""

    protocol = Channel  # type: ignore[assignment]  # plain HTTP/1.1, without the detour for TLS and h2
    requestFactory = Request
    noisy = False

    def __init__(self, root: resource.Resource, reactor: IReactorTime, *, same_user: bool) -> None:
        super().__init__(root, timeout=IDLE_SECONDS, reactor=reactor)
        self.same_user = same_user
        self.allowed = frozenset({0, os.geteuid()})
        """User ids that may use a UNIX socket: root and our own."""
        self.channels: set[Channel] = set()
        self._closing: Deferred[None] | None = None

    def startFactory(self) -> None:
        """No request log, hence no clock that ticks every second for it."""

    def stopFactory(self) -> None:
        """Nothing was started."""

    def log(self, request: Any) -> None:
        """Requests are not logged."""

    def lost(self, channel: Channel) -> None:
        """A connection ended."""
        self.channels.discard(channel)
        if self._closing is not None and not self.channels:
            closing, self._closing = self._closing, None
            closing.callback(None)

    def close(self) -> Deferred[None]:
        """Close every connection: what was written is still sent. Fires when the last one is gone."""
        if not self.channels:
            return succeed(None)
        closed = self._closing = Deferred()
        cut = self.reactor.callLater(CLOSE_SECONDS, self._cut)
        for channel in list(self.channels):
            channel.loseConnection()

        def done(_: None) -> None:
            if cut.active():
                cut.cancel()

        return closed.addCallback(done)

    def _cut(self) -> None:
        """Whoever did not read in time is cut off."""
        for channel in list(self.channels):
            channel.cut()
