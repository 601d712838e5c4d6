"""One process of a measurement: a node, told what to do line by line on stdin, answering on stdout.

    python -m positron.bench.worker '{"network": "bench", "port": 0, ...}'

The argument is the node's configuration as JSON. Each line, in and out, is a JSON object; an answer repeats the name
of what was asked under `answer`. The process ends when its stdin does.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.stdio import StandardIO
from twisted.internet.task import deferLater
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from positron.bench.costs import cpu_seconds, resident_bytes, wire_bytes
from positron.bench.counting import HEADER, Heard
from positron.config import Config
from positron.node import Node
from positron.services.values import Message

# Typed as what it is: a module that Twisted puts in its own place.
reactor: Any = _reactor

TOPIC = "bench"


class Worker:
    """A node and the runs that it heard. Every public method is a command, and returns its answer."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._runs: dict[int, Heard] = {}
        self._slow = 0.0

    async def ready(self) -> dict[str, Any]:
        """Start; answer when the node can be dialled."""
        self.node.subscribe(TOPIC, self._got)
        self.node.startService()
        await self.node.when_ready()
        return {"address": self.node.address, "node_id": self.node.node_id}

    async def linked(self, peers: int) -> dict[str, Any]:
        """Answer once so many others are linked."""
        await self.node.when_peers(peers)
        return {"peers": len(self.node.peers())}

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
                await deferLater(reactor, max(0.0, wait))
            data = HEADER.pack(time.monotonic(), run, first + index) + padding
            await self.node.publish(TOPIC, data)
        return {"seconds": time.monotonic() - begun}

    async def count(self, run: int) -> dict[str, Any]:
        """How many of the run's messages are here."""
        return {"messages": self._runs[run].count}

    async def report(self, run: int) -> dict[str, Any]:
        """The run as it was heard."""
        return self._runs[run].report()

    async def spent(self) -> dict[str, Any]:
        """What this process has spent so far, once everything it has is on disk."""
        await self.node.flush()
        messages = self.node.stats().messages
        return {
            "cpu_seconds": cpu_seconds(),
            "rss_bytes": resident_bytes(),
            "wire_bytes": wire_bytes(reactor.getReaders()),
            "duplicates": messages["duplicate_total"],
        }

    def _got(self, message: Message) -> Deferred[None] | None:
        if message.author == self.node.node_id:
            return None
        published, run, number = HEADER.unpack_from(message.data)
        self._runs[run].add(number, published, time.monotonic())
        return deferLater(reactor, self._slow, lambda: None) if self._slow else None


class Commands(LineOnlyReceiver):
    """Reads commands, one object a line, and writes what came of them."""

    delimiter = b"\n"
    MAX_LENGTH = 1 << 20

    def __init__(self, commands: dict[str, Callable[..., Coroutine[Any, Any, dict[str, Any]]]]) -> None:
        self._commands = commands

    def lineReceived(self, line: bytes) -> None:
        """Do it, and answer when it is done."""
        given = json.loads(line)
        name = given.pop("ask")
        asked = Deferred.fromCoroutine(self._commands[name](**given))
        asked.addErrback(_failure)
        asked.addCallback(self._answer, name)

    def _answer(self, found: dict[str, Any], name: str) -> None:
        self.sendLine(json.dumps({"answer": name, **found}).encode())

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Whoever measures has what it wants, or is gone."""
        if reactor.running:
            reactor.stop()


def _failure(failure: Failure) -> dict[str, Any]:
    return {"error": f"{failure.type.__name__ if failure.type else 'error'}: {failure.getErrorMessage()}"}


def main(configuration: str) -> None:
    """Be a worker until stdin ends."""
    node = Node(reactor, Config(**json.loads(configuration)))
    worker = Worker(node)
    names = ("ready", "linked", "expect", "publish", "count", "report", "spent")
    StandardIO(Commands({name: getattr(worker, name) for name in names}))
    reactor.addSystemEventTrigger("before", "shutdown", node.stopService)
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1])
