"""One process of a measurement: a node that is told what to do.

    python -m positron.bench.worker '{"network": "bench", "port": 0, ...}'

The argument is the node's configuration as JSON; `lines` is what it speaks.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from positron.bench.costs import cpu_seconds, resident_bytes, wire_bytes
from positron.bench.counting import HEADER, Heard, Lateness
from positron.bench.lines import serve
from positron.bench.rows import write_rows
from positron.config import Config
from positron.core.events import Tick
from positron.node import Node
from positron.node.clocks import Clocks
from positron.services.values import Message

# Typed as what it is: a module that Twisted puts in its own place.
reactor: Any = _reactor

TOPIC = "bench"
FED = "fed"
"""The topic of what a feeder pushes: it is only counted."""
ALONE_SECONDS = 0.003
"""Envelopes this far apart each go at once: two in 5 ms are no hurry yet (`positron.core.gossip.publish`)."""
AUTHORED_AT_ONCE = 100
"""Envelopes sealed in one turn of the reactor: less than the send queue takes before it holds the author back."""


class Ahead(Clocks):
    """Clocks that can be put forward, both alike."""

    jumped = 0.0

    def now(self) -> float:
        """Seconds that never go back."""
        # Not by `super()`: a node's own clock is one call, and the loop asks it for every event.
        return time.monotonic() + self.jumped

    def wall(self) -> float:
        """Unix seconds."""
        return time.time() + self.jumped


class Worker:
    """A node and what it heard. Every public method is a command, and returns its answer."""

    def __init__(self, config: Config) -> None:
        self._clocks = Ahead(reactor)
        self._node = Node(reactor, config, clocks=self._clocks)
        self._runs: dict[int, Heard] = {}
        self._slow = 0.0
        self._fed = 0
        self._lateness: Lateness | None = None
        reactor.addSystemEventTrigger("before", "shutdown", self._node.stopService)

    async def ready(self) -> dict[str, Any]:
        """Start; answer when the node can be dialled."""
        self._node.subscribe(TOPIC, self._got)
        self._node.startService()
        await self._node.when_ready()
        return {"address": self._node.address}

    async def linked(self, peers: int) -> dict[str, Any]:
        """Answer once so many others are linked."""
        await self._node.when_peers(peers)
        return {}

    async def expect(self, run: int, total: int, slow: float = 0.0) -> dict[str, Any]:
        """A run of so many messages begins; this subscriber takes `slow` seconds for each."""
        self._runs[run] = Heard(total)
        self._slow = slow
        return {}

    async def publish(self, run: int, first: int, count: int, size: int, rate: float) -> dict[str, Any]:
        """Publish the run's messages from `first` on, at `rate` a second, or (0) as fast as the node takes them.

        Each receipt is awaited, and after each the reactor has its turn, as in a program that does other things too.
        """
        padding = bytes(size - HEADER.size)
        begun = time.monotonic()
        for index in range(count):
            wait = begun + index / rate - time.monotonic() if rate else 0.0
            if wait > 0 or not rate:
                await _turn(max(0.0, wait))
            data = HEADER.pack(time.monotonic(), run, first + index) + padding
            await self._node.publish(TOPIC, data)
        return {}

    async def count(self, run: int) -> dict[str, Any]:
        """How many of the run's messages are here, and how much memory this process has."""
        return {"messages": self._runs[run].count, "rss_bytes": resident_bytes()}

    async def report(self, run: int) -> dict[str, Any]:
        """The run as it was heard."""
        return self._runs[run].report()

    async def spent(self) -> dict[str, Any]:
        """What this process has spent so far, once everything it has is on disk."""
        await self._node.flush()
        messages = self._node.stats().messages
        return {
            "cpu_seconds": cpu_seconds(),
            "rss_bytes": resident_bytes(),
            "wire_bytes": wire_bytes(reactor.getReaders()),
            "duplicates": messages["duplicate_total"],
        }

    # --------------------------------------------------------------------------------- what only `micro` asks

    async def fed(self) -> dict[str, Any]:
        """How much of a feeder's messages is here since this was first asked, and how late the loop was (p99) since it
        was asked last."""
        watched, self._lateness = self._lateness, Lateness(reactor)
        if watched is None:
            self._node.subscribe(FED, self._got_fed)
        return {"messages": self._fed, "late_seconds": None if watched is None else watched.end()}

    async def author(self, envelopes: int, bundle: int, size: int) -> dict[str, Any]:
        """Publish so many envelopes of `bundle` messages each, whatever the time says; the CPU seconds it took."""
        data = bytes(size)
        begun = cpu_seconds()
        for index in range(envelopes):
            for _ in range(bundle):
                self._node.publish(FED, data)
            self._clocks.jumped += ALONE_SECONDS
            self._node.step(Tick())
            if index % AUTHORED_AT_ONCE == AUTHORED_AT_ONCE - 1:
                await _turn(0.01)
        await _turn(0.05)
        return {"cpu_seconds": cpu_seconds() - begun}

    async def store(self, folder: str, rows: int, size: int) -> dict[str, Any]:
        """Store so many envelopes of so many bytes in a database of their own; the CPU seconds it took."""
        return {"cpu_seconds": await write_rows(reactor, folder, rows, size)}

    def _got(self, message: Message) -> Deferred[None] | None:
        if message.author == self._node.node_id:
            return None
        published, run, number = HEADER.unpack_from(message.data)
        self._runs[run].add(number, published, time.monotonic())
        return _turn(self._slow) if self._slow else None

    def _got_fed(self, message: Message) -> None:
        self._fed += 1


def _turn(seconds: float) -> Deferred[None]:
    """So many seconds later; 0: in the reactor's next turn."""
    return deferLater(reactor, seconds, lambda: None)


def main() -> None:
    """Be a worker until stdin ends."""
    serve(reactor, Worker(Config(**json.loads(sys.argv[1]))))


if __name__ == "__main__":
    main()
