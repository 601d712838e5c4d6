"""positron by its public Python API: TLS, every message signed, stored on disk, profile and limits as they come."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any

from common import Heard, emit, publish_all, read_commands
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from positron import Config, Node, __version__


class Peer:
    """One node, and what it is asked."""

    def __init__(self, root: str) -> None:
        # The command looks there for running nodes, and must not find these.
        os.environ["XDG_RUNTIME_DIR"] = root
        self.heard = Heard()
        self.node = Node(reactor, Config(network="peers", host="127.0.0.1", port=0, data_dir=root + "/node"))

    async def start(self) -> None:
        """Be ready, and say where."""
        if sys.argv[1] != "0":
            self.node.subscribe("t", lambda message: self.heard.got(message.data))
        self.node.startService()
        await self.node.when_ready()
        emit("ready", address=self.node.address, version=f"positron {__version__}")

    def do(self, asked: dict[str, Any]) -> None:
        """One command."""
        match asked["ask"]:
            case "connect":
                for address in asked["addresses"]:
                    self.node.add_peer(address)
                emit("connected")
            case "peers":
                emit("peers", count=len(self.node.peers()))
            case "publish":
                Deferred.fromCoroutine(publish_all(asked, lambda data: self.node.publish("t", data), turn))
            case "count":
                emit("count", count=self.heard.count(asked["run"]))
            case "report":
                emit("report", **self.heard.report(asked["run"]))
            case "quit":
                self.node.stopService().addBoth(lambda _: reactor.stop())


def turn(seconds: float) -> Deferred[None]:
    """So many seconds later; 0: in the reactor's next turn."""
    later: Deferred[None] = Deferred()
    reactor.callLater(seconds, later.callback, None)
    return later


with tempfile.TemporaryDirectory(prefix="positron-peers-") as root:
    peer = Peer(root)
    read_commands(lambda asked: reactor.callFromThread(peer.do, asked))
    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(peer.start()))
    reactor.run()
