"""What it costs to store an envelope: the store of a node, without the node."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.task import deferLater

from positron.bench.costs import cpu_seconds
from positron.core.envelope import BROADCAST
from positron.core.records import EnvelopeKept
from positron.store.sqlite import SQLiteStore

AT_ONCE = 500
"""Envelopes remembered in one turn of the reactor: a batch of the store."""
DAY_MS = 86_400_000


async def write_rows(reactor: Any, folder: str, rows: int, size: int) -> float:
    """Remember so many envelopes of `size` bytes; the CPU seconds of all threads until they are on disk."""
    store = SQLiteStore(os.path.join(folder, "rows.db"), reactor)
    now_ms = int(reactor.seconds() * 1000)
    await store.open(now_ms)
    author = os.urandom(32)
    records = [
        EnvelopeKept(
            id=os.urandom(16),
            raw=os.urandom(size),
            author=author,
            kind=BROADCAST,
            epoch=now_ms,
            seq=seq,
            count=1,
            created_ms=now_ms + seq,
            expires_ms=now_ms + DAY_MS,
            received=now_ms / 1000,
            hops=1,
            topics=("fed",),
        )
        for seq in range(1, rows + 1)
    ]
    begun = cpu_seconds()
    for start in range(0, rows, AT_ONCE):
        for record in records[start : start + AT_ONCE]:
            store.remember(record)
        await deferLater(reactor, 0, lambda: None)
    await store.flush()
    spent = cpu_seconds() - begun
    await store.close()
    return spent
