"""A chat: `python chat.py PORT [HOST:PORT...]`, one line one message, end of input leaves."""

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.stdio import StandardIO
from twisted.internet.task import react
from twisted.protocols.basic import LineReceiver

from positron import Config, Message, Node, PositronError


class Keyboard(LineReceiver):
    """Publishes each line; `done` fires when there are no more."""

    delimiter = b"\n"

    def __init__(self, node: Node) -> None:
        self.node = node
        self.done: Deferred[None] = Deferred()

    def lineReceived(self, line: bytes) -> None:
        """Say it to everybody."""
        said = self.node.publish("chat/lobby", line.decode("utf-8", "replace"))
        said.addErrback(lambda failure: print(failure.trap(PositronError), failure.value, flush=True))

    def connectionLost(self, reason: object = None) -> None:
        """The input has ended."""
        self.done.callback(None)


def show(message: Message) -> None:
    """Print what was said, and by whom. A terminal should get nothing raw that a stranger sends."""
    print(f"<{message.author[:8]}> {str(message.data)!r}", flush=True)


async def main(reactor: Any, port: str, *bootstrap: str) -> None:
    """Chat until the input ends."""
    node = Node(reactor, Config(network="chat", port=int(port), bootstrap=list(bootstrap)))
    node.subscribe("chat/lobby", show, history=20)  # and what was said shortly before we came
    node.startService()
    try:
        await node.when_ready()
        print(f"listening on {node.listen[0]}", flush=True)
        if bootstrap:
            await node.when_peers(1)
            print("connected", flush=True)
        keyboard = Keyboard(node)
        StandardIO(keyboard)
        await keyboard.done
        await node.flush()
    finally:
        await node.stopService()


if __name__ == "__main__":
    react(main, sys.argv[1:])
