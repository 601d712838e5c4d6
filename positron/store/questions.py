"""Questions to a store that writes behind: what is on disk and what still waits, as one.

Rule: what waits is looked at when the question is asked, and the disk is asked for what is older than that alone, so
nothing is seen twice and nothing is missed while a batch is on its way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from positron.core.envelope import BROADCAST
from positron.core.records import EnvelopeKept, TrustChange
from positron.errors import StoreError
from positron.store import tables
from positron.store.backlog import Entry
from positron.store.disk import Disk
from positron.store.lane import Lane
from positron.store.topics import carries

Numbered = tuple[int, EnvelopeKept]


class Questions:
    """Asks `disk` in `lane`. `waiting` gives what is not known to be written, in order; `last` the newest number."""

    def __init__(
        self, lane: Lane, disk: Disk, waiting: Callable[[], list[Entry]], last: Callable[[], int]
    ) -> None:
        self._lane = lane
        self._disk = disk
        self._waiting = waiting
        self._last = last

    def fetch(self, ids: Sequence[bytes]) -> Deferred[dict[bytes, bytes]]:
        """See `positron.store.Store.fetch`."""
        wanted = set(ids)
        found = {kept.id: kept.raw for _, kept in self._fresh() if kept.id in wanted}
        missing = [each for each in ids if each not in found]
        if not missing or not self._lane.is_open:
            return succeed(found)
        asked = self._lane.run(self._disk.ask, tables.fetch, missing)
        asked.addErrback(_nothing)
        return asked.addCallback(lambda more: {**found, **more})

    def history(self, pattern: str, limit: int, before: int | None) -> Deferred[list[EnvelopeKept]]:
        """See `positron.store.Store.history`."""
        last = self._last() if before is None else before
        fresh = [kept for number, kept in self._fresh() if number <= last and carries(kept, pattern)]
        fresh = fresh[max(0, len(fresh) - limit) :]
        if len(fresh) == limit:
            return succeed(fresh)
        upto = min(last, self._on_disk_upto())
        asked = self._lane.run(self._disk.ask, tables.history, pattern, limit - len(fresh), upto)
        return asked.addCallback(lambda older: older + fresh)

    def after(self, cursor: int, pattern: str, limit: int) -> Deferred[list[Numbered]]:
        """See `positron.store.Store.after`."""
        fresh = [entry for entry in self._fresh() if entry[0] > cursor and carries(entry[1], pattern)]
        upto = self._on_disk_upto()
        if upto <= cursor:
            return succeed(fresh[:limit])
        asked = self._lane.run(self._disk.ask, tables.after, cursor, pattern, limit, upto)
        return asked.addCallback(lambda older: (older + fresh)[:limit])

    def envelope_of(self, author: bytes, epoch: int, seq: int) -> Deferred[EnvelopeKept | None]:
        """See `positron.store.Store.envelope_of`."""
        for _, kept in self._fresh():
            if kept.kind == BROADCAST and kept.author == author and kept.epoch == epoch:
                if kept.seq <= seq < kept.seq + kept.count:
                    return succeed(kept)
        return self._lane.run(self._disk.ask, tables.envelope_of, author, epoch, seq)

    def trust_history(self, node_id: bytes, limit: int) -> Deferred[list[TrustChange]]:
        """See `positron.store.Store.trust_history`."""
        waiting = (entry.record for entry in self._waiting())
        fresh = [row for row in waiting if type(row) is TrustChange and row.node_id == node_id]
        asked = self._lane.run(self._disk.ask, tables.trust_history, node_id, limit, self._on_disk_upto())
        return asked.addCallback(lambda older: (older + fresh)[max(0, len(older) + len(fresh) - limit) :])

    def _fresh(self) -> list[Numbered]:
        """The envelopes that wait, each with its cursor."""
        return [
            (entry.number, entry.record) for entry in self._waiting() if type(entry.record) is EnvelopeKept
        ]

    def _on_disk_upto(self) -> int:
        """The number up to which everything is on disk."""
        waiting = self._waiting()
        return waiting[0].number - 1 if waiting else self._last()


def _nothing(failure: Failure) -> dict[bytes, bytes]:
    """What cannot be read is not held."""
    failure.trap(StoreError)
    return {}
