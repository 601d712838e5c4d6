"""iroh-gossip by its Python package, 0.35.0 being the last that has gossip: QUIC, hops authenticated, not authors."""

from __future__ import annotations

import asyncio
import sys
from importlib.metadata import version
from typing import Any

import iroh
from common import Heard, serve
from iroh import iroh_ffi

PORT = 21000
TOPIC = bytes(31) + b"\1"


class Peer:
    """An iroh node; it is also the callback of its topic."""

    def __init__(self) -> None:
        self.heard = Heard()
        self.neighbours: set[str] = set()

    async def on_message(self, message: Any) -> None:
        """Something happened on the topic."""
        kind = message.type()
        if kind == iroh.MessageType.RECEIVED:
            self.heard.got(bytes(message.as_received().content))
        elif kind == iroh.MessageType.NEIGHBOR_UP:
            self.neighbours.add(message.as_neighbor_up())
        elif kind == iroh.MessageType.JOINED:
            self.neighbours.update(message.as_joined())
        elif kind == iroh.MessageType.NEIGHBOR_DOWN:
            self.neighbours.discard(message.as_neighbor_down())

    async def start(self) -> dict[str, Any]:
        """Listen; the first opens the topic."""
        iroh_ffi.uniffi_set_event_loop(asyncio.get_running_loop())
        address = f"127.0.0.1:{PORT + int(sys.argv[1])}"
        options = iroh.NodeOptions(node_discovery=iroh.NodeDiscoveryConfig.NONE, ipv4_addr=address)
        self.node = await iroh.Iroh.memory_with_options(options)
        name = await self.node.net().node_id()
        if sys.argv[1] == "0":
            self.sink = await self.node.gossip().subscribe(TOPIC, [], self)
        return {"address": f"{name}@{address}", "version": f"iroh {version('iroh')}"}

    async def connect(self, addresses: list[str]) -> None:
        """Join the topic through these."""
        names = []
        for each in addresses:
            name, _, address = each.partition("@")
            key = iroh.PublicKey.from_string(name)
            await self.node.net().add_node_addr(iroh.NodeAddr(key, None, [address]))
            names.append(name)
        self.sink = await self.node.gossip().subscribe(TOPIC, names, self)

    def peers(self) -> int:
        """How many are linked."""
        return len(self.neighbours)

    async def send(self, data: bytes) -> None:
        """Publish."""
        await self.sink.broadcast(data)

    def stop(self) -> None:
        """Nothing to be done."""


asyncio.run(serve(Peer()))
