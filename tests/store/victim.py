"""A process that writes to a store until it is killed, or until its disk refuses: `python -m tests.store.victim ...`.

write PATH          open, print `epoch N`, remember envelopes as fast as they are stored, print `stored MARK`
refuse PATH LIMIT   the same in slow steps, files limited to LIMIT bytes until the store gave up, then not;
                    print `health 0` and `health 1`, and end after the next mark
"""

from __future__ import annotations

import resource
import signal
import sys
import time

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import react

from positron.core.records import SequencesKept
from positron.store import sqlite
from tests.store.samples import AUTHOR, envelope

VICTIM_RUN = 1_000_000
"""Envelopes of one run are numbered from a multiple of this on."""


def say(*words: object) -> None:
    print(*words, flush=True)


async def write(path: str) -> None:
    """Number the envelopes by epoch and count, so that a run never repeats one of an earlier run."""
    store = sqlite.SQLiteStore(path, reactor)
    epoch = (await store.open(int(time.time() * 1000))).epoch
    say("epoch", epoch)
    first = (epoch % 1_000_000_000) * VICTIM_RUN

    def go_on(mark: int) -> None:
        if mark:
            say("stored", first + mark)
        for number in range(mark + 1, mark + 51):
            store.remember(fresh(epoch, first + number, number), number)
            store.remember(SequencesKept(AUTHOR, 1, b"", epoch, [(1, number)], 1, 1))

    store.on_stored = go_on
    go_on(0)
    await Deferred()


def fresh(epoch: int, name: int, number: int) -> object:
    now_ms = int(time.time() * 1000)
    return envelope(
        name,
        epoch=epoch,
        seq=number,
        count=1,
        created_ms=now_ms,
        expires_ms=now_ms + 3_600_000,
        raw=bytes(300),
    )


async def refuse(path: str, limit: str) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    sqlite.RETRY_EVERY = 0.2
    store = sqlite.SQLiteStore(path, reactor)
    epoch = (await store.open(int(time.time() * 1000))).epoch
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), hard))
    done: Deferred[None] = Deferred()
    healthy, mark = True, 0

    def remember() -> None:
        nonlocal mark
        for _ in range(100):
            mark += 1
            store.remember(fresh(epoch, mark, mark), mark)

    def health(storing: bool) -> None:
        nonlocal healthy
        healthy = storing
        say("health", int(storing))
        if storing:
            remember()
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))

    def stored(reached: int) -> None:
        say("stored", reached)
        if resource.getrlimit(resource.RLIMIT_FSIZE)[0] == hard:
            done.callback(None)
        elif healthy:
            remember()

    store.on_health, store.on_stored = health, stored
    remember()
    await done
    await store.close()


if __name__ == "__main__":
    task = {"write": write, "refuse": refuse}[sys.argv[1]]
    react(lambda _: Deferred.fromCoroutine(task(*sys.argv[2:])))
