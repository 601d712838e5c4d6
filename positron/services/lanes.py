"""Lanes: threads that verify signatures ahead of the core, where many envelopes wait for it.

The core verifies each envelope when it comes to it, in the reactor's thread. While much waits (`inbox`), lanes go
ahead: libsodium lets other threads run while it works, so with a second core the signatures of what waits are verified
meanwhile. `verify`, which is given to the core, knows what they found.

Rule: nothing depends on a lane. Only what held gets into the memo, with the very bytes that were verified; whatever is
not in it is verified on the spot. So a lane that is late, gone or never was costs time and nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from threading import Thread
from typing import Any, Protocol

from attrs import define, field
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from positron.core.envelope import MAX_ENVELOPE, MIN_ENVELOPE, Claim, Sealer
from positron.core.identity import verify
from positron.core.messages import PUSH_TAG
from positron.core.statements import Verify

MAX_LANES = 4
"""More gain nothing: what is left for the reactor's thread is then more than what they do (research: limits, 2)."""
BATCH = 32
"""Signatures handed to a thread at once: with fewer, handing over costs more than a tenth of verifying."""
FEW = 4
"""So few are not handed over: it takes as long as verifying one."""

WAITING, CHECKING, CHECKED = range(3)
"""What lanes have done about a slice: nothing yet, at it, all they will."""

Found = Mapping[bytes, tuple[bytes, bytes]]
"""Of signatures that held: author and signed bytes."""
Results = list[Found]

NOTHING: Found = {}


@define(eq=False)
class Slice:
    """Consecutive frames of one link, which the core is given together. `size` is theirs, in bytes."""

    frames: list[bytes]
    size: int
    number: int = 0
    """Of all slices, the lower ones came before."""
    state: int = WAITING
    ids: list[bytes] = field(factory=list)
    """Envelopes in it that a lane verifies or has verified."""
    found: Found = NOTHING


class Threads(Protocol):
    """Where lanes run. `count` of them may at once."""

    count: int

    def run(self, work: Callable[[], Results], done: Callable[[Results], None]) -> None:
        """Do `work` in a thread, then call `done` with what it returned (nothing, if it failed) in the reactor's."""

    def stop(self) -> None:
        """Wait for what is under way, and let the threads go. Nothing is run any more."""


class _Daemon(Thread):
    """Does not keep a process alive that forgot to stop its node."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, daemon=True, **options)


class _Daemons(ThreadPool):
    threadFactory = _Daemon


class PoolThreads:
    """Threads of a pool of its own, which is there from the first `run` to `stop`."""

    _log = Logger()

    def __init__(self, reactor: Any, count: int) -> None:
        self.count = count
        self._reactor = reactor
        self._pool: ThreadPool | None = None

    def run(self, work: Callable[[], Results], done: Callable[[Results], None]) -> None:
        """See `Threads`."""
        if self._pool is None:
            self._pool = _Daemons(0, self.count, "positron-verify")
            self._pool.start()

        def ended(success: bool, result: Any) -> None:
            if not success:
                # A mistake of ours; what it left out is verified when the core comes to it.
                self._log.failure("A lane failed", result)
            self._reactor.callFromThread(done, result if success else [])

        self._pool.callInThreadWithCallback(ended, work)

    def stop(self) -> None:
        """See `Threads`."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()


def threads_for(reactor: Any) -> Threads | None:
    """As many as this process may use cores; None with one core, and under a reactor that no thread can call."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores < 2 or not IReactorFromThreads.providedBy(reactor):
        return None
    return PoolThreads(reactor, min(cores, MAX_LANES))


class Lanes:
    """See the module. Without `threads` everything is verified when the core comes to it.

    `known(envelope_id)`: whether the core would not verify that envelope any more.
    """

    def __init__(self, sealer: Sealer, threads: Threads | None, verify: Verify = verify) -> None:
        self.known: Callable[[bytes], bool] = lambda _: False
        self.at_hand = NOTHING
        """What lanes found of the slice that the core is being given."""
        self._sealer = sealer
        self._threads = threads
        self._verify = verify
        self._busy = 0
        self._ahead: set[bytes] = set()
        self._life = object()

    def verify(self, node_id: bytes, message: bytes, signature: bytes) -> bool:
        """As `positron.core.identity.verify`."""
        if self.at_hand and self.at_hand.get(signature) == (node_id, message):
            return True
        return self._verify(node_id, message, signature)

    def go_ahead(self, waiting: Iterator[Slice], checked: Callable[[], None]) -> None:
        """Let idle lanes take of what is `waiting`, in that order. `checked` is called each time some is done."""
        while self._threads is not None and self._busy < self._threads.count:
            slices, claims = self._take(waiting)
            if not slices:
                return
            self._busy += 1
            done = partial(self._done, self._life, slices, checked)
            self._threads.run(partial(_verify_all, claims, self._verify), done)

    def leave(self, slice: Slice) -> None:
        """This slice is no concern of a lane any more."""
        self._ahead.difference_update(slice.ids)

    def close(self) -> None:
        """Wait for the threads and let them go; what they were at is forgotten."""
        self._life = object()
        self._busy = 0
        self._ahead.clear()
        if self._threads is not None:
            self._threads.stop()

    def _take(self, waiting: Iterator[Slice]) -> tuple[list[Slice], list[list[Claim]]]:
        """What makes a batch, and what its envelopes claim; nothing if it is too little."""
        slices, claims, count = [], [], 0
        for slice in waiting:
            found = self._claims(slice)
            slice.state = CHECKING
            slices.append(slice)
            claims.append(found)
            count += len(found)
            if count >= BATCH:
                break
        if count > FEW:
            return slices, claims
        for slice in slices:
            slice.state = CHECKED
            self.leave(slice)
        return [], []

    def _claims(self, slice: Slice) -> list[Claim]:
        """What the envelopes in this slice claim, without those that are known or in a lane already."""
        claims = []
        for frame in slice.frames:
            raw = frame[2:]
            if frame[0] != PUSH_TAG or not MIN_ENVELOPE <= len(raw) <= MAX_ENVELOPE:
                continue
            envelope_id = self._sealer.envelope_id(raw)
            if envelope_id not in self._ahead and not self.known(envelope_id):
                self._ahead.add(envelope_id)
                slice.ids.append(envelope_id)
                claims.append(self._sealer.claim(raw))
        return claims

    def _done(self, life: object, slices: list[Slice], checked: Callable[[], None], results: Results) -> None:
        if life is not self._life:
            return
        self._busy -= 1
        for slice in slices:
            slice.state = CHECKED
        for slice, found in zip(slices, results, strict=False):
            slice.found = found
        checked()


def _verify_all(claims: list[list[Claim]], verify: Verify) -> Results:
    """In a thread: what holds of these claims. A slice is left at its first that does not: the link ends there."""
    return [_verify_slice(each, verify) for each in claims]


def _verify_slice(claims: list[Claim], verify: Verify) -> Found:
    found = {}
    for author, message, signature in claims:
        if not verify(author, message, signature):
            break
        found[signature] = (author, message)
    return found
