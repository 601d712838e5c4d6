"""An asyncio program that hosts a node: `python asyncio_host.py`."""

import asyncio
from typing import Any

from twisted.internet import asyncioreactor
from twisted.internet.defer import maybeDeferred

LOOP = asyncio.new_event_loop()
asyncio.set_event_loop(LOOP)
asyncioreactor.install(LOOP)  # before anything imports the reactor

from positron import Config, Message, Node  # noqa: E402


async def main(reactor: Any) -> None:
    """Start a node, hear our own message, stop the node. Everything awaited here is asyncio's."""
    reactor.startRunning(installSignalHandlers=False)  # instead of reactor.run(): the loop is the program's
    heard: asyncio.Queue[Message] = asyncio.Queue()
    node = Node(reactor, Config(host="127.0.0.1", port=0))
    node.startService()
    await node.when_ready().asFuture(LOOP)  # a Deferred as a Future
    node.subscribe("weather", heard.put_nowait)
    receipt = await node.publish("weather", "fine").asFuture(LOOP)
    message = await asyncio.wait_for(heard.get(), 10)
    print(f"{message.data}, number {receipt.seq}", flush=True)
    # Stop the service, not the reactor: a reactor that shuts down would stop the program's loop.
    await maybeDeferred(node.stopService).asFuture(LOOP)


if __name__ == "__main__":
    from twisted.internet import reactor

    LOOP.run_until_complete(main(reactor))
