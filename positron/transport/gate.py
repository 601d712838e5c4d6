"""One accepted socket on its way to TLS.

A visitor who says nothing costs a socket and this object, no OpenSSL state and no share of the handshake rate: those
are for one whose first bytes begin a TLS handshake, and when its turn has come. Rule: until a peer has proved an
identity, it may send `HELLO_LIMIT` bytes in all.
"""

from __future__ import annotations

import typing
from typing import cast

from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure

from positron.transport.connection import HANDSHAKE_SECONDS, Connection
from positron.transport.timers import Timers

HELLO_LIMIT = 16 * 1024
"""Bytes of TLS before an identity is proved (research: security, section 2.1). Ours need 3 KiB."""
TLS_HANDSHAKE = 0x16
"""The first byte of everything that begins a TLS handshake."""


class Door(typing.Protocol):
    """What a gate reports to. Each call is made at most once per gate, `left` exactly once."""

    def spoke(self, gate: Gate) -> None:
        """Its first bytes look like TLS: it waits for its turn (`begin`)."""

    def refused(self, gate: Gate, reason: str) -> None:
        """It ended before TLS began."""

    def established(self, gate: Gate) -> None:
        """It is a peer now."""

    def left(self, gate: Gate) -> None:
        """The socket is closed."""

    def build(self, gate: Gate) -> TLSMemoryBIOProtocol:
        """TLS with a `Connection` in it."""


class Gate(Protocol):
    """A socket from accept to close. `ip`, `group` and `tried` describe where it comes from."""

    def __init__(self, door: Door, clock: IReactorTime, *, ip: str, group: str, tried: bool) -> None:
        self.ip = ip
        self.group = group
        self.tried = tried
        self.silent = True
        self.connection: Connection | None = None
        self._door = door
        self._clock = clock
        self._since = clock.seconds()
        self._timers = Timers(clock)
        self._hello = b""
        self._seen = 0
        self._channel: TLSMemoryBIOProtocol | None = None
        self._over = False

    @property
    def proved(self) -> bool:
        """Whether it has proved an identity."""
        return self.connection is not None and bool(self.connection.node_id)

    def begin(self) -> None:
        """Its turn has come: TLS begins with the bytes that were kept."""
        self._timers.stop_all()
        self._channel = self._door.build(self)
        connection = cast(Connection, self._channel.wrappedProtocol)
        connection.handshake_seconds = max(0.0, self._since + HANDSHAKE_SECONDS - self._clock.seconds())
        connection.on_established = self._established
        self.connection = connection
        self._channel.makeConnection(self.transport)
        hello, self._hello = self._hello, b""
        self._transport.resumeProducing()
        self._channel.dataReceived(hello)

    def turn_away(self, reason: str) -> None:
        """Close the socket now, whatever its state, unless that is done already."""
        if self.connection is not None:
            self.connection.hang_up(reason, abort=True)
        elif not self._over:
            self._over = True
            self._timers.stop_all()
            self._transport.abortConnection()
            self._door.refused(self, reason)

    def connectionMade(self) -> None:
        """The socket was accepted."""
        self._timers.start("handshake", HANDSHAKE_SECONDS, self._too_slow)

    def dataReceived(self, data: bytes) -> None:
        """Bytes of TLS, or of something else."""
        if self._over:
            return
        if self._channel is None:
            self._listen(data)
            return
        if not self.proved:
            # The end of the handshake and what the peer says after it may come in one piece.
            room = HELLO_LIMIT - self._seen
            self._seen += min(room, len(data))
            self._channel.dataReceived(data[:room])
            data = data[room:]
            if data and not self.proved:
                self.turn_away("oversize handshake")
                return
        if data:
            self._channel.dataReceived(data)

    def _listen(self, data: bytes) -> None:
        self._hello += data
        self._seen += len(data)
        if self._hello[0] != TLS_HANDSHAKE:
            self.turn_away("not TLS")
        elif self._seen > HELLO_LIMIT:
            self.turn_away("oversize handshake")
        elif self.silent:
            self.silent = False
            # No more is read until its turn, which `spoke` may make now.
            self._transport.pauseProducing()
            self._door.spoke(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The socket is closed, by whomever."""
        self._timers.stop_all()
        try:
            if self._channel is not None:
                self._channel.connectionLost(reason)
            elif not self._over:
                self._over = True
                self._door.refused(self, "closed early")
        finally:
            # Whatever an owner's fault may raise above, the place is free.
            self._door.left(self)

    @property
    def _transport(self) -> typing.Any:
        """Twisted has no one interface for a socket that can be paused and aborted."""
        return self.transport

    def _established(self) -> None:
        self._door.established(self)

    def _too_slow(self) -> None:
        self.turn_away("silent" if self.silent else "handshake rate")
