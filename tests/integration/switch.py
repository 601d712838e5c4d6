"""A switch between real processes: each is reached through a port of the switch, which can cut the network into sides.

Each node listens where nobody is told of and advertises the switch's port instead. Who dialled is read from /proc: it
is the process that owns the other end of the accepted connection. A cut is silence, as of a cable pulled out: nothing
passes in either direction, no end of a connection either, and who dials across is connected but hears nothing. Whoever
is cut off must find out by himself. When the cut is healed, all of it goes on where it stood.
"""

from __future__ import annotations

import asyncio
import os
import struct
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from fleet import Process

CHUNK = 65536
T = TypeVar("T")
Sockname = tuple[str, int]


def in_proc(address: Sockname) -> str:
    """An IPv4 address as /proc/net/tcp writes it."""
    host, port = address
    (number,) = struct.unpack("=I", bytes(map(int, host.split("."))))
    return f"{number:08X}:{port:04X}"


def inode_of(local: Sockname, remote: Sockname) -> str | None:
    """The inode of the socket at this end of a connection, or None if it is gone."""
    wanted = [in_proc(local), in_proc(remote)]
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1:3] == wanted:
            return fields[9]
    return None


def holds(node: Process, inode: str) -> bool:
    """Whether the node's process has this socket open."""
    if node.process is None:
        return False
    folder = f"/proc/{node.process.pid}/fd"
    try:
        return any(_link(f"{folder}/{name}") == f"socket:[{inode}]" for name in os.listdir(folder))
    except OSError:
        return False


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return ""


class Switch:
    """Forwards in a thread of its own, so that it goes on while a test waits."""

    def __init__(self) -> None:
        self.carried = 0
        """Connections that were let through so far."""
        self.held = 0
        """Connections across a cut that were met with silence so far."""
        self._nodes: list[Process] = []
        self._side_of: dict[Process, int] = {}
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._healed = asyncio.Event()
        self._healed.set()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def attach(self, node: Process) -> str:
        """Give a node that is not started a port of the switch, on the node's host; where others dial it."""

        async def listen() -> str:
            def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                task = asyncio.ensure_future(self._accept(node, reader, writer))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

            server = await asyncio.start_server(accepted, node.host, 0)
            self._servers.append(server)
            host, port = server.sockets[0].getsockname()
            return f"{host}:{port}"

        address = self._in_thread(listen)
        self._nodes.append(node)
        node.options += ("--advertise", address)
        return address

    def cut(self, *sides: list[Process]) -> None:
        """Nothing passes between these sides any more, until `heal`."""
        side_of = {node: number for number, side in enumerate(sides) for node in side}

        async def cut() -> None:
            self._side_of = side_of
            self._healed.clear()

        self._in_thread(cut)

    def heal(self) -> None:
        """Everything passes again."""

        async def heal() -> None:
            self._side_of = {}
            self._healed.set()

        self._in_thread(heal)

    def close(self) -> None:
        """End every connection, and the thread. Its nodes have ended before."""

        async def end() -> None:
            for server in self._servers:
                server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        self._in_thread(end)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _in_thread(self, call: Callable[[], Awaitable[T]]) -> T:
        async def run() -> T:
            return await call()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    # ------------------------------------------------------------------------------------------- in the thread

    def _passes(self, one: Process, other: Process) -> bool:
        return self._side_of.get(one) == self._side_of.get(other)

    async def _until_it_passes(self, one: Process, other: Process) -> None:
        while not self._passes(one, other):
            await self._healed.wait()

    async def _accept(
        self, node: Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writers = [writer]
        try:
            inode = inode_of(writer.get_extra_info("peername"), writer.get_extra_info("sockname"))
            dialler = next((each for each in self._nodes if inode and holds(each, inode)), None)
            if inode is None or dialler is None:
                return
            if not self._passes(dialler, node):
                self.held += 1
                await self._until_it_passes(dialler, node)
                if not holds(dialler, inode):
                    return  # it gave up meanwhile; a real network would not have carried its first packet
            inner_reader, inner_writer = await asyncio.open_connection(node.host, node.port)
            writers.append(inner_writer)
            self.carried += 1
            ways = [
                asyncio.ensure_future(self._carry(dialler, node, reader, inner_writer)),
                asyncio.ensure_future(self._carry(dialler, node, inner_reader, writer)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except OSError:
            pass  # refused: whoever dialled is told by the close
        finally:
            for each in writers:
                each.close()

    async def _carry(
        self, one: Process, other: Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """What comes in at `reader` goes out at `writer`; returns when either ends, but not through a cut."""
        chunk = b"more"
        while chunk:
            try:
                chunk = await reader.read(CHUNK)
                await self._until_it_passes(one, other)
                writer.write(chunk)
                await writer.drain()
            except OSError:
                await self._until_it_passes(one, other)
                return
