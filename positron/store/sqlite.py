"""The store on disk: SQLite through `twisted.enterprise.adbapi`, one thread, written behind.

Rule: the reactor's thread queues and counts, the pool's one thread reads and writes, in the order asked. Nothing of
the disk is waited for in `remember`.

A write is due 100 ms after the first record that waits, or at once with 500 rows. One write is under way at a time, so
a batch that fails goes back to the front of the queue. WAL with synchronous=NORMAL survives a crash of the process
as it is; a batch that somebody waits for (a mark, a flush, a ban) is written with FULL, and survives a power loss too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from json import JSONDecodeError
from typing import Any, TypeVar

from twisted.enterprise import adbapi
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from positron.core.envelope import BROADCAST
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
from positron.store.backlog import MAX_ROWS, Backlog, Batch, Entry, without_bytes
from positron.store.disk import Disk, Opened, Written, check, damaged
from positron.store.topics import carries

__all__ = ["SQLiteStore", "check"]

WRITE_EVERY = 0.1
"""Seconds a record waits for company at most."""

RETRY_EVERY = 5.0
"""Seconds between two attempts on a disk that refuses."""

T = TypeVar("T")


class SQLiteStore:
    """See `positron.store.Store`.

    `path` is the database's file, in a folder that exists. `reactor` runs the thread; `clock` (the reactor, if not
    given) tells the time and calls back later. `quota` in bytes bounds the file, `retention` in seconds. `network`,
    if given, is the network's name: a database of another is refused, since its envelopes would be sent to strangers.
    """

    _log = Logger()

    def __init__(
        self,
        path: str,
        reactor: Any,
        *,
        clock: IReactorTime | None = None,
        quota: int = DEFAULT_QUOTA,
        retention: float = DEFAULT_RETENTION,
        network: str = "",
    ) -> None:
        self.on_stored: Callable[[int], None] = no_mark
        self.on_health: Callable[[bool], None] = no_health
        self.path = path
        self._reactor = reactor
        self._clock: IReactorTime = clock or reactor
        self._quota = quota
        self._disk = Disk(path, quota, int(retention * 1000), network)
        self._pool: adbapi.ConnectionPool | None = None
        self._accepts = False
        self._backlog = Backlog()
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
        self._wall_offset = 0.0

    # ------------------------------------------------------------------------------------- opening and closing

    def open(self, now_ms: int) -> Deferred[Loaded]:
        """See `Store`."""
        if self._pool is not None:
            return fail(StoreError("the store is already open"))
        try:
            self._disk.make_file()
        except StoreError:
            return fail()
        self._wall_offset = now_ms / 1000 - self._clock.seconds()
        self._full = self._refused = False
        self._told_storing = True
        self._pool = adbapi.ConnectionPool(
            "sqlite3",
            self.path,
            cp_min=1,
            cp_max=1,
            cp_reactor=self._reactor,
            cp_openfun=self._disk.set_up,
            check_same_thread=False,
            isolation_level=None,
        )
        opening = self._run(self._disk.open, now_ms)
        return opening.addCallbacks(self._opened, self._not_opened)

    def _opened(self, opened: Opened) -> Loaded:
        self._totals, self._used = opened.totals, opened.used
        self._backlog.last = max(self._backlog.last, opened.cursor)
        self._accepts = True
        self._prune_call = self._clock.callLater(PRUNE_EVERY, self._prune)
        return opened.loaded

    def _not_opened(self, failure: Failure) -> Failure:
        self._close_pool()
        return failure

    def close(self) -> Deferred[None]:
        """See `Store`."""
        if self._pool is None:
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
        last_words.addCallback(lambda _: self._run(self._disk.checkpoint))
        last_words.addErrback(_not_now)
        last_words.addBoth(self._finish_closing)
        return waiting

    def _finish_closing(self, result: object) -> None:
        for call in (self._write_call, self._prune_call):
            if call is not None and call.active():
                call.cancel()
        self._write_call = self._prune_call = None
        self._close_pool()
        closed, self._closed = self._closed, None
        if closed is not None:
            closed.callback(result)

    def _close_pool(self) -> None:
        """Join the thread, which has nothing left to do."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    # ------------------------------------------------------------------------------------------------ writing

    def remember(self, record: Record, mark: int = 0) -> None:
        """See `Store`."""
        if not self._accepts:
            return
        if self._full or self._refused:
            record, mark = without_bytes(record), 0
        self._backlog.add(record, mark)
        if self._refused:
            self._backlog.bound()
        else:
            self._arrange(self._backlog.rows >= MAX_ROWS)

    def flush(self) -> Deferred[None]:
        """See `Store`."""
        if not self._accepts:
            return fail(StoreError("the store is not open"))
        if self._full or self._refused:
            return fail(StoreError(self._why_not()))
        return self._reach_disk()

    def _reach_disk(self) -> Deferred[None]:
        """Fires when all that was remembered so far is synced."""
        waiting: Deferred[None] = Deferred(lambda cancelled: self._flushes.pop(cancelled))
        self._flushes[waiting] = self._backlog.last
        if self._writing is None:
            self._write()
        return waiting

    def _arrange(self, soon: bool) -> None:
        """See to it that a write begins, at once if `soon`."""
        if self._writing is not None:
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
        batch = self._backlog.take() if self._backlog else Batch([], self._backlog.last, 0, 0, True)
        if self._used + batch.size > FULL_AT * self._quota:
            self._full = True
            self._tell_health()
        if self._full or self._refused:
            batch.entries = [Entry(number, without_bytes(record), 0) for number, record, _ in batch.entries]
            batch.mark = 0
        batch.durable = batch.durable or any(target <= batch.last for target in self._flushes.values())
        self._writing = batch
        writing = self._run(self._disk.write, batch.entries, batch.durable, self._wall_ms())
        writing.addCallbacks(self._wrote, self._not_written, (batch,), None, (batch,))
        writing.addErrback(self._bug)

    def _wrote(self, written: Written, batch: Batch) -> None:
        self._writing = None
        self._take_in(written)
        if batch.mark and not (self._full or self._refused):
            self.on_stored(batch.mark)
        if batch.durable:
            for waiting in [each for each, target in self._flushes.items() if target <= batch.last]:
                del self._flushes[waiting]
                waiting.callback(None)
        if (self._backlog or self._flushes) and self._pool is not None:
            self._arrange(self._refused or bool(self._flushes) or self._backlog.rows >= MAX_ROWS)

    def _not_written(self, failure: Failure, batch: Batch) -> None:
        self._writing = None
        self._fail_flushes(failure)
        if not failure.check(StoreError):
            self._bug(failure)  # the batch is dropped: it would fail again
            return
        self._backlog.put_back(batch)
        if not self._refused:
            self._log.error("not storing: {reason}", reason=failure.getErrorMessage())
        self._refused = True
        self._tell_health()
        self._retry_later()

    def _fail_flushes(self, failure: Failure) -> None:
        flushes, self._flushes = self._flushes, {}
        for waiting in flushes:
            waiting.errback(failure)

    def _retry_later(self) -> None:
        if self._write_call is None and self._closed is None:
            self._write_call = self._clock.callLater(RETRY_EVERY, self._retry)

    def _retry(self) -> None:
        """Make room, and write what waits if that is possible at all; store again once there is room to speak of."""
        self._write_call = None
        trying = self._run(self._disk.make_room, self._wall_ms())
        trying.addCallbacks(self._made_room, lambda failure: _not_now(failure) or self._retry_later())
        trying.addErrback(self._bug)

    def _made_room(self, written: Written) -> None:
        self._refused = not written.roomy
        self._take_in(written)
        if self._refused:
            self._retry_later()
        elif self._closed is None:
            self._log.info("storing again")
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

    def _tell_health(self) -> None:
        storing = not (self._full or self._refused)
        if storing != self._told_storing:
            self._told_storing = storing
            self.on_health(storing)

    def _why_not(self) -> str:
        return "not storing: " + ("the disk refuses" if self._refused else "the quota is used up")

    def _prune(self) -> None:
        """One round of pruning. The core has a minute to drop by itself what it knows."""
        self._prune_call = None
        pruning = self._run(self._disk.prune, self._wall_ms() - int(PRUNE_EVERY * 1000))
        pruning.addCallbacks(self._pruned, lambda failure: _not_now(failure) or self._prune_later())
        pruning.addErrback(self._bug)

    def _pruned(self, written: Written) -> None:
        self._take_in(written)
        if written.removed and self._closed is None:
            self._prune()
        else:
            self._prune_later()

    def _prune_later(self) -> None:
        if self._closed is None:
            self._prune_call = self._clock.callLater(PRUNE_EVERY, self._prune)

    # ------------------------------------------------------------------------------------------------ reading

    def fetch(self, ids: Sequence[bytes]) -> Deferred[dict[bytes, bytes]]:
        """See `Store`."""
        wanted = set(ids)
        found = {kept.id: kept.raw for _, kept in self._unwritten() if kept.id in wanted}
        missing = [each for each in ids if each not in found]
        if not missing or self._pool is None:
            return succeed(found)
        asked = self._run(self._disk.ask, tables.fetch, missing)
        asked.addErrback(lambda failure: _not_now(failure) or {})
        return asked.addCallback(lambda more: {**found, **more})

    def history(
        self, topic_pattern: str, limit: int, before: int | None = None
    ) -> Deferred[list[EnvelopeKept]]:
        """See `Store`."""
        last = self._backlog.last if before is None else before
        fresh = [
            kept for number, kept in self._unwritten() if number <= last and carries(kept, topic_pattern)
        ]
        fresh = fresh[max(0, len(fresh) - limit) :]
        if len(fresh) == limit:
            return succeed(fresh)
        upto = min(last, self._written_upto())
        asked = self._run(self._disk.ask, tables.history, topic_pattern, limit - len(fresh), upto)
        return asked.addCallback(lambda older: older + fresh)

    def after(self, cursor: int, topic_pattern: str, limit: int) -> Deferred[list[tuple[int, EnvelopeKept]]]:
        """See `Store`."""
        fresh = [
            entry for entry in self._unwritten() if entry[0] > cursor and carries(entry[1], topic_pattern)
        ]
        upto = self._written_upto()
        if upto <= cursor:
            return succeed(fresh[:limit])
        asked = self._run(self._disk.ask, tables.after, cursor, topic_pattern, limit, upto)
        return asked.addCallback(lambda older: (older + fresh)[:limit])

    def cursor(self) -> int:
        """See `Store`."""
        return self._backlog.last

    def envelope_of(self, author: bytes, epoch: int, seq: int) -> Deferred[EnvelopeKept | None]:
        """See `Store`."""
        for _, kept in self._unwritten():
            if kept.kind == BROADCAST and kept.author == author and kept.epoch == epoch:
                if kept.seq <= seq < kept.seq + kept.count:
                    return succeed(kept)
        return self._run(self._disk.ask, tables.envelope_of, author, epoch, seq)

    def trust_history(self, node_id: bytes, limit: int) -> Deferred[list[TrustChange]]:
        """See `Store`."""
        fresh = [
            entry.record
            for entry in self._waiting()
            if type(entry.record) is TrustChange and entry.record.node_id == node_id
        ]
        asked = self._run(self._disk.ask, tables.trust_history, node_id, limit, self._written_upto())
        return asked.addCallback(lambda older: (older + fresh)[max(0, len(older) + len(fresh) - limit) :])

    def size(self) -> tuple[int, int, int]:
        """See `Store`."""
        return self._totals.messages, self._totals.envelopes, self._totals.bytes

    def backup(self, path: str) -> Deferred[None]:
        """See `Store`."""
        ready = self.flush() if self._accepts and not self._full and not self._refused else succeed(None)
        return ready.addCallback(lambda _: self._run(self._disk.copy, path))

    def _waiting(self) -> list[Entry]:
        """What is not known to be written, in order: what a question to the disk must leave out."""
        under_way = self._writing.entries if self._writing is not None else []
        return [*under_way, *self._backlog]

    def _unwritten(self) -> list[tuple[int, EnvelopeKept]]:
        """The envelopes among them, each with its cursor."""
        return [
            (entry.number, entry.record) for entry in self._waiting() if type(entry.record) is EnvelopeKept
        ]

    def _written_upto(self) -> int:
        """The number up to which everything is on disk."""
        waiting = self._waiting()
        return waiting[0].number - 1 if waiting else self._backlog.last

    # ------------------------------------------------------------------------------------------------- inside

    def _wall_ms(self) -> int:
        return int((self._clock.seconds() + self._wall_offset) * 1000)

    def _run(self, work: Callable[..., T], *arguments: object) -> Deferred[T]:
        """Do `work(connection, *arguments)` in the store's thread. Trouble with the disk comes as `StoreError`."""
        if self._pool is None:
            return fail(StoreError("the store is not open"))
        running: Deferred[T] = self._pool.runWithConnection(work, *arguments)
        return running.addErrback(self._explain)

    def _explain(self, failure: Failure) -> Failure:
        error = failure.value
        if isinstance(error, (OSError, sqlite3.OperationalError)):
            raise StoreError(f"cannot use the database {self.path}: {error}") from error
        if type(error) is sqlite3.DatabaseError or isinstance(error, JSONDecodeError):
            raise damaged(self.path, error) from error
        return failure

    def _bug(self, failure: Failure) -> None:
        self._log.failure("the store failed for no reason of the disk", failure)


def _not_now(failure: Failure) -> None:
    """Trouble with the disk that is dealt with elsewhere; anything else goes on as an error."""
    failure.trap(StoreError)
