"""Two ends of a TCP connection without sockets or time: Twisted's own `FileDescriptor` over a pair of byte queues.

So producers, closing and aborting behave as they do on a socket, and a `task.Clock` drives everything.
"""

from __future__ import annotations

from twisted.internet import abstract, error, main, task
from twisted.internet.address import IPv4Address
from twisted.internet.defer import succeed
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.python import log
from twisted.python.failure import Failure
from zope.interface import implementer


class Wires:
    """Stands in for the reactor of its ends; `clock` is the time of everything."""

    def __init__(self) -> None:
        self.clock = task.Clock()
        self.ends: list[PipeEnd] = []
        self.readers: set[PipeEnd] = set()
        self.writers: set[PipeEnd] = set()

    def callLater(self, *args, **kwargs):
        return self.clock.callLater(*args, **kwargs)

    def addReader(self, end):
        self.readers.add(end)

    def removeReader(self, end):
        self.readers.discard(end)

    def addWriter(self, end):
        self.writers.add(end)

    def removeWriter(self, end):
        self.writers.discard(end)

    def getWriters(self):
        return list(self.writers)

    def connect(self, client, server, client_address=None, server_address=None, capacity=256 * 1024):
        """Join two protocols; returns their ends. A `server` of None is a port that closed the socket at once."""
        client_address = client_address or IPv4Address("TCP", "10.0.0.1", 40000)
        server_address = server_address or IPv4Address("TCP", "10.0.0.2", 8888)
        near, far = PipeEnd(self, client, client_address), PipeEnd(self, server, server_address)
        near.other, far.other = far, near
        near.capacity = far.capacity = capacity
        self.ends += [near, far]
        if server is None:
            near.eof = True
        else:
            server.makeConnection(far)
        client.makeConnection(near)
        return near, far

    def settle(self):
        """Move bytes and run what is due now until nothing moves."""
        for _ in range(100_000):
            moved = False
            for end in list(self.ends):
                moved |= end.turn()
            due = [call for call in self.clock.getDelayedCalls() if call.getTime() <= self.clock.seconds()]
            if due:
                self.clock.advance(0)
            elif not moved:
                return
        raise AssertionError("it never settles")

    def advance(self, seconds, step=0.25):
        """Let time pass in small steps."""
        self.settle()
        while seconds > 0:
            self.clock.advance(min(step, seconds))
            seconds -= step
            self.settle()

    def leftovers(self):
        """What should be nothing at the end of a test."""
        return [end for end in self.ends if not end.disconnected], self.clock.getDelayedCalls()


class PipeEnd(abstract.FileDescriptor):
    """One end. `frozen`: its process is stopped, it neither reads nor writes."""

    frozen = False
    eof = False
    broken = False
    aborting = False

    def __init__(self, wires, protocol, address):
        super().__init__(wires)
        self.protocol = protocol
        self.address = address
        self.inbox = bytearray()
        self.connected = 1
        if protocol is not None:
            self.startReading()
        else:
            self.disconnected = 1

    def getPeer(self):
        return self.other.address

    def getHost(self):
        return self.address

    def turn(self):
        """What a reactor does with a descriptor that is ready. Whether anything moved."""
        moved = False
        if self.frozen or self.disconnected or self.aborting:
            return moved
        if self in self.reactor.readers and (self.inbox or self.eof):
            moved = True
            self._do(self.doRead)
        if self in self.reactor.writers and not self.disconnected:
            if self.other.disconnected or len(self.other.inbox) < self.capacity:
                moved = True
                self._do(self.doWrite)
        return moved

    def _do(self, method):
        try:
            why = method()
        except Exception as fault:
            log.err()
            why = fault
        if why:
            self.connectionLost(Failure(why))

    def doRead(self):
        if self.inbox:
            data = bytes(self.inbox[:65536])
            del self.inbox[:65536]
            return self.protocol.dataReceived(data)
        return main.CONNECTION_LOST if self.broken else main.CONNECTION_DONE

    def writeSomeData(self, data):
        if self.other.disconnected:
            return main.CONNECTION_LOST
        data = bytes(data)[: self.capacity - len(self.other.inbox)]
        self.other.inbox += data
        return len(data)

    def abortConnection(self):
        if not self.disconnected and not self.aborting:
            self.aborting = True
            self.stopReading()
            self.stopWriting()
            self.reactor.callLater(0, self.connectionLost, Failure(error.ConnectionAborted()))

    def connectionLost(self, reason):
        super().connectionLost(reason)
        self.other.eof = True
        if self.aborting or self.inbox:
            # As TCP does it: a reset overtakes what is still under way.
            self.other.broken = True
            self.other.inbox.clear()
        self.protocol.connectionLost(reason)


@implementer(IStreamClientEndpoint)
class PipeEndpoint:
    """Dials a factory that 'listens' on the same wires."""

    def __init__(self, wires, listening, client_host="10.0.0.1", server_host="10.0.0.2"):
        self.wires = wires
        self.listening = listening
        self.hosts = client_host, server_host

    def connect(self, factory):
        client_address = IPv4Address("TCP", self.hosts[0], 40000 + len(self.wires.ends))
        server_address = IPv4Address("TCP", self.hosts[1], 8888)
        factory.doStart()
        client = factory.buildProtocol(server_address)
        server = self.listening.buildProtocol(client_address)
        self.wires.connect(client, server, client_address, server_address)
        return succeed(client)
