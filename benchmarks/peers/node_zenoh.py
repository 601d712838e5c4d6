"""eclipse-zenoh (its core is Rust), peers over TCP, no broker; neither signed nor encrypted, nothing dropped."""

from __future__ import annotations

import asyncio
import json
import sys
from importlib.metadata import version
from typing import Any

import zenoh
from common import Heard, serve

PORT = 22000


class Peer:
    """A zenoh session in mode peer."""

    def __init__(self) -> None:
        self.heard = Heard()

    async def start(self) -> dict[str, Any]:
        """Open the session, linked to all before it."""
        own = int(sys.argv[1])
        config = zenoh.Config()
        for key, value in (
            ("mode", "peer"),
            ("listen/endpoints", [f"tcp/127.0.0.1:{PORT + own}"]),
            ("connect/endpoints", [f"tcp/127.0.0.1:{PORT + other}" for other in range(own)]),
            ("scouting/multicast/enabled", False),
            # On by default, it would go round the network on one computer.
            ("transport/shared_memory/enabled", False),
        ):
            config.insert_json5(key, json.dumps(value))
        self.session = zenoh.open(config)
        if own:
            self.subscriber = self.session.declare_subscriber("t", self.got)
        self.publisher = self.session.declare_publisher("t", congestion_control=zenoh.CongestionControl.BLOCK)
        return {"address": "", "version": f"eclipse-zenoh {version('eclipse-zenoh')}"}

    def got(self, sample: Any) -> None:
        """A message came, in a thread of zenoh's."""
        self.heard.got(sample.payload.to_bytes())

    async def connect(self, addresses: list[str]) -> None:
        """Done at the start."""

    def peers(self) -> int:
        """How many are linked."""
        return len(list(self.session.info.peers_zid()))

    async def send(self, data: bytes) -> None:
        """Publish."""
        self.publisher.put(data)

    def stop(self) -> None:
        """Nothing to be done."""


asyncio.run(serve(Peer()))
