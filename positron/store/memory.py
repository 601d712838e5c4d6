"""The contract of a store without a disk: for tests, simulations, and nodes without a data folder.

"On disk" means "kept" here. The object outlives `close`: opened again, it gives back what it held, as a database
would, so that a restart can be played.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from positron.core.envelope import BROADCAST
from positron.core.records import (
    EnvelopeKept,
    EnvelopesDropped,
    IndexEntry,
    Loaded,
    PeerForgotten,
    PeerKept,
    Record,
    SequencesDropped,
    SequencesKept,
    StateKept,
    StubKept,
    TrustChange,
    TrustKept,
)
from positron.errors import StoreError
from positron.store import (
    DEFAULT_QUOTA,
    DEFAULT_RETENTION,
    FULL_AT,
    PRUNE_EVERY,
    RESUME_AT,
    no_health,
    no_mark,
)
from positron.store.topics import carries

MAX_CHANGES = 32_768
"""Audit rows kept in all; the oldest go."""

MAX_STUBS = 131_072
"""Stubs kept in all, as many as the core's index holds; the oldest go."""

_OVERHEAD = 256
"""Bytes an envelope costs beside its own."""


class MemoryStore:
    """See `positron.store.Store`. `quota` in bytes, `retention` in seconds; `clock` calls back later.

    `wall` tells Unix seconds, else they are reckoned from `open` by `clock`.
    """

    def __init__(
        self,
        clock: IReactorTime,
        quota: int = DEFAULT_QUOTA,
        retention: float = DEFAULT_RETENTION,
        *,
        wall: Callable[[], float] | None = None,
    ) -> None:
        self.on_stored: Callable[[int], None] = no_mark
        self.on_health: Callable[[bool], None] = no_health
        self._clock = clock
        self._quota = quota
        self._room = FULL_AT * quota
        self._retention_ms = int(retention * 1000)
        self._epoch = 0
        self._envelopes: dict[bytes, tuple[int, EnvelopeKept]] = {}
        self._stubs: dict[bytes, StubKept] = {}
        self._sequences: dict[tuple[bytes, int, bytes], dict[int, SequencesKept]] = {}
        self._floors: dict[tuple[bytes, int, bytes], SequencesDropped] = {}
        self._peers: dict[bytes, PeerKept] = {}
        self._trust: dict[bytes, TrustKept] = {}
        self._changes: list[TrustChange] = []
        self._state: dict[str, str] = {}
        self._messages = 0
        self._bytes = 0
        self._cursor = 0
        self._wall = wall
        self._wall_offset = 0.0
        self._open = False
        self._full = False
        self._told_full = False
        self._mark = 0
        self._telling: IDelayedCall | None = None
        self._pruning: IDelayedCall | None = None

    # ------------------------------------------------------------------------------------- opening and closing

    def open(self, now_ms: int) -> Deferred[Loaded]:
        """See `Store`."""
        self._wall_offset = now_ms / 1000 - self._clock.seconds()
        self._epoch = max(self._epoch + 1, now_ms)
        self._open = True
        self._told_full = False
        self._prune(now_ms)
        self._arrange_telling()
        self._pruning = self._clock.callLater(PRUNE_EVERY, self._prune_again)
        held = [kept for _, kept in self._envelopes.values()]
        index = [IndexEntry(e.id, e.created_ms, e.expires_ms, e.author, len(e.raw), e.kind) for e in held]
        index += [IndexEntry(s.id, s.created_ms, s.expires_ms, b"", 0) for s in self._stubs.values()]
        return succeed(
            Loaded(
                self._epoch,
                index,
                [kept for epochs in self._sequences.values() for kept in epochs.values()],
                list(self._floors.values()),
                list(self._peers.values()),
                sorted(self._trust.values(), key=lambda kept: kept.time),
                dict(self._state),
            )
        )

    def close(self) -> Deferred[None]:
        """See `Store`."""
        self._open = False
        for call in (self._telling, self._pruning):
            if call is not None and call.active():
                call.cancel()
        self._telling = self._pruning = None
        self._tell_now()
        return succeed(None)

    # ------------------------------------------------------------------------------------------------ writing

    def remember(self, record: Record, mark: int = 0) -> None:
        """See `Store`."""
        if not self._open:
            return
        self._keep(record)
        if mark and not self._full:
            self._mark = mark
        self._arrange_telling()

    def _arrange_telling(self) -> None:
        if (self._mark or self._full != self._told_full) and self._telling is None:
            self._telling = self._clock.callLater(0, self._tell)

    def _keep(self, record: Record) -> None:
        match record:
            case EnvelopeKept():
                self._keep_envelope(record)
            case StubKept():
                self._drop_envelope(record.id)
                if not self._full:
                    self._stubs[record.id] = record
            case EnvelopesDropped():
                for envelope_id in record.ids:
                    self._drop_envelope(envelope_id)
            case SequencesKept():
                stream = (record.author, record.kind, record.recipient)
                self._sequences.setdefault(stream, {})[record.epoch] = record
            case SequencesDropped():
                stream = (record.author, record.kind, record.recipient)
                self._sequences.pop(stream, None)
                self._floors[stream] = record
            case PeerKept():
                self._peers[record.node_id] = record
            case PeerForgotten():
                self._peers.pop(record.node_id, None)
            case TrustKept():
                self._keep_trust(record)
            case TrustChange():
                self._changes.append(record)
            case StateKept():
                self._state[record.key] = record.value

    def _keep_envelope(self, record: EnvelopeKept) -> None:
        if record.id in self._envelopes:
            return
        size = len(record.raw)
        used = self._bytes + size + _OVERHEAD * (len(self._envelopes) + 1)
        self._full = self._full or used > self._room
        if self._full:
            return
        self._stubs.pop(record.id, None)
        self._cursor += 1
        self._envelopes[record.id] = (self._cursor, record)
        self._messages += record.count
        self._bytes += size

    def _drop_envelope(self, envelope_id: bytes) -> None:
        self._stubs.pop(envelope_id, None)
        found = self._envelopes.pop(envelope_id, None)
        if found is not None:
            self._messages -= found[1].count
            self._bytes -= len(found[1].raw)
            if self._bytes + _OVERHEAD * len(self._envelopes) < RESUME_AT * self._quota:
                self._full = False

    def _keep_trust(self, record: TrustKept) -> None:
        if record.time:
            self._trust[record.node_id] = record
        else:
            self._trust.pop(record.node_id, None)

    def flush(self) -> Deferred[None]:
        """See `Store`."""
        if not self._open or self._full:
            return fail(StoreError("not storing: the quota is used up" if self._open else "not open"))
        return succeed(None)

    def _tell(self) -> None:
        self._telling = None
        self._tell_now()

    def _tell_now(self) -> None:
        mark, self._mark = self._mark, 0
        if self._full != self._told_full:
            self._told_full = self._full
            self.on_health(not self._full)
        if mark and not self._full:
            self.on_stored(mark)

    # ------------------------------------------------------------------------------------------------ reading

    def fetch(self, ids: Sequence[bytes]) -> Deferred[dict[bytes, bytes]]:
        """See `Store`."""
        return succeed({each: self._envelopes[each][1].raw for each in ids if each in self._envelopes})

    def history(
        self, topic_pattern: str, limit: int, before: int | None = None
    ) -> Deferred[list[EnvelopeKept]]:
        """See `Store`."""
        last = self._cursor if before is None else before
        newest = (kept for at, kept in reversed(self._envelopes.values()) if at <= last)
        found = list(islice((kept for kept in newest if carries(kept, topic_pattern)), limit))
        return succeed(found[::-1])

    def after(self, cursor: int, topic_pattern: str, limit: int) -> Deferred[list[tuple[int, EnvelopeKept]]]:
        """See `Store`."""
        found: Iterator[tuple[int, EnvelopeKept]] = (
            entry
            for entry in self._envelopes.values()
            if entry[0] > cursor and carries(entry[1], topic_pattern)
        )
        return succeed(list(islice(found, limit)))

    def cursor(self) -> int:
        """See `Store`."""
        return self._cursor

    def envelope_of(self, author: bytes, epoch: int, seq: int) -> Deferred[EnvelopeKept | None]:
        """See `Store`."""
        for _, kept in self._envelopes.values():
            if kept.kind == BROADCAST and kept.author == author and kept.epoch == epoch:
                if kept.seq <= seq < kept.seq + kept.count:
                    return succeed(kept)
        return succeed(None)

    def trust_history(self, node_id: bytes, limit: int) -> Deferred[list[TrustChange]]:
        """See `Store`."""
        found = list(islice((row for row in reversed(self._changes) if row.node_id == node_id), limit))
        return succeed(found[::-1])

    def size(self) -> tuple[int, int, int]:
        """See `Store`."""
        return self._messages, len(self._envelopes), self._bytes

    def backup(self, path: str) -> Deferred[int]:
        """There is nothing on disk to copy: `StoreError`."""
        return fail(StoreError("a node without a data folder has nothing to back up"))

    # ------------------------------------------------------------------------------------------------ pruning

    def _prune_again(self) -> None:
        wall = self._clock.seconds() + self._wall_offset if self._wall is None else self._wall()
        self._prune(int((wall - PRUNE_EVERY) * 1000))
        self._pruning = self._clock.callLater(PRUNE_EVERY, self._prune_again)

    def _prune(self, now_ms: int) -> None:
        """Drop what is expired or beyond retention at `now_ms`, and the oldest audit rows."""
        edge = now_ms - self._retention_ms
        kept: list[StubKept | EnvelopeKept] = [*self._stubs.values()]
        kept += [envelope for _, envelope in self._envelopes.values()]
        for each in kept:
            if each.expires_ms <= now_ms or each.created_ms <= edge:
                self._drop_envelope(each.id)
        for envelope_id in list(self._stubs)[:-MAX_STUBS]:
            del self._stubs[envelope_id]
        del self._changes[:-MAX_CHANGES]
