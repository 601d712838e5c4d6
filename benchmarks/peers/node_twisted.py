"""The least that Twisted can do of it: node 0 signs and writes to a TLS link of each other, they verify.

No relaying, no store, no order, no repair: what a program costs before it does any of what positron is for.
"""

from __future__ import annotations

import os
import struct
import sys
from importlib.metadata import version
from typing import Any

from common import Heard, emit, publish_all, read_commands
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory

from positron.transport.tls import TLSIdentity

LENGTH = struct.Struct(">I")


class Link(Protocol):
    """One link: frames of a length and a payload."""

    def connectionMade(self) -> None:
        """It is there."""
        self.transport.setTcpNoDelay(True)
        self.waiting = b""
        peer.links.append(self)

    def dataReceived(self, data: bytes) -> None:
        """Payloads, and the beginning of one."""
        data = self.waiting + data
        at = 0
        while len(data) >= at + LENGTH.size:
            end = at + LENGTH.size + LENGTH.unpack_from(data, at)[0]
            if len(data) < end:
                break
            peer.heard.got(data[at + LENGTH.size : end])
            at = end
        self.waiting = data[at:]


class Peer:
    """One node, and what it is asked."""

    def __init__(self) -> None:
        self.heard = Heard()
        self.links: list[Link] = []

    def start(self) -> None:
        """Listen, and say where."""
        port = reactor.listenTCP(0, self.factory(client=False), interface="127.0.0.1")
        emit("ready", address=str(port.getHost().port), version=f"Twisted {version('twisted')}")

    def factory(self, client: bool) -> TLSMemoryBIOFactory:
        """Links in TLS, as positron sets it up."""
        return TLSMemoryBIOFactory(TLSIdentity(os.urandom(32)), client, ClientFactory.forProtocol(Link))

    def do(self, asked: dict[str, Any]) -> None:
        """One command."""
        match asked["ask"]:
            case "connect":
                reactor.connectTCP("127.0.0.1", int(asked["addresses"][0]), self.factory(client=True))
                emit("connected")
            case "peers":
                # Only node 0 is linked to all, which is as many links as this needs.
                emit("peers", count=len(self.links) if sys.argv[1] == "0" else int(sys.argv[2]) - 1)
            case "publish":
                Deferred.fromCoroutine(publish_all(asked, self.send, turn))
            case "count":
                emit("count", count=self.heard.count(asked["run"]))
            case "report":
                emit("report", **self.heard.report(asked["run"]))
            case "quit":
                reactor.stop()

    async def send(self, data: bytes) -> None:
        """Write it to all."""
        frame = LENGTH.pack(len(data)) + data
        for link in self.links:
            link.transport.write(frame)


def turn(seconds: float) -> Deferred[None]:
    """So many seconds later; 0: in the reactor's next turn."""
    later: Deferred[None] = Deferred()
    reactor.callLater(seconds, later.callback, None)
    return later


peer = Peer()
read_commands(lambda asked: reactor.callFromThread(peer.do, asked))
reactor.callWhenRunning(peer.start)
reactor.run()
