"""Byte pipes, ends and endpoints without sockets, over a virtual clock.

Rule: a stream arrives whole and in order, however late; its end comes after what was written before it. Nothing half
closes, as Twisted's TCP does not by itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, Protocol, TypeVar

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import (
    CannotListenError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    TimeoutError,
)
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IDelayedCall,
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IPushProducer,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
    ITransport,
)
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from positron.core.addresses import split_address

CONNECT_SECONDS = 5.0
"""After which a connection to somebody out of reach is given up, as over TCP."""
WINDOW = 256 * 1024
"""Bytes under way in one direction above which a producer is paused."""

T = TypeVar("T")


class Space(Protocol):
    """What lies between hosts: how far they are from each other, and whether anything passes."""

    clock: Clock

    def reaches(self, source: str, target: str) -> bool:
        """Whether anything passes from one host to another at present."""

    def delay(self, source: str, target: str) -> float:
        """How long the next chunk takes from one host to another, in seconds."""


class Wires:
    """Who listens where, and what is under way."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.clock = space.clock
        self.pipes: dict[Pipe, None] = {}
        self._ports: dict[str, Port] = {}

    def listen(self, address: str, factory: IProtocolFactory) -> Port:
        """Let `factory` accept connections at `address`. `CannotListenError` if somebody does already."""
        if address in self._ports:
            host, port = split_address(address)
            raise CannotListenError(host, port, OSError("address in use"))
        self._ports[address] = Port(self, address, factory)
        factory.doStart()
        return self._ports[address]

    def close(self, address: str) -> None:
        """Nobody listens at `address` any more."""
        port = self._ports.pop(address, None)
        if port is not None:
            port.factory.doStop()

    def accept(self, near: End, address: str) -> bool:
        """Have somebody at `address` accept the connection whose other end is `near`. False if nobody is there."""
        port = self._ports.get(address)
        if port is None:
            return False
        far = End(self, port.getHost(), near.host)
        near.join(far)
        protocol = port.factory.buildProtocol(near.host)
        if protocol is None:
            far.abortConnection()
        else:
            far.open(protocol)
        return True


@implementer(IStreamServerEndpoint)
class MemoryServer:
    """Listens at one address."""

    def __init__(self, wires: Wires, address: str) -> None:
        self._wires = wires
        self._address = address

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """See `IStreamServerEndpoint`; a taken address fails."""
        try:
            return succeed(self._wires.listen(self._address, protocolFactory))
        except CannotListenError:
            return fail()


@implementer(IListeningPort)
class Port:
    """A port that listens, from the start until it is stopped."""

    def __init__(self, wires: Wires, address: str, factory: IProtocolFactory) -> None:
        self.factory = factory
        self._wires = wires
        self._address = address

    def startListening(self) -> None:
        """It listens from the start."""

    def stopListening(self) -> Deferred[None]:
        """Listen no more."""
        self._wires.close(self._address)
        return succeed(None)

    def getHost(self) -> IPv4Address:
        """Where it listens."""
        return IPv4Address("TCP", *split_address(self._address))


@implementer(IStreamClientEndpoint)
class MemoryClient:
    """Connects from `host` to an address."""

    def __init__(self, wires: Wires, host: IPv4Address, address: str) -> None:
        self._wires = wires
        self._host = host
        self._address = address

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """A SYN one way, its answer the other; a timeout if the one or the other is cut off."""
        space, clock = self._wires.space, self._wires.clock
        peer = IPv4Address("TCP", *split_address(self._address))
        near = End(self._wires, self._host, peer)
        calls: list[IDelayedCall] = []

        def end(result: T) -> T:
            for call in calls:
                if call.active():
                    call.cancel()
            return result

        def arrive() -> None:
            if space.reaches(near.host.host, peer.host):
                accepted = self._wires.accept(near, self._address)
                calls.append(clock.callLater(space.delay(peer.host, near.host.host), answer, accepted))

        def answer(accepted: bool) -> None:
            if not space.reaches(peer.host, near.host.host):
                return
            if not accepted:
                connected.errback(ConnectionRefusedError("nobody listens there"))
                return
            protocol = protocolFactory.buildProtocol(peer)
            if protocol is None:
                near.abortConnection()
                connected.errback(ConnectionAborted())
                return
            near.open(protocol)
            connected.callback(protocol)

        connected: Deferred[IProtocol] = Deferred(lambda _: near.abortConnection())
        connected.addBoth(end)
        calls.append(clock.callLater(CONNECT_SECONDS, lambda: connected.errback(TimeoutError("no answer"))))
        calls.append(clock.callLater(space.delay(near.host.host, peer.host), arrive))
        return connected


class Pipe:
    """One direction of a connection: chunks in order, each due at its time. None stands for the end."""

    def __init__(self, wires: Wires, source: End, target: End) -> None:
        self.under_way = 0
        self._wires = wires
        self._source = source
        self._target = target
        self._chunks: deque[tuple[float, bytes | Exception]] = deque()
        self._last = 0.0
        self._call: IDelayedCall | None = None

    def put(self, chunk: bytes | Exception) -> None:
        """Send a chunk, or the end and how it looks at the other side."""
        if self._target.closed:
            return
        wires = self._wires
        delay = wires.space.delay(self._source.host.host, self._target.host.host)
        self._last = max(self._last, wires.clock.seconds() + delay)
        self._chunks.append((self._last, chunk))
        self.under_way += len(chunk) if isinstance(chunk, bytes) else 0
        wires.pipes[self] = None
        self.arm()

    def arm(self) -> None:
        """Arrange for the next chunk to arrive, if there is one that can."""
        if not self._chunks or self._call is not None or self._target.holding:
            return
        if self._wires.space.reaches(self._source.host.host, self._target.host.host):
            wait = max(0.0, self._chunks[0][0] - self._wires.clock.seconds())
            self._call = self._wires.clock.callLater(wait, self._arrive)

    def empty(self) -> None:
        """Nobody reads any more."""
        self._chunks.clear()
        self._wires.pipes.pop(self, None)
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _arrive(self) -> None:
        self._call = None
        reachable = self._wires.space.reaches(self._source.host.host, self._target.host.host)
        if not reachable or self._target.holding:
            return
        _, chunk = self._chunks.popleft()
        if not self._chunks:
            self._wires.pipes.pop(self, None)
        if isinstance(chunk, bytes):
            self.under_way -= len(chunk)
            self._target.receive(chunk)
            self._source.relieved()
        else:
            self._target.lost(chunk)
        self.arm()


@implementer(ITransport, IConsumer, IPushProducer)
class End:
    """One end of a connection, as its protocol's transport. Half-closing is not offered, as Twisted's TCP does not."""

    disconnecting = False

    def __init__(self, wires: Wires, host: IPv4Address, peer: IPv4Address) -> None:
        self.host = host
        self._wires = wires
        self._peer = peer
        self._out: Pipe | None = None
        self._in: Pipe | None = None
        self._protocol: IProtocol | None = None
        self._paused = False
        self.closed = False
        self._producer: Any = None
        self._producer_paused = False
        self._ending: IDelayedCall | None = None

    def join(self, other: End) -> None:
        """Connect the two."""
        self._out = other._in = Pipe(self._wires, self, other)
        self._in = other._out = Pipe(self._wires, other, self)

    def open(self, protocol: IProtocol) -> None:
        """Hand this end to its protocol."""
        self._protocol = protocol
        protocol.makeConnection(self)
        self._arm()

    @property
    def holding(self) -> bool:
        """Whether what arrives has to wait."""
        return self._paused or (self._protocol is None and not self.closed)

    def receive(self, data: bytes) -> None:
        """Bytes from the other end."""
        if self._protocol is not None and not self.closed:
            self._protocol.dataReceived(data)

    def lost(self, reason: Exception) -> None:
        """It is over."""
        if self._ending is not None and self._ending.active():
            self._ending.cancel()
        self.closed = True
        if self._in is not None:
            self._in.empty()
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connectionLost(Failure(reason))

    def relieved(self) -> None:
        """The other end took some of what was under way."""
        if self._producer_paused and self._out is not None and self._out.under_way <= WINDOW // 2:
            self._producer_paused = False
            if self._producer is not None:
                self._producer.resumeProducing()

    # ----------------------------------------------------------------------------------- what a protocol calls

    def write(self, data: bytes) -> None:
        """Send; what follows an end is dropped."""
        if self.closed or self.disconnecting or self._out is None or not data:
            return
        self._out.put(bytes(data))
        if self._producer is not None and not self._producer_paused and self._out.under_way > WINDOW:
            self._producer_paused = True
            self._producer.pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send all of it as one chunk."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close once everything is sent and no producer is left."""
        if not self.closed and not self.disconnecting:
            self.disconnecting = True
            if self._producer is None:
                self._end(ConnectionDone(), ConnectionDone())

    def abortConnection(self) -> None:
        """Close now; the other end sees a lost connection."""
        if not self.closed:
            self.disconnecting = True
            self._end(ConnectionAborted(), ConnectionLost())

    def _end(self, here: Exception, there: Exception) -> None:
        if self._ending is None:
            if self._out is not None:
                self._out.put(there)
            if self._protocol is None:
                self.lost(here)
            else:
                self._ending = self._wires.clock.callLater(0, self.lost, here)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Pause `producer` while too much is under way."""
        if self.closed:
            producer.stopProducing()
        else:
            self._producer = producer
            self._producer_paused = False

    def unregisterProducer(self) -> None:
        """Its producer will write no more."""
        self._producer = None
        if self.disconnecting and not self.closed:
            self._end(ConnectionDone(), ConnectionDone())

    def pauseProducing(self) -> None:
        """Let what arrives wait."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Take what arrives."""
        self._paused = False
        self._arm()

    def stopProducing(self) -> None:
        """Close."""
        self.loseConnection()

    def getPeer(self) -> IAddress:
        """Where the other end is."""
        return self._peer

    def getHost(self) -> IAddress:
        """Where this end is."""
        return self.host

    def _arm(self) -> None:
        if self._in is not None:
            self._in.arm()
