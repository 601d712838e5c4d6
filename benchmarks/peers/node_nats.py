"""nats-py through nats-server, which node 0 starts: a broker, not peers; neither signed nor encrypted."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from importlib.metadata import version
from typing import Any

import nats
from common import Heard, serve

PORT = 14222
SERVER = shutil.which("nats-server", path="/usr/sbin:/usr/local/bin:/usr/bin") or "nats-server"


class Peer:
    """A client; the first one runs the broker, too."""

    def __init__(self) -> None:
        self.heard = Heard()
        self.server: subprocess.Popen[bytes] | None = None

    async def start(self) -> dict[str, Any]:
        """Connect, and subscribe if it is not the author."""
        if sys.argv[1] == "0":
            command = [SERVER, "-a", "127.0.0.1", "-p", str(PORT)]
            self.server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.client = await self.connected()
        if sys.argv[1] != "0":
            await self.client.subscribe("t", cb=self.got, pending_msgs_limit=-1, pending_bytes_limit=-1)
            await self.client.flush()
        broker = subprocess.check_output([SERVER, "--version"], text=True).split()[-1]
        pids = [self.server.pid] if self.server is not None else []
        return {"address": "", "pids": pids, "version": f"nats-py {version('nats-py')}, nats-server {broker}"}

    async def connected(self) -> Any:
        """A connection to the broker, which may be starting."""
        for _ in range(200):
            try:
                return await nats.connect(f"nats://127.0.0.1:{PORT}", max_reconnect_attempts=1)
            except OSError:
                await asyncio.sleep(0.05)
            except nats.errors.Error:
                await asyncio.sleep(0.05)
        raise SystemExit("no broker")

    async def got(self, message: Any) -> None:
        """A message came."""
        self.heard.got(message.data)

    async def connect(self, addresses: list[str]) -> None:
        """The broker connects them."""

    def peers(self) -> int:
        """As many as there are: all are at the broker."""
        return int(sys.argv[2]) - 1

    async def send(self, data: bytes) -> None:
        """Publish."""
        await self.client.publish("t", data)

    def stop(self) -> None:
        """End the broker."""
        if self.server is not None:
            self.server.terminate()


asyncio.run(serve(Peer()))
