"""The store on disk: SQLite through `twisted.enterprise.adbapi`, one thread, written behind.

Rule: the reactor's thread queues and counts, the pool's one thread reads and writes, in the order asked. Nothing of
the disk is waited for in `remember`.

A write is due 100 ms after the first record that waits, or at once with 500 rows. One write is under way at a time, so
a batch that fails goes back to the front of the queue. WAL with synchronous=NORMAL survives a crash of the process
as it is; a batch that somebody waits for (a mark, a flush, a ban) is written with FULL, and survives a power loss too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from positron.core.records import EnvelopeKept, Loaded, Record, TrustChange
from positron.errors import StoreError
from positron.store import (
    DEFAULT_QUOTA,
    DEFAULT_RETENTION,
    FULL_AT,
    PRUNE_AT,
    PRUNE_EVERY,
    RESUME_AT,
    no_health,
    no_mark,
    tables,
)
from positron.store.backlog import MAX_ROWS, Backlog, Batch, Entry, for_a_full_disk
from positron.store.disk import Disk, Opened, Written, check
from positron.store.lane import Lane
from positron.store.questions import Questions

__all__ = ["SQLiteStore", "check"]

WRITE_EVERY = 0.1
"""Seconds a record waits for company at most."""

RETRY_EVERY = 5.0
"""Seconds between two attempts on a disk that refuses."""


class SQLiteStore:
    """See `positron.store.Store`.

    `path` is the database's file, in a folder that exists. `reactor` runs the thread; `clock` (the reactor, if not
    given) calls back later; `wall` tells Unix seconds, else they are reckoned from `open` by `clock`. `quota` in bytes
    bounds the file, `retention` in seconds. `network`, if given, is the network's name: a database of another is
    refused, since its envelopes would be sent to strangers.
    """

    _log = Logger()

    def __init__(
        self,
        path: str,
        reactor: Any,
        *,
        clock: IReactorTime | None = None,
        wall: Callable[[], float] | None = None,
        quota: int = DEFAULT_QUOTA,
        retention: float = DEFAULT_RETENTION,
        network: str = "",
    ) -> None:
        self.on_stored: Callable[[int], None] = no_mark
        self.on_health: Callable[[bool], None] = no_health
        self.path = path
        self._clock: IReactorTime = clock or reactor
        self._quota = quota
        self._disk = Disk(path, quota, int(retention * 1000), network)
        self._lane = Lane(path, reactor, self._disk.set_up)
        self._accepts = False
        self._backlog = Backlog()
        self._questions = Questions(self._lane, self._disk, self._waiting, self.cursor)
        self._writing: Batch | None = None
        self._write_call: IDelayedCall | None = None
        self._prune_call: IDelayedCall | None = None
        self._soon = False
        self._flushes: dict[Deferred[None], int] = {}
        self._closed: Deferred[None] | None = None
        self._totals = tables.NOTHING
        self._used = 0
        self._full = False
        self._refused = False
        self._told_storing = True
        self._wall = wall
        self._wall_offset = 0.0

    # ------------------------------------------------------------------------------------- opening and closing

    def open(self, now_ms: int) -> Deferred[Loaded]:
        """See `Store`."""
        if self._lane.is_open:
            return fail(StoreError("the store is already open"))
        try:
            self._disk.make_file()
        except StoreError:
            return fail()
        self._wall_offset = now_ms / 1000 - self._clock.seconds()
        self._full = self._refused = False
        self._told_storing = True
        self._lane.open()
        opening = self._lane.run(self._disk.open, now_ms)
        return opening.addCallbacks(self._opened, self._not_opened)

    def _opened(self, opened: Opened) -> Loaded:
        self._totals, self._used = opened.totals, opened.used
        self._backlog.last = max(self._backlog.last, opened.cursor)
        self._accepts = True
        self._prune_call = self._clock.callLater(PRUNE_EVERY, self._prune)
        return opened.loaded

    def _not_opened(self, failure: Failure) -> Failure:
        self._lane.close()
        return failure

    def close(self) -> Deferred[None]:
        """See `Store`."""
        if not self._lane.is_open:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        if self._closed is not None:
            self._closed.chainDeferred(waiting)
            return waiting
        self._closed = Deferred()
        self._closed.chainDeferred(waiting)
        self._accepts = False
        last_words: Deferred[Any] = succeed(None) if self._refused else self._reach_disk()
        last_words.addErrback(_not_now)
        last_words.addCallback(lambda _: self._lane.run(self._disk.checkpoint))
        last_words.addErrback(_not_now)
        last_words.addBoth(self._finish_closing)
        return waiting

    def _finish_closing(self, result: Failure | None) -> None:
        self._accepts = False  # if it closed before it was open
        for call in (self._write_call, self._prune_call):
            if call is not None and call.active():
                call.cancel()
        self._write_call = self._prune_call = None
        self._lane.close()
        closed, self._closed = self._closed, None
        if closed is not None:
            closed.callback(result)

    # ------------------------------------------------------------------------------------------------ writing

    def remember(self, record: Record, mark: int = 0) -> None:
        """See `Store`."""
        if not self._accepts:
            return
        if self._full or self._refused:
            record, mark = for_a_full_disk(record), 0
        self._backlog.add(record, mark)
        if self._refused:
            self._backlog.bound()
        elif self._write_call is None or self._backlog.rows >= MAX_ROWS:
            self._arrange(self._backlog.rows >= MAX_ROWS)

    def flush(self) -> Deferred[None]:
        """See `Store`."""
        if not self._accepts:
            return fail(StoreError("the store is not open"))
        if not self._is_storing():
            return fail(StoreError(self._why_not()))
        return self._reach_disk()

    def _reach_disk(self) -> Deferred[None]:
        """Fires when all that was remembered so far is synced."""
        waiting: Deferred[None] = Deferred(self._forget_flush)
        self._flushes[waiting] = self._backlog.last
        if self._writing is None:
            self._write()
        return waiting

    def _forget_flush(self, waiting: Deferred[None]) -> None:
        self._flushes.pop(waiting, None)

    def _arrange(self, soon: bool) -> None:
        """See to it that a write begins, at once if `soon`."""
        if self._writing is not None or not (self._accepts or self._flushes):
            return
        if self._write_call is None:
            self._write_call = self._clock.callLater(0 if soon else WRITE_EVERY, self._write)
        elif soon and not self._soon:
            self._write_call.reset(0)
        self._soon = soon or self._soon

    def _write(self) -> None:
        """Send the next batch to the thread. Without any, but with somebody waiting, it is an empty one that syncs."""
        if self._write_call is not None and self._write_call.active():
            self._write_call.cancel()
        self._write_call, self._soon = None, False
        batch = self._next_batch()
        batch.durable = batch.durable or any(target <= batch.last for target in self._flushes.values())
        self._writing = batch
        writing = self._lane.run(self._disk.write, batch.entries, batch.durable, self._wall_ms())
        writing.addCallbacks(self._wrote, self._not_written, callbackArgs=(batch,), errbackArgs=(batch,))
        writing.addErrback(self._bug)

    def _next_batch(self) -> Batch:
        if not self._backlog:
            return Batch([], self._backlog.last, 0, 0, True)
        if not self._is_storing():
            return self._backlog.take()
        room = FULL_AT * self._quota - self._used
        batch = self._backlog.take(room)
        if batch.size <= room:
            return batch
        self._backlog.put_back(batch)
        self._become_full()
        return self._backlog.take()

    def _wrote(self, written: Written, batch: Batch) -> None:
        self._writing = None
        self._take_in(written)
        reached = [each for each, target in self._flushes.items() if batch.durable and target <= batch.last]
        for waiting in reached:
            del self._flushes[waiting]
        if self._flushes:
            self._write()
        elif self._backlog:
            self._arrange(self._refused or batch.cut or self._backlog.rows >= MAX_ROWS)
        elif self._refused:
            self._retry_later()
        if batch.mark:
            self.on_stored(batch.mark)
        for waiting in reached:
            if not waiting.called:  # one before it may have cancelled it
                waiting.callback(None)

    def _not_written(self, failure: Failure, batch: Batch) -> None:
        self._writing = None
        if failure.check(StoreError):
            self._backlog.put_back(batch)
            if not self._refused:
                self._log.error("not storing: {reason}", reason=failure.getErrorMessage())
            self._refused = True
            self._retry_later()
        else:
            self._bug(failure)  # the batch is dropped: it would fail again
        self._tell_health()
        self._fail_flushes(failure)

    def _fail_flushes(self, failure: Failure) -> None:
        flushes, self._flushes = self._flushes, {}
        for waiting in flushes:
            if not waiting.called:
                waiting.errback(failure)

    def _retry_later(self) -> None:
        if self._write_call is None and self._accepts:
            self._write_call = self._clock.callLater(RETRY_EVERY, self._retry)

    def _retry(self) -> None:
        """Make room, and write what waits if that is possible at all; store again once there is room to speak of."""
        self._write_call = None
        trying = self._lane.run(self._disk.make_room, self._wall_ms())
        trying.addCallback(self._made_room)
        trying.addErrback(self._try_again)
        trying.addErrback(self._bug)

    def _try_again(self, failure: Failure) -> None:
        failure.trap(StoreError)
        self._retry_later()

    def _made_room(self, written: Written) -> None:
        self._refused = not written.roomy
        if written.roomy:
            self._log.info("storing again")
        self._take_in(written)
        self._arrange(True)

    # -------------------------------------------------------------------------------------- quota and pruning

    def _take_in(self, written: Written) -> None:
        """Note what a transaction changed, and what that means for the quota."""
        self._totals = self._totals.plus(written.totals)
        self._used = written.used
        if self._full and self._used < RESUME_AT * self._quota:
            self._full = False
        self._tell_health()
        call = self._prune_call
        if self._used > PRUNE_AT * self._quota and call is not None and call.active():
            if call.getTime() > self._clock.seconds() + RETRY_EVERY:
                call.reset(RETRY_EVERY)

    def _become_full(self) -> None:
        """No room for the envelopes that wait: whoever waits for them is told."""
        self._full = True
        self._tell_health()
        if self._accepts:
            self._fail_flushes(Failure(StoreError(self._why_not())))

    def _is_storing(self) -> bool:
        return not (self._full or self._refused)

    def _tell_health(self) -> None:
        storing = self._is_storing()
        if storing != self._told_storing:
            self._told_storing = storing
            self.on_health(storing)

    def _why_not(self) -> str:
        return "not storing: " + ("the disk refuses" if self._refused else "the quota is used up")

    def _prune(self) -> None:
        """One round of pruning. The core has a minute to drop by itself what it knows."""
        self._prune_call = None
        pruning = self._lane.run(self._disk.prune, self._wall_ms() - int(PRUNE_EVERY * 1000))
        pruning.addCallback(self._pruned)
        pruning.addErrback(self._prune_again)
        pruning.addErrback(self._bug)

    def _pruned(self, written: Written) -> None:
        self._take_in(written)
        if written.removed and self._accepts:
            self._prune()
        else:
            self._prune_later()

    def _prune_again(self, failure: Failure) -> None:
        """Not now; if the disk refuses, the next write will say so."""
        failure.trap(StoreError)
        self._prune_later()

    def _prune_later(self) -> None:
        if self._accepts:
            self._prune_call = self._clock.callLater(PRUNE_EVERY, self._prune)

    # ------------------------------------------------------------------------------------------------ reading

    def fetch(self, ids: Sequence[bytes]) -> Deferred[dict[bytes, bytes]]:
        """See `Store`."""
        return self._questions.fetch(ids)

    def history(
        self, topic_pattern: str, limit: int, before: int | None = None
    ) -> Deferred[list[EnvelopeKept]]:
        """See `Store`."""
        return self._questions.history(topic_pattern, limit, before)

    def after(self, cursor: int, topic_pattern: str, limit: int) -> Deferred[list[tuple[int, EnvelopeKept]]]:
        """See `Store`."""
        return self._questions.after(cursor, topic_pattern, limit)

    def cursor(self) -> int:
        """See `Store`."""
        return self._backlog.last

    def envelope_of(self, author: bytes, epoch: int, seq: int) -> Deferred[EnvelopeKept | None]:
        """See `Store`."""
        return self._questions.envelope_of(author, epoch, seq)

    def trust_history(self, node_id: bytes, limit: int) -> Deferred[list[TrustChange]]:
        """See `Store`."""
        return self._questions.trust_history(node_id, limit)

    def size(self) -> tuple[int, int, int]:
        """See `Store`."""
        return self._totals.messages, self._totals.envelopes, self._totals.bytes

    def backup(self, path: str) -> Deferred[int]:
        """See `Store`."""
        ready = self.flush() if self._accepts and self._is_storing() else succeed(None)
        return ready.addCallback(lambda _: self._lane.run(self._disk.copy, path))

    def _waiting(self) -> list[Entry]:
        """What is not known to be written, in order."""
        under_way = self._writing.entries if self._writing is not None else []
        return [*under_way, *self._backlog]

    # ------------------------------------------------------------------------------------------------- inside

    def _wall_ms(self) -> int:
        wall = self._clock.seconds() + self._wall_offset if self._wall is None else self._wall()
        return int(wall * 1000)

    def _bug(self, failure: Failure) -> None:
        self._log.failure("the store failed for no reason of the disk", failure)


def _not_now(failure: Failure) -> None:
    """Trouble with the disk that is dealt with elsewhere; anything else goes on as an error."""
    failure.trap(StoreError)
