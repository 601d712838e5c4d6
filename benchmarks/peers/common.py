"""What every node written in Python shares: the payload, what was heard, and the commands on stdin.

A payload is `>dII` (Unix time of publication, run, sequence number), then, with PEERS_SIGN=1, an Ed25519 key and
signature made and checked by the program itself, then zeros. Commands and answers are JSON objects, one a line:
`ready` comes unasked, then `connect`, `peers`, `publish`, `count`, `report`, `quit` are asked.

Runs under the interpreters of rivals, so it imports nothing of positron.
"""

from __future__ import annotations

import asyncio
import json
import os
import struct
import sys
import threading
import time
from array import array
from collections.abc import Awaitable, Callable
from typing import Any

HEADER = struct.Struct(">dII")
SIGN = os.environ.get("PEERS_SIGN") == "1"
if SIGN:
    from nacl.signing import SigningKey, VerifyKey

    _KEY = SigningKey.generate()
    _PUBLIC = bytes(_KEY.verify_key)
    _KNOWN: dict[bytes, VerifyKey] = {}

# What a library prints must not end up among the answers.
_answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)
_lock = threading.Lock()


def emit(event: str, **more: Any) -> None:
    """Answer."""
    with _lock:
        _answers.write(json.dumps({"event": event, **more}) + "\n")
        _answers.flush()


def payload(run: int, seq: int, size: int) -> bytes:
    """What is published as message `seq` of a run."""
    head = HEADER.pack(time.time(), run, seq)
    if SIGN:
        padding = bytes(max(0, size - HEADER.size - 96))
        return head + _PUBLIC + _KEY.sign(head + padding).signature + padding
    return head + bytes(max(0, size - HEADER.size))


class Heard:
    """The runs as this node heard them."""

    def __init__(self) -> None:
        self._runs: dict[int, dict[str, Any]] = {}

    def got(self, data: bytes) -> None:
        """A message is here."""
        now = time.time()
        if SIGN:
            public = data[16:48]
            key = _KNOWN.get(public)
            if key is None:
                key = _KNOWN[public] = VerifyKey(public)
            key.verify(data[:16] + data[112:], data[48:112])
        sent, run, seq = HEADER.unpack_from(data)
        heard = self._runs.get(run)
        if heard is None:
            heard = self._runs[run] = {
                "seen": set(),
                "repeated": 0,
                "first": sent,
                "last": now,
                "delays": array("d"),
            }
        if seq in heard["seen"]:
            heard["repeated"] += 1
            return
        heard["seen"].add(seq)
        heard["first"] = min(heard["first"], sent)
        heard["last"] = now
        heard["delays"].append(now - sent)

    def count(self, run: int) -> int:
        """How many of a run's messages are here."""
        return len(self._runs[run]["seen"]) if run in self._runs else 0

    def report(self, run: int) -> dict[str, Any]:
        """The run in figures, seconds."""
        heard = self._runs.get(run)
        if heard is None:
            return {"count": 0}
        delays = sorted(heard["delays"])

        def at(share: float) -> float:
            return delays[min(len(delays) - 1, int(share * len(delays)))]

        return {
            "count": len(delays),
            "repeated": heard["repeated"],
            "seconds": heard["last"] - heard["first"],
            "p50": at(0.5),
            "p99": at(0.99),
        }


def read_commands(push: Callable[[dict[str, Any]], object]) -> None:
    """Call `push` with each command, from a thread; the end of stdin is `quit`."""

    def read() -> None:
        for line in sys.stdin:
            push(json.loads(line))
        push({"ask": "quit"})

    threading.Thread(target=read, daemon=True).start()


async def publish_all(
    asked: dict[str, Any],
    send: Callable[[bytes], Awaitable[object]],
    sleep: Callable[[float], Awaitable[object]],
) -> None:
    """Publish a run at its rate, or (0) as fast as `send` can be awaited with one turn of the loop after each."""
    begun = time.time()
    errors, error = 0, None
    for seq in range(asked["count"]):
        if asked["rate"]:
            wait = begun + seq / asked["rate"] - time.time()
            if wait > 0:
                await sleep(wait)
        try:
            await send(payload(asked["run"], seq, asked["size"]))
        except Exception as problem:
            errors += 1
            error = error or repr(problem)[:200]
        await sleep(0)
    emit("published", seconds=time.time() - begun, errors=errors, error=error)


async def serve(node: Any) -> None:
    """Be a node under asyncio: `start() -> dict`, `connect(addresses)`, `peers() -> int`, `send(bytes)`, `heard`."""
    loop = asyncio.get_running_loop()
    commands: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    read_commands(lambda asked: loop.call_soon_threadsafe(commands.put_nowait, asked))
    emit("ready", **(await node.start()))
    publishing = []
    while True:
        asked = await commands.get()
        match asked["ask"]:
            case "connect":
                await node.connect(asked["addresses"])
                emit("connected")
            case "peers":
                emit("peers", count=node.peers())
            case "publish":
                publishing.append(asyncio.ensure_future(publish_all(asked, node.send, asyncio.sleep)))
            case "count":
                emit("count", count=node.heard.count(asked["run"]))
            case "report":
                emit("report", **node.heard.report(asked["run"]))
            case "quit":
                node.stop()
                os._exit(0)
