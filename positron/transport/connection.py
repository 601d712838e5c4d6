"""One link on the wire: frames in and out of a TLS channel, with its timers and its back-pressure.

Rules:

- An owner hears of a connection's end exactly once: `link_refused` if it ended before `link_connected`, else
  `link_lost`. Both come from the reactor, never from inside a call to `send` or `hang_up`; so does `drained`.
- Nothing a peer sends raises. It ends the link with a reason.
- Reasons are short texts. What stands before the first colon is one of a few dozen at most, so they can be counted.

The client's handshake is complete before the server has judged it: `link_connected` means that this side is content.
Whether the other side is, its first message says.
"""

from __future__ import annotations

import socket
import typing
from collections.abc import Callable

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IAddress,
    IHandshakeListener,
    IPushProducer,
    IReactorTime,
    ISystemHandle,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from positron.core.identity import short
from positron.core.limits import LINK_FULL
from positron.errors import RemoteError
from positron.transport.frames import MAX_FRAME, FrameReader
from positron.transport.send_queue import CONTROL, SendQueue
from positron.transport.timers import Timers
from positron.transport.tls import prove

HANDSHAKE_SECONDS = 5.0
"""From the TCP connection to both WELCOMEs."""
FRAME_SECONDS = 10.0
"""From the first byte of a frame to its last."""
STALL_SECONDS = 30.0
"""How long a peer may take nothing of what waits for it."""
CLOSE_SECONDS = 5.0
"""How long a peer may leave our close unanswered."""
HIGH_WATER, LOW_WATER = LINK_FULL, 64 * 1024
"""`drained` is called when the queue falls below the low one after it was above the high one. Bytes."""
WRITE_SIZE = 64 * 1024
"""Bytes handed to TLS at once: as much as Twisted buffers before it asks a producer to pause."""
SOCKET_BUFFER = 128 * 1024
"""The kernel's buffers, each way: bounds how old a message can get in them (research: limits, section 5)."""


class LinkOwner(typing.Protocol):
    """Whoever owns connections. None of these may raise; an exception ends the link and is logged by Twisted."""

    def link_connected(self, connection: Connection) -> None:
        """TLS is done as far as this side can tell: ALPN, key and expected id are right. Nothing was said yet."""

    def frames_received(self, connection: Connection, frames: list[bytes]) -> None:
        """Frames (tag and body) that one read of the socket completed, at least one, in order."""

    def link_lost(self, connection: Connection, reason: str) -> None:
        """The link is gone, after `link_connected`. The reason given to `hang_up`, or what happened."""

    def link_refused(self, connection: Connection, reason: str) -> None:
        """The connection ended before `link_connected`."""

    def drained(self, connection: Connection) -> None:
        """The send queue was above the high-water mark and is below the low one again."""


@implementer(IHandshakeListener, IPushProducer)
class Connection(Protocol):
    """One connection to a peer, inside TLS.

    `node_id` and `binding` (the TLS exporter, 32 bytes, equal on both sides) are empty before `link_connected`.
    `address` is what was dialled, or the remote's of an inbound one. `bytes_in` and `bytes_out` count frames with
    their lengths, without TLS.
    """

    def __init__(
        self,
        owner: LinkOwner,
        clock: IReactorTime,
        *,
        outbound: bool,
        address: str,
        expected: bytes | None = None,
    ) -> None:
        self.outbound = outbound
        self.address = address
        self.node_id = b""
        self.binding = b""
        self.bytes_in = 0
        self.bytes_out = 0
        self.handshake_seconds = HANDSHAKE_SECONDS
        self.on_established: Callable[[], None] | None = None
        self._channel: typing.Any = None  # our transport. Twisted gives its parts no common interface
        self._owner = owner
        self._expected = expected
        self._timers = Timers(clock)
        self._frames = FrameReader()
        self._ready: list[bytes] = []
        self._queue = SendQueue()
        self._reason: str | None = None
        self._linked = False
        self._writable = False
        self._paused: set[str] = set()
        self._above = False
        self._closing = False
        self._lost = False

    # ------------------------------------------------------------------------------------ what an owner calls

    @property
    def queued(self) -> int:
        """Bytes that wait in this connection's own queue (Twisted and the kernel hold some more)."""
        return self._queue.size

    @property
    def dropped(self) -> int:
        """Frames dropped because the queue was full."""
        return self._queue.dropped

    @property
    def garbled(self) -> bool:
        """Whether the peer sent what is no frame. It ends the link."""
        return self._frames.fault is not None

    def send(self, frame: bytes, droppable: int = CONTROL, more: bool = False) -> None:
        """Send tag and body; ValueError if it is empty or over `MAX_FRAME`. Ignored once the link is ending.

        It is written with all else of this reactor turn, or, if `more` is said to follow, at `flush`. `droppable`:
        `ANNOUNCEMENT` (True), `PAYLOAD` or `CONTROL` (False): what `send_queue` does when the peer does not keep up.
        """
        if not 0 < len(frame) <= MAX_FRAME:
            raise ValueError(f"a frame has 1 to {MAX_FRAME} bytes, not {len(frame)}")
        if self._reason is not None or self._lost:
            return
        if not self._queue.add(frame, droppable):
            self.hang_up("send queue overflow", abort=True)
            return
        if self._queue.size > HIGH_WATER:
            self._above = True
        if self._queue.size >= WRITE_SIZE:
            self._write_out()
        if self._writable and not more and not self._timers.active("flush"):
            self._timers.start("flush", 0, self.flush)

    def flush(self) -> None:
        """Write what waits, as far as the peer keeps up. `drained` may be called meanwhile."""
        self._write_out()
        if self._above and self._queue.size < LOW_WATER and self._reason is None:
            self._above = False
            self._owner.drained(self)

    def pause(self, by: str = "owner") -> None:
        """Read no more from this peer until everybody who paused it (`by`) resumed it. Its end waits too."""
        if self._reason is not None or self._lost:
            return
        if not self._paused:
            self._timers.stop("frame")
            self._channel.pauseProducing()
        self._paused.add(by)

    def resume(self, by: str = "owner") -> None:
        """Read again. Frames that came in before `pause` took hold are passed up in the reactor's next turn."""
        if by not in self._paused or self._lost:
            return
        self._paused.remove(by)
        if not self._paused:
            self._channel.resumeProducing()
            self._timers.start("resume", 0, self._read_held)

    def established(self) -> None:
        """Both sides have welcomed each other: the handshake timer may rest."""
        self._timers.stop("handshake")
        if self.on_established is not None:
            self.on_established()
            self.on_established = None

    def hang_up(self, reason: str, abort: bool = False) -> None:
        """End the link. What is queued is sent first, for at most 5 s, unless `abort`. The first reason stays.

        No frame is passed up after this call, and `link_lost` (or `link_refused`) follows.
        """
        if self._lost:
            return
        if self._reason is None:
            self._reason = reason
            self._timers.stop("frame")
            self._timers.stop("handshake")
        if abort:
            self._abort()
        elif not self._closing and not self._timers.active("close"):
            self._timers.start("close", CLOSE_SECONDS, self._abort)
            # The peer's answer to our close can only be seen while reading.
            for by in tuple(self._paused):
                self.resume(by)
            self._write_out()

    # --------------------------------------------------------------------------------- what the channel calls

    def connectionMade(self) -> None:
        """TCP is connected; TLS is about to begin."""
        self._channel = self.transport
        self._timers.start("handshake", self.handshake_seconds, self._too_slow)
        _tune(self._raw)

    def handshakeCompleted(self) -> None:
        """TLS is done on this side: judge the peer."""
        try:
            self.node_id, self.binding = prove(self._channel.getHandle())
        except RemoteError as error:
            self.hang_up(str(error), abort=True)
            return
        if self._expected is not None and self.node_id != self._expected:
            names = f"expected {short(self._expected)}, got {short(self.node_id)}"
            self.hang_up(f"wrong identity: {names}", abort=True)
            return
        self._channel.registerProducer(self, True)
        self._writable = True
        self._linked = True
        self._owner.link_connected(self)

    def dataReceived(self, data: bytes) -> None:
        """Decrypted bytes, in any pieces. What they complete waits for `read_ended`."""
        self.bytes_in += len(data)
        if self._reason is not None:
            return
        if self._paused:
            self._frames.hold(data)
        else:
            self._ready += self._frames.feed(data)

    def read_ended(self) -> None:
        """There is no more of what one read of the socket brought: pass its frames up, together."""
        if self._paused or self._reason is not None:
            return
        frames, self._ready = self._ready, []
        if self._frames.partial:
            if frames or not self._timers.active("frame"):
                self._timers.start("frame", FRAME_SECONDS, self._too_slow_frame)
        elif self._timers.calls:
            self._timers.stop("frame")
        if frames:
            self._owner.frames_received(self, frames)
        if self._frames.fault is not None:
            self.hang_up(self._frames.fault, abort=True)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is over, whoever ended it."""
        self.read_ended()
        self._lost = True
        self._writable = False
        self._timers.stop_all()
        self._queue.clear()
        self._frames.clear()
        self.on_established = None
        said = self._reason or describe(reason)
        if self._linked:
            self._owner.link_lost(self, said)
        else:
            self._owner.link_refused(self, said)

    def pauseProducing(self) -> None:
        """Twisted holds enough of what we wrote."""
        self._writable = False
        self._timers.start("stall", STALL_SECONDS, self._stalled)

    def resumeProducing(self) -> None:
        """Everything we wrote is in the kernel."""
        self._timers.stop("stall")
        if getattr(self._raw, "disconnecting", False):
            # The peer closed TLS while we were paused. Twisted will not close the socket, nor look at it again, as
            # long as a producer that it has just resumed might write something.
            self._channel.unregisterProducer()
            return
        self._writable = True
        self.flush()

    def stopProducing(self) -> None:
        """Nothing more can be written."""
        self._writable = False
        self._timers.stop("stall")

    # ---------------------------------------------------------------------------------------------- its inside

    @property
    def _raw(self) -> typing.Any:
        """The transport below TLS."""
        return self._channel.transport

    def _read_held(self) -> None:
        if not self._paused and self._reason is None:
            self.dataReceived(b"")
            self.read_ended()

    def _write_out(self) -> None:
        while self._writable and self._queue.size:
            data = self._queue.take(WRITE_SIZE)
            self.bytes_out += len(data)
            self._channel.write(data)
        if self._reason is not None and not self._queue.size:
            self._close()

    def _close(self) -> None:
        if not self._closing:
            self._closing = True
            self._channel.unregisterProducer()
            self._channel.loseConnection()

    def _abort(self) -> None:
        self._writable = False
        self._closing = True
        self._queue.clear()
        self._channel.abortConnection()

    def _too_slow(self) -> None:
        self.hang_up("handshake timeout", abort=True)

    def _too_slow_frame(self) -> None:
        self.hang_up("frame timeout", abort=True)

    def _stalled(self) -> None:
        self.hang_up("stalled", abort=True)


class ConnectionFactory(Factory):
    """Builds `Connection`s of one kind. Inside TLS: wrap it in a `ChannelFactory`.

    `address` is for outbound ones; inbound ones are named by where they come from.
    """

    noisy = False

    def __init__(
        self,
        owner: LinkOwner,
        reactor: IReactorTime,
        *,
        outbound: bool,
        expected: bytes | None = None,
        address: str = "",
    ) -> None:
        self._owner = owner
        self._reactor = reactor
        self._outbound = outbound
        self._expected = expected
        self._address = address

    def buildProtocol(self, addr: IAddress | None) -> Connection:
        """A connection that knows its address."""
        return Connection(
            self._owner,
            self._reactor,
            outbound=self._outbound,
            address=self._address or address_text(addr),
            expected=self._expected,
        )


def address_text(addr: object) -> str:
    """`host:port` or `[v6]:port`; of an address without a host and port, its text."""
    host, port = getattr(addr, "host", None), getattr(addr, "port", None)
    if host is None or port is None:
        return str(addr)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def describe(reason: Failure) -> str:
    """Why a connection ended that we did not end, in a few words and nothing of the peer's choosing."""
    error = reason.value
    if isinstance(error, ConnectionDone):
        return "closed by peer"
    if isinstance(error, SSL.Error):
        # OpenSSL's error queue: (library, function, reason), the last being the innermost. All are constants of
        # OpenSSL, the alerts a peer can send among them.
        queue = error.args[0] if error.args else None
        text = queue[-1][-1] if isinstance(queue, list) and queue else ""
        return f"TLS failure: {text}" if text else "TLS failure"
    return "connection lost"


def _tune(raw: object) -> None:
    """Small frames leave at once, dead hosts are noticed, and little waits in the kernel."""
    if ITCPTransport.providedBy(raw):
        raw.setTcpNoDelay(True)
        raw.setTcpKeepAlive(True)
    handle = raw.getHandle() if ISystemHandle.providedBy(raw) else None
    if isinstance(handle, socket.socket):
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER)
