"""What this node holds and knows of: envelopes in memory and in the store, stubs, and ids it never wants again.

Rule: an id is announced only while its envelope is in memory or in the store, and an id that was refused for good is
never wanted again. Everything is bounded: by retention, by bytes and by count, whichever is least.

An envelope that is known but not held (refused, muted, pruned, or there was no room) leaves a stub in the index until
it expires, so that both sides of an anti-entropy exchange agree and fall silent. Stubs take room in the index, whose
floor rises when it is full; below the floor they are of no use and go, but what is held stays: else a stranger who
floods would erase everybody's history with the stubs of its own.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import Protocol

from attrs import define

from positron.core.context import Context
from positron.core.envelope import BROADCAST, MAX_FUTURE_MS, Envelope
from positron.core.gossip.recents import Recent, Recents
from positron.core.records import EnvelopeKept, EnvelopesDropped, IndexEntry, StateKept, StubKept

MAX_SEEN = 131_072
"""Ids remembered without their envelope, in two generations."""

MAX_ENVELOPES = 65_536
STORE_OVERHEAD = 256
"""What an envelope costs a store beside its bytes: its row and its places in four indexes (measured: 215 bytes)."""

STORE_SHARE = 0.75
"""The share of the quota up to which envelopes are held, so that a store never reaches the 95 % at which it stops."""

EXPIRY_BATCH = 500
PRUNED_AT_ONCE = 128
"""Of all that is held, a part of so many is pruned at once. It takes a look at everything, which thousands of authors
who hold a few envelopes each could else have us take for every envelope of theirs."""

FLOOR_STEP_MS = 10_000
"""A floor raised by age moves in steps, the same for all, and lies one to two steps above the edge of retention: so
floors are mostly equal and what is about to end is not reconciled. Short retentions have steps of a tenth."""

NEWS_MS = MAX_FUTURE_MS
"""What was created so lately is never refused for lack of room in the index. Else whoever fills that with envelopes
from the future, as far as clocks may be off, raises the floor above our clock and silences everybody."""

FLOOR_KEPT_EVERY_MS = 60_000
"""How far a floor moves by age before the store is told again."""


class Index(Protocol):
    """The sorted set of (created_ms, id) that anti-entropy reconciles (`positron.core.sync`).

    Its floor only rises: by `raise_floor`, or by itself when there are too many entries.
    """

    @property
    def floor(self) -> int:
        """Nothing created before this (ms) is in it."""

    def add(self, created: int, id: bytes, /) -> None:
        """Put an id in."""

    def discard(self, created: int, id: bytes, /) -> bool:
        """Take an id out, if it is there."""

    def raise_floor(self, floor: int, /) -> int:
        """Drop what was created before `floor`."""


@define(eq=False)
class _Share:
    """What is held of one author."""

    bytes: int = 0
    envelopes: int = 0


class Holdings:
    """See the module. The owner calls `tick` about once a second."""

    def __init__(self, context: Context, index: Index) -> None:
        self._context = context
        self._index = index
        self.known: dict[bytes, IndexEntry] = {}
        self._recents = Recents(context)
        self.recent = self._recents.by_id
        self.storing = True
        self.bytes = 0
        self.envelopes = 0
        self._quota = context.parameters.quota * STORE_SHARE
        self._retention_ms = int(context.parameters.retention * 1000)
        self._floor_kept = 0
        self._muted: set[bytes] = set()
        self._next_muting = 0.0
        self._young: dict[bytes, None] = {}
        self._old: dict[bytes, None] = {}
        self._shares: dict[bytes, _Share] = {}
        self._expiry: list[tuple[int, bytes]] = []
        self._pending_drop: list[bytes] = []

    def load(self, entries: Iterable[IndexEntry], state: dict[str, str]) -> None:
        """Take over what the store held. A floor ahead of the clock is dropped."""
        for entry in entries:
            if entry.kind == BROADCAST:
                self._insert(entry)
        floor = int(state.get("floor_ms", "0"))
        if floor <= self._context.wall_ms:
            self._index.raise_floor(floor)
        self._raise_floor_by_age()

    @property
    def floor_ms(self) -> int:
        """What was created before this is refused as `old`: the index's floor, but nothing that is news."""
        news = self._context.wall_ms - min(NEWS_MS, self._retention_ms // 2)
        floor = self._index.floor
        return floor if floor < news else news

    # -------------------------------------------------------------------------------------------- questions

    def is_known(self, envelope_id: bytes) -> bool:
        """Whether this id was seen, is held, or is refused for good."""
        return envelope_id in self.known or envelope_id in self._young or envelope_id in self._old

    def is_held(self, envelope_id: bytes) -> bool:
        """Whether the envelope itself is in memory or in the store."""
        if envelope_id in self.recent:
            return True
        entry = self.known.get(envelope_id)
        return entry is not None and entry.size > 0

    def is_stub(self, envelope_id: bytes) -> bool:
        """Whether the id is in the index and the envelope is not held: a PUSH may fill it."""
        entry = self.known.get(envelope_id)
        return entry is not None and entry.size == 0

    def author_of(self, envelope_id: bytes) -> bytes | None:
        """Who wrote an envelope that is in memory or in the index."""
        recent = self.recent.get(envelope_id)
        if recent is not None:
            return recent.envelope.author
        entry = self.known.get(envelope_id)
        return entry.author if entry is not None else None

    def overlapping(self, envelope: Envelope) -> Envelope | None:
        """An accepted BROADCAST in memory that claims numbers of this one, other than itself."""
        return self._recents.overlapping(envelope)

    # ---------------------------------------------------------------------------------------------- keeping

    def keep(self, envelope: Envelope, hops: int, topics: tuple[str, ...], mark: int = 0) -> Recent:
        """Hold an accepted BROADCAST: in memory for 10 s, in the store (or as a stub) for the retention."""
        recent = self._recents.add(envelope, hops)
        if envelope.id in self.known:
            self._forget(envelope.id)
        stored = len(envelope.raw) if self.storing else 0
        self._insert(
            IndexEntry(
                envelope.id, envelope.created_ms, envelope.expires_ms, envelope.author, stored, envelope.kind
            )
        )
        if self.storing:
            self._context.remember(self._kept(envelope, hops, topics), mark)
        else:
            self._context.remember(StubKept(envelope.id, envelope.created_ms, envelope.expires_ms), mark)
        self._prune()
        return recent

    def carry(self, envelope: Envelope, hops: int) -> Recent:
        """Hold a DIRECT or a RECEIPT in memory only, to relay it: never announced, never reconciled.

        The same may go out again: as if it were new, and counted once.
        """
        self.see(envelope.id)
        self._recents.discard(envelope.id)
        return self._recents.add(envelope, hops)

    def refuse(self, envelope: Envelope) -> None:
        """Never want this one again; a stub stands for it until it expires."""
        if self.is_known(envelope.id):
            return
        if envelope.kind == BROADCAST and self.floor_ms <= envelope.created_ms <= self._context.wall_ms:
            self._insert(
                IndexEntry(envelope.id, envelope.created_ms, envelope.expires_ms, envelope.author, 0)
            )
            self._context.remember(StubKept(envelope.id, envelope.created_ms, envelope.expires_ms))
            self._prune()
        else:
            self.see(envelope.id)

    def store_health(self, storing: bool) -> None:
        """Whether the store takes envelopes. When it stops, a tenth of what is held makes room for it to go on."""
        if not storing and self.storing:
            goal = self.bytes * 0.9
            while self.bytes > goal:
                self._prune_most()
        self.storing = storing

    def mute(self, author: bytes) -> None:
        """Turn everything held of this author into stubs, at once, or at the next `tick` if that was done lately.

        It takes a look at everything, which whoever makes up authors to equivocate with has us take once a second.
        """
        self._muted.add(author)
        if self._context.now >= self._next_muting:
            self._silence()

    def see(self, envelope_id: bytes) -> None:
        """Remember an id alone, in two generations of a dict (a set of that size costs 20 ms a collection)."""
        self._young[envelope_id] = None
        if len(self._young) >= MAX_SEEN // 2:
            self._old, self._young = self._young, {}

    def tick(self) -> None:
        """Let go of what is over: memory after 10 s, envelopes and stubs at their expiry or our retention."""
        self._recents.trim()
        self._raise_floor_by_age()
        self._silence()
        now_ms = self._context.wall_ms
        done = 0
        while self._expiry and self._expiry[0][0] <= now_ms and done < EXPIRY_BATCH:
            _, envelope_id = heapq.heappop(self._expiry)
            entry = self.known.get(envelope_id)
            if entry is not None and self._ends(entry) <= now_ms:
                self._drop(entry)
                done += 1
        self._flush_drops()
        if len(self._expiry) > 2 * len(self.known) + EXPIRY_BATCH:
            # What went before its time, for lack of room, would be waited for until then: hours of a flood.
            self._expiry = [(self._ends(entry), entry.id) for entry in self.known.values()]
            heapq.heapify(self._expiry)

    # ---------------------------------------------------------------------------------------------- private

    def _kept(self, envelope: Envelope, hops: int, topics: tuple[str, ...]) -> EnvelopeKept:
        return EnvelopeKept(
            envelope.id,
            envelope.raw,
            envelope.author,
            envelope.kind,
            envelope.epoch,
            envelope.seq,
            envelope.count,
            envelope.created_ms,
            envelope.expires_ms,
            self._context.wall,
            hops,
            topics,
            envelope.recipient,
        )

    def _ends(self, entry: IndexEntry) -> int:
        return min(entry.expires_ms, entry.created_ms + self._retention_ms)

    def _insert(self, entry: IndexEntry) -> None:
        self.known[entry.id] = entry
        self._index.add(entry.created_ms, entry.id)
        heapq.heappush(self._expiry, (self._ends(entry), entry.id))
        size = entry.size
        if size:
            self.envelopes += 1
            self.bytes += size
            share = self._shares.get(entry.author)
            if share is None:
                share = self._shares[entry.author] = _Share()
            share.bytes += size
            share.envelopes += 1

    def _silence(self) -> None:
        """Turn what is held of the muted into stubs."""
        if self._muted:
            self._next_muting = self._context.now + 1.0
            muted, self._muted = self._muted, set()
            for entry in [each for each in self.known.values() if each.author in muted and each.size]:
                self._to_stub(entry)

    def _uncount(self, entry: IndexEntry) -> None:
        if not entry.size:
            return
        self.envelopes -= 1
        self.bytes -= entry.size
        share = self._shares[entry.author]
        share.bytes -= entry.size
        share.envelopes -= 1
        if not share.envelopes:
            del self._shares[entry.author]

    def _forget(self, envelope_id: bytes) -> None:
        entry = self.known.pop(envelope_id, None)
        if entry is not None:
            self._uncount(entry)
            self._index.discard(entry.created_ms, entry.id)

    def _drop(self, entry: IndexEntry) -> None:
        self._forget(entry.id)
        self._pending_drop.append(entry.id)

    def _flush_drops(self) -> None:
        for start in range(0, len(self._pending_drop), EXPIRY_BATCH):
            self._context.remember(EnvelopesDropped(self._pending_drop[start : start + EXPIRY_BATCH]))
        self._pending_drop.clear()

    def _to_stub(self, entry: IndexEntry) -> None:
        if entry.created_ms < self._index.floor:
            self._drop(entry)
            return
        self._uncount(entry)
        entry.size = 0
        self._context.remember(StubKept(entry.id, entry.created_ms, entry.expires_ms))

    def _prune(self) -> None:
        """Hold to bytes and count: the author holding most of what binds gives up its oldest first."""
        while self.envelopes > MAX_ENVELOPES or self.bytes + self.envelopes * STORE_OVERHEAD > self._quota:
            self._prune_most()
        if self._index.floor > self._floor_kept + FLOOR_KEPT_EVERY_MS:
            self._floor_rose()

    def _prune_most(self) -> None:
        """The author who holds most has the oldest twentieth of it turned into stubs, at least one; then whoever holds
        most now, until `PRUNED_AT_ONCE` is done."""
        by_count = self.envelopes > MAX_ENVELOPES
        goal = self.envelopes - self.envelopes // PRUNED_AT_ONCE
        held: dict[bytes, list[IndexEntry]] = {author: [] for author in self._shares}
        for entry in self.known.values():
            if entry.size:
                held[entry.author].append(entry)
        most = [(-(s.envelopes if by_count else s.bytes), author) for author, s in self._shares.items()]
        heapq.heapify(most)
        while most:
            _, author = heapq.heappop(most)
            entries = held[author]
            entries.sort(key=lambda entry: entry.created_ms)
            gone = max(1, len(entries) // 20)
            for entry in entries[:gone]:
                self._to_stub(entry)
            del entries[:gone]
            if self.envelopes <= goal:
                break
            share = self._shares.get(author)
            if share is not None:
                heapq.heappush(most, (-(share.envelopes if by_count else share.bytes), author))

    def _raise_floor_by_age(self) -> None:
        step = min(FLOOR_STEP_MS, max(1, self._retention_ms // 10))
        self._index.raise_floor((self._context.wall_ms - self._retention_ms + 2 * step) // step * step)
        if self._index.floor > self._floor_kept + FLOOR_KEPT_EVERY_MS:
            self._floor_rose()

    def _floor_rose(self) -> None:
        """Let go of the stubs below the index's floor, and have it kept: it is never to fall again."""
        self._floor_kept = self._index.floor
        below = [entry for entry in self.known.values() if entry.created_ms < self._floor_kept]
        for entry in below:
            if not entry.size:
                self._drop(entry)
        self._flush_drops()
        self._context.remember(StateKept("floor_ms", str(self._floor_kept)))
