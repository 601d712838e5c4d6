"""py-libp2p gossipsub, TCP + noise + yamux, every message signed. Its limit of 10 messages a second is switched off."""

from __future__ import annotations

import logging
import os
import sys
from importlib.metadata import version
from typing import Any

import multiaddr
import trio
from common import Heard, emit, publish_all, read_commands
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pubsub import Pubsub
from libp2p.tools.anyio_service import background_trio_service

PORT = 20000


class Peer:
    """A host and its topic."""

    def __init__(self) -> None:
        self.heard = Heard()
        self.host = new_host(key_pair=create_new_key_pair(), muxer_preference="YAMUX")
        self.router = GossipSub(
            protocols=[TProtocol("/meshsub/1.1.0")],
            degree=6,
            degree_low=4,
            degree_high=12,
            heartbeat_interval=1,
            spam_protection_enabled=False,
        )
        self.pubsub = Pubsub(self.host, self.router)

    async def run(self) -> None:
        """Listen, and serve."""
        port = PORT + int(sys.argv[1])
        listen = multiaddr.Multiaddr(f"/ip4/127.0.0.1/tcp/{port}")
        async with (
            self.host.run(listen_addrs=[listen]),
            trio.open_nursery() as nursery,
            background_trio_service(self.pubsub),
            background_trio_service(self.router),
        ):
            await self.pubsub.wait_until_ready()
            nursery.start_soon(self.listen, await self.pubsub.subscribe("t"))
            send, receive = trio.open_memory_channel[dict[str, Any]](1000)
            token = trio.lowlevel.current_trio_token()
            read_commands(lambda asked: token.run_sync_soon(send.send_nowait, asked))
            emit(
                "ready",
                address=f"{listen}/p2p/{self.host.get_id()}",
                version=f"libp2p {version('libp2p')}, trio {trio.__version__}",
            )
            async for asked in receive:
                await self.do(asked, nursery)

    async def listen(self, subscription: Any) -> None:
        """Take in what comes."""
        while True:
            message = await subscription.get()
            if message.from_id != self.pubsub.my_id.to_bytes():
                self.heard.got(message.data)

    async def send(self, data: bytes) -> None:
        """Publish."""
        await self.pubsub.publish("t", data)

    async def do(self, asked: dict[str, Any], nursery: trio.Nursery) -> None:
        """One command."""
        match asked["ask"]:
            case "connect":
                for address in asked["addresses"]:
                    await self.host.connect(info_from_p2p_addr(multiaddr.Multiaddr(address)))
                emit("connected")
            case "peers":
                emit("peers", count=len(self.router.mesh.get("t", ())))
            case "publish":
                nursery.start_soon(publish_all, asked, self.send, trio.sleep)
            case "count":
                emit("count", count=self.heard.count(asked["run"]))
            case "report":
                emit("report", **self.heard.report(asked["run"]))
            case "quit":
                os._exit(0)


logging.disable(logging.CRITICAL)
trio.run(Peer().run)
