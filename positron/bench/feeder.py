"""A neighbour that only feeds: links of its own to one node, and envelopes sealed before they are pushed.

    python -m positron.bench.feeder '{"network": "bench", "address": "127.0.0.1:PORT"}'

It greets and answers PING as a node does, and says nothing else, so what the node spends is spent on what it is fed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import msgpack
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.task import deferLater

from positron.bench.costs import cpu_seconds
from positron.bench.lines import serve
from positron.bench.worker import FED
from positron.core import messages
from positron.core.envelope import BROADCAST, Sealer, encode_entries, network_id_of
from positron.core.identity import Identity
from positron.transport import HIGH_WATER, Connection, TLSIdentity, dial

# Typed as what it is: a module that Twisted puts in its own place.
reactor: Any = _reactor

LIFETIME_MS = 3_600_000
AT_ONCE = 10
"""Envelopes of one millisecond: about as many as an author can make. Of thousands the order would be by id alone, and
each would have its place in the middle of the others."""


class Feed:
    """One link, by an identity of its own. `up` fires once both sides have welcomed each other."""

    def __init__(self, network: str, address: str, greets: bool = True) -> None:
        self.identity = Identity(os.urandom(32))
        self.connection: Connection | None = None
        self.up: Deferred[None] = Deferred()
        self._tls = TLSIdentity(self.identity.seed)
        self._greets = greets
        self._network_id = network_id_of(network)
        self._address = address
        self._drained: Deferred[None] | None = None
        self._gone: Deferred[None] | None = None

    async def open(self) -> None:
        """Dial, and wait until the link is up (or only TLS, if it does not greet)."""
        host, _, port = self._address.rpartition(":")
        endpoint = TCP4ClientEndpoint(reactor, host, int(port))
        await dial(reactor, endpoint, self._tls, self, self._address)
        await self.up

    def close(self) -> Deferred[None]:
        """Hang up; fires when the link is gone."""
        assert self.connection is not None
        self._gone = Deferred()
        self.connection.hang_up("fed", abort=True)
        return self._gone

    async def push(self, frames: list[bytes], rate: float) -> None:
        """Send these at `rate` a second, or (0) as fast as the node takes them."""
        connection = self.connection
        assert connection is not None
        begun = time.monotonic()
        for index, frame in enumerate(frames):
            if rate and (wait := begun + index / rate - time.monotonic()) > 0:
                await deferLater(reactor, wait, lambda: None)
            connection.send(frame)
            if connection.queued > HIGH_WATER:
                self._drained = Deferred()
                await self._drained

    # ------------------------------------------------------------------------------------------ `LinkOwner`

    def link_connected(self, connection: Connection) -> None:
        """See `LinkOwner`."""
        self.connection = connection
        if not self._greets:
            self.up.callback(None)
            return
        wall_ms = int(time.time() * 1000)
        hello = messages.Hello(
            version_min=1,
            version_max=1,
            network_id=self._network_id,
            agent="feeder",
            epoch=wall_ms,
            port=0,
            addresses=(),
            wall_ms=wall_ms,
            observed=connection.address,
        )
        connection.send(messages.encode(hello))

    def frames_received(self, connection: Connection, frames: list[bytes]) -> None:
        """See `LinkOwner`."""
        for frame in frames:
            match messages.decode(frame):
                case messages.Hello():
                    connection.send(messages.encode(messages.Welcome(1)))
                case messages.Welcome() as welcome:
                    if welcome.refusal:
                        self.up.errback(RuntimeError(f"the node refuses: {welcome.refusal}"))
                    else:
                        connection.established()
                        self.up.callback(None)
                case messages.Ping() as ping:
                    pong = messages.Pong(ping.nonce, 0, int(time.time() * 1000))
                    connection.send(messages.encode(pong))

    def link_lost(self, connection: Connection, reason: str) -> None:
        """See `LinkOwner`."""
        waiting = [self.up, self._drained, self._gone]
        self._gone = None
        for each in waiting[:2]:
            if each is not None and not each.called:
                each.errback(RuntimeError(f"the link ended: {reason}"))
        if waiting[2] is not None:
            waiting[2].callback(None)

    def link_refused(self, connection: Connection, reason: str) -> None:
        """See `LinkOwner`."""
        if not self.up.called:
            self.up.errback(RuntimeError(f"no link: {reason}"))

    def drained(self, connection: Connection) -> None:
        """See `LinkOwner`."""
        if self._drained is not None and not self._drained.called:
            self._drained.callback(None)


class Feeder:
    """Links to one node. Every public method is a command, and returns its answer."""

    def __init__(self, network: str, address: str) -> None:
        self._network = network
        self._address = address
        self._feeds: list[Feed] = []
        self._frames: list[bytes] = []

    async def link(self, count: int) -> dict[str, Any]:
        """So many links more, each by an identity of its own."""
        for _ in range(count):
            feed = Feed(self._network, self._address)
            await feed.open()
            self._feeds.append(feed)
        return {}

    async def seal(self, envelopes: int, bundle: int, size: int) -> dict[str, Any]:
        """Have so many envelopes of `bundle` messages ready, by the identity of the first link."""
        author = self._feeds[0].identity
        sealer = Sealer(network_id_of(self._network))
        payload = bytes(msgpack.packb(bytes(size)))
        body = encode_entries([(FED, payload)] * bundle)
        wall_ms = int(time.time() * 1000)
        self._frames = []
        for index in range(envelopes):
            created_ms = wall_ms + index // AT_ONCE
            envelope = sealer.seal(
                author,
                BROADCAST,
                epoch=wall_ms,
                seq=1 + index * bundle,
                count=bundle,
                created_ms=created_ms,
                expires_ms=created_ms + LIFETIME_MS,
                ttl=16,
                body=body,
            )
            self._frames.append(messages.push_frame(1, envelope.raw))
        return {}

    async def feed(self, rate: float) -> dict[str, Any]:
        """Push what is sealed over the first link."""
        await self._feeds[0].push(self._frames, rate)
        return {}

    async def shake(self, count: int) -> dict[str, Any]:
        """So many connections one after the other, each ended once TLS stands; the CPU seconds they took here."""
        feeds = [Feed(self._network, self._address, greets=False) for _ in range(count)]
        begun = cpu_seconds()
        for feed in feeds:
            await feed.open()
            await feed.close()
        return {"cpu_seconds": cpu_seconds() - begun}


def main() -> None:
    """Be a feeder until stdin ends."""
    serve(reactor, Feeder(**json.loads(sys.argv[1])))


if __name__ == "__main__":
    main()
