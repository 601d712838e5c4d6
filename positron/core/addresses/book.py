"""The records of the address book, and the quotas that bound them.

Rule: a newcomer competes inside its own network group and with what the same teller told before, so that whoever owns
few groups holds few records; and nothing that works makes room for something untested (*test before evict*): an entry
yields only when its last three dials failed or nobody heard of it for 30 days.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from attrs import define, evolve, field

from positron.core.addresses.hosts import (
    furthest,
    group_of,
    is_dialable,
    parse_bootstrap,
    reach_of,
    usable_of,
)
from positron.core.context import Context
from positron.core.identity import to_text
from positron.core.records import PeerForgotten, PeerKept, StateKept
from positron.core.statements import MAX_ADDRESSES, AddressRecord, subject_of

MAX_RECORDS = 8192
MAX_IN_GROUP = 32
MAX_OF_SOURCE = 64
MAX_ANCHORS = 2
MAX_CONTESTED = 64
MAX_DIALS_NOTED = 8192
FAILURES_TO_YIELD = 3
STALE_SECONDS = 30 * 86400.0
UNTRIED_DIAL_SECONDS = 60.0
ANCHORS = "anchors"

_Table = dict[str, "tuple[Entry, ...]"]


@define(eq=False, weakref_slot=False)
class Entry:
    """One node of the book: what is kept of it, and what only this run knows. Times are in seconds of `now`.

    `kept.addresses[0]` is the address that our own handshake proved, once `kept.tried`.
    """

    kept: PeerKept
    """What the store has too: another one takes its place when anything changes."""
    group: str
    reach: int
    """How far the furthest of its addresses reaches (`reach_of`)."""
    retry_at: float = float("-inf")
    failed_at: float = float("-inf")
    node_id: bytes = field(init=False)
    """Whose entry it is."""
    place: int = -1
    """Where it stands in the book's own list."""

    def __attrs_post_init__(self) -> None:
        self.node_id = self.kept.node_id

    def change(self, kept: PeerKept) -> None:
        """This is known of it from now on."""
        self.kept = kept
        self.reach = furthest(kept.addresses)

    @property
    def address(self) -> str:
        """The address to dial next: the proven one first, after failures the others in turn."""
        return self.kept.addresses[self.kept.failures % len(self.kept.addresses)]


class AddressBook:
    """At most 8,192 entries, 32 per network group and 64 untried per group of whoever told us.

    `context.links` says who is linked: a linked node's entry is never evicted.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._entries: dict[bytes, Entry] = {}
        self._shuffled: list[Entry] = []
        """The entries once more, in an order that `sample` changes."""
        self._groups: _Table = {}
        self._sources: _Table = {}
        """The untried entries by the group of whoever told us."""
        self._dials: dict[str, float] = {}
        self.contested: dict[bytes, None] = {}
        """Untested entries that stood in a newcomer's way: the next to be tested, at most 64."""
        self.anchors: list[tuple[bytes, str]] = []
        """The two nodes to dial first after a restart: id and address."""

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, node_id: bytes) -> bool:
        return node_id in self._entries

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def get(self, node_id: bytes) -> Entry | None:
        """What is known of this node."""
        return self._entries.get(node_id)

    def holds(self, raw: bytes) -> bool:
        """Whether this signed record is in the book, byte for byte: then it was verified, and tells nothing new."""
        entry = self._entries.get(subject_of(raw))
        return entry is not None and entry.kept.record == raw

    def groups(self) -> list[str]:
        """Every network group that has an entry."""
        return list(self._groups)

    def of_group(self, group: str) -> tuple[Entry, ...]:
        """The entries of one network group."""
        return self._groups.get(group, ())

    # ----------------------------------------------------------------------------------------- from the store

    def load(self, peers: Iterable[PeerKept], state: Mapping[str, str] | None = None) -> None:
        """Take over what the store held. What is too much, too old or unreadable is left out, best first."""
        oldest = self._context.wall - STALE_SECONDS
        for kept in sorted(peers, key=lambda kept: (not kept.tried, -kept.last_seen)):
            addresses = tuple(address for address in kept.addresses if is_dialable(address))
            fresh = max(kept.last_seen, kept.learned) > oldest
            if not addresses or not fresh or kept.node_id == self._context.me.node_id:
                continue
            kept = evolve(kept, addresses=addresses, failures=0)
            entry = Entry(kept, group_of(addresses[0]), furthest(addresses))
            if len(self) < MAX_RECORDS and self._has_room(entry):
                self._insert(entry)
        for item in (state or {}).get(ANCHORS, "").split(","):
            try:
                node_id, address = parse_bootstrap(item)
            except ValueError:
                continue
            if node_id is not None and len(self.anchors) < MAX_ANCHORS:
                self.anchors.append((node_id, address))

    # ------------------------------------------------------------------------------------------- what is told

    def learn(self, record: AddressRecord, source: str) -> bool:
        """Take in one record; see `learn_all`. False if it told nothing new."""
        return self.learn_all((record,), source) == 1

    def learn_all(self, records: Iterable[AddressRecord], source: str) -> int:
        """Take in verified records that came over a link to the address `source`; how many told something new.

        Addresses that reach no further than the teller's own network are believed only of a teller in it: a peer
        on the internet cannot make us dial into our own network.
        """
        reach, group, wall = reach_of(source), group_of(source), self._context.wall
        return sum(self._learn(record, reach, group, wall) for record in records)

    def _learn(self, record: AddressRecord, reach: int, source_group: str, wall: float) -> bool:
        if record.node_id == self._context.me.node_id:
            return False
        entry = self._entries.get(record.node_id)
        if entry is not None and record.seq <= entry.kept.record_seq:
            return False
        usable = usable_of(record.addresses, reach)
        if usable is None or record.time_ms < (wall - STALE_SECONDS) * 1000:
            return False
        if entry is not None:
            return self._update(entry, usable.addresses, record)
        kept = PeerKept(record.node_id, usable.addresses, record.raw, record.seq, source_group, learned=wall)
        return self._add(Entry(kept, usable.group, usable.reach))

    def _update(self, entry: Entry, addresses: tuple[str, ...], record: AddressRecord) -> bool:
        kept = entry.kept
        if kept.tried:
            addresses = tuple(dict.fromkeys((kept.addresses[0], *addresses)))[:MAX_ADDRESSES]
        elif not self._regroup(entry, group_of(addresses[0])):
            return False
        failures = kept.failures
        if addresses != kept.addresses:
            failures = 0
            entry.retry_at = float("-inf")
        self._change(entry, addresses=addresses, record=record.raw, record_seq=record.seq, failures=failures)
        return True

    def proven(self, node_id: bytes, address: str) -> None:
        """Our own handshake with this node at this address went well."""
        entry = self._entries.get(node_id)
        if entry is None:
            if not is_dialable(address):
                return
            kept = PeerKept(node_id, (address,), learned=self._context.wall, tried=True)
            entry = Entry(kept, group_of(address), reach_of(address))
            if not self._add(entry):
                return
        kept = entry.kept
        _leave(self._sources, kept.source_group, entry)
        addresses = tuple(dict.fromkeys((address, *kept.addresses)))[:MAX_ADDRESSES]
        self._change(entry, addresses=addresses, tried=True, failures=0, last_seen=self._context.wall)
        entry.retry_at = entry.failed_at = float("-inf")
        self.contested.pop(node_id, None)
        self._regroup(entry, group_of(address))

    def seen(self, node_id: bytes) -> None:
        """A link to this node, whoever dialled, is up, or was until now."""
        entry = self._entries.get(node_id)
        if entry is not None:
            self._change(entry, last_seen=self._context.wall, failures=0)

    def failed(self, node_id: bytes, retry_after: float, *, refused: bool = False) -> None:
        """A dial to this node came to nothing, or (`refused`) it answered and will not have us. Seconds to wait."""
        entry = self._entries.get(node_id)
        if entry is None:
            return
        entry.failed_at = self._context.now
        entry.retry_at = self._context.now + retry_after
        self.contested.pop(node_id, None)
        if not refused:
            self._change(entry, failures=min(entry.kept.failures + 1, 1000))

    def forget(self, node_id: bytes) -> bool:
        """Know nothing of this node any more; False if nothing was known."""
        self.anchors = [anchor for anchor in self.anchors if anchor[0] != node_id]
        entry = self._entries.get(node_id)
        if entry is None:
            return False
        self._remove(entry)
        return True

    def keep_anchors(self, anchors: list[tuple[bytes, str]]) -> None:
        """These are the nodes to dial first after a restart; the older ones fill up what is missing."""
        chosen = dict(anchors)
        for node_id, address in self.anchors:
            chosen.setdefault(node_id, address)
        newest = list(chosen.items())[:MAX_ANCHORS]
        if newest != self.anchors:
            self.anchors = newest
            text = ",".join(f"{to_text(node_id)}@{address}" for node_id, address in newest)
            self._context.remember(StateKept(ANCHORS, text))

    # -------------------------------------------------------------------------------------------- what is asked

    def note_dial(self, address: str) -> None:
        """A dial to this address goes out now."""
        now = self._context.now
        self._dials.pop(address, None)
        self._dials[address] = now
        while len(self._dials) > MAX_DIALS_NOTED:
            del self._dials[next(iter(self._dials))]

    def may_dial(self, entry: Entry) -> bool:
        """Whether its next address is within the budget: one dial a minute while nobody proved it, across all ids."""
        if entry.kept.tried and entry.address == entry.kept.addresses[0]:
            return True
        last = self._dials.get(entry.address)
        return last is None or self._context.now - last >= UNTRIED_DIAL_SECONDS

    def reachable(self, at_most: int) -> int:
        """How many unlinked nodes there are whose dials do not fail, counted up to `at_most`."""
        found = 0
        up = self._context.links.up
        for entry in self._entries.values():
            if found >= at_most:
                break
            if entry.kept.failures < FAILURES_TO_YIELD and entry.node_id not in up:
                found += 1
        return found

    def sample(self, count: int, asker: bytes, address: str) -> list[bytes]:
        """At most `count` signed records, drawn by chance, that `asker` at `address` can make use of.

        What was drawn moves to the end of the list, so nothing is drawn twice, and nobody looks at all of a large book.
        """
        reach, random = reach_of(address), self._context.rng.random
        entries = self._shuffled
        left = len(entries)
        found: list[bytes] = []
        while left and len(found) < count:
            drawn = int(random() * left)
            left -= 1
            entry, last = entries[drawn], entries[left]
            entries[drawn], entries[left] = last, entry
            last.place, entry.place = drawn, left
            kept = entry.kept
            usable = kept.record and kept.failures < FAILURES_TO_YIELD and entry.reach <= reach
            if usable and kept.node_id != asker:
                found.append(kept.record)
        return found

    # ------------------------------------------------------------------------------------------------- quotas

    def _add(self, entry: Entry) -> bool:
        """Insert a new entry if the quotas have room or can make it."""
        while not self._has_room(entry):
            rival = self._yielding(entry)
            if rival is None:
                return False
            self._remove(rival)
        if len(self._entries) >= MAX_RECORDS and not self._make_room(entry):
            return False
        self._insert(entry)
        self._context.remember(entry.kept)
        return True

    def _has_room(self, entry: Entry) -> bool:
        if len(self._groups.get(entry.group, ())) >= MAX_IN_GROUP:
            return False
        return entry.kept.tried or len(self._sources.get(entry.kept.source_group, ())) < MAX_OF_SOURCE

    def _yielding(self, newcomer: Entry) -> Entry | None:
        """An entry that must make room for the newcomer; if there is none, one is noted for a test."""
        in_group = self.of_group(newcomer.group)
        rivals = in_group if len(in_group) >= MAX_IN_GROUP else self._sources[newcomer.kept.source_group]
        loser = self._loser(rivals, newcomer)
        if loser is not None:
            return loser
        if len(self.contested) < MAX_CONTESTED:
            untested = [entry for entry in rivals if not entry.kept.tried and not entry.kept.failures]
            if untested:
                self.contested[min(untested, key=lambda entry: entry.kept.learned).node_id] = None
        return None

    def _loser(self, rivals: Iterable[Entry], newcomer: Entry) -> Entry | None:
        """The one that goes first of those that have shown to be useless, or that are unproven while the newcomer is
        proven."""
        up, proven = self._context.links.up, newcomer.kept.tried
        oldest = self._context.wall - STALE_SECONDS
        losers = []
        for entry in rivals:
            kept = entry.kept
            useless = kept.failures >= FAILURES_TO_YIELD or (
                kept.last_seen < oldest and kept.learned < oldest
            )
            if (useless or (proven and not kept.tried)) and entry.node_id not in up:
                losers.append(entry)
        return min(losers, key=lambda entry: (entry.kept.tried, -entry.kept.failures), default=None)

    def _make_room(self, newcomer: Entry) -> bool:
        """The book is full: the largest group loses one untried entry, unless it is the newcomer's own."""
        largest = max(self._groups, key=lambda group: len(self._groups[group]))
        if len(self._groups[largest]) <= len(self._groups.get(newcomer.group, ())):
            return False
        up = self._context.links.up
        rivals = [entry for entry in self.of_group(largest) if entry.node_id not in up]
        if not rivals:
            return False
        self._remove(min(rivals, key=lambda entry: (entry.kept.tried, -entry.kept.failures)))
        return True

    def _insert(self, entry: Entry) -> None:
        self._entries[entry.node_id] = entry
        entry.place = len(self._shuffled)
        self._shuffled.append(entry)
        _join(self._groups, entry.group, entry)
        if not entry.kept.tried:
            _join(self._sources, entry.kept.source_group, entry)

    def _remove(self, entry: Entry) -> None:
        del self._entries[entry.node_id]
        last = self._shuffled.pop()
        if last is not entry:
            self._shuffled[entry.place], last.place = last, entry.place
        _leave(self._groups, entry.group, entry)
        _leave(self._sources, entry.kept.source_group, entry)
        self.contested.pop(entry.node_id, None)
        self._context.remember(PeerForgotten(entry.node_id))

    def _regroup(self, entry: Entry, group: str) -> bool:
        """It counts in this group from now on, if there is room or an untested entry can make it."""
        if group == entry.group:
            return True
        members = self.of_group(group)
        if len(members) >= MAX_IN_GROUP:
            loser = self._loser(members, entry)
            if loser is None:
                return False
            self._remove(loser)
        _leave(self._groups, entry.group, entry)
        entry.group = group
        _join(self._groups, group, entry)
        return True

    def _change(self, entry: Entry, **changes: Any) -> None:
        """It changed: the store has it anew."""
        entry.change(evolve(entry.kept, **changes))
        self._context.remember(entry.kept)


def _join(table: _Table, key: str, entry: Entry) -> None:
    table[key] = (*table.get(key, ()), entry)


def _leave(table: _Table, key: str, entry: Entry) -> None:
    members = tuple(other for other in table.get(key, ()) if other is not entry)
    if members:
        table[key] = members
    else:
        table.pop(key, None)
