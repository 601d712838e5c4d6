"""Which entry of the address book a slot gets.

Rule: first a network group is chosen, then a node in it, so a group with many nodes is as likely as one with a single
node; and trust orders the nodes of one group, never the groups.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator

from positron.core.addresses import AddressBook, Entry
from positron.core.context import Context
from positron.core.links import Link
from positron.core.overlay.bootstraps import FEW_SECONDS
from positron.core.overlay.judge import Judge, is_banned


class Choice:
    """Draws from the address book. `is_taken(entry)`: its node is linked, being dialled, or ourselves."""

    def __init__(
        self, context: Context, book: AddressBook, trust: Judge, is_taken: Callable[[Entry], bool]
    ) -> None:
        self._context = context
        self._book = book
        self._trust = trust
        self._is_taken = is_taken

    def may_dial(self, entry: Entry, few: bool) -> bool:
        """Whether it may be dialled now; with too `few` links, a minute after a failure at the latest."""
        retry_at = min(entry.retry_at, entry.failed_at + FEW_SECONDS) if few else entry.retry_at
        return (
            self._context.now >= retry_at
            and not self._is_taken(entry)
            and self._book.may_dial(entry)
            and not is_banned(self._trust, entry.node_id, self._context.wall)
        )

    def draw(self, seed: bytes, taken: set[str], few: bool) -> Entry | None:
        """A node for a slot, from a group outside `taken` if there is one. With a `seed`: that of the lowest rank."""
        groups = self._book.groups()
        order = sorted(groups, key=lambda group: rank(seed, group)) if seed else self._by_chance(groups)
        put_off = []
        for group in order:
            if group in taken:
                put_off.append(group)
                continue
            entry = self._best(seed, self._book.of_group(group), few)
            if entry is not None:
                return entry
        found = (self._best(seed, self._book.of_group(group), few) for group in put_off)
        return next((entry for entry in found if entry is not None), None)

    def _by_chance(self, groups: list[str]) -> Iterator[str]:
        """They in random order. One of the first is mostly taken, so no more is shuffled than that takes."""
        random = self._context.rng.random
        for left in range(len(groups), 0, -1):
            drawn = int(random() * left)
            groups[drawn], groups[left - 1] = groups[left - 1], groups[drawn]
            yield groups[left - 1]

    def challenger(self, seed: bytes, held: Link, taken: set[str]) -> Entry | None:
        """The node of the lowest rank outside the `taken` groups, if it ranks below the one of link `held`."""
        own = (rank(seed, held.group), rank(seed, held.address))
        for group in sorted(self._book.groups(), key=lambda group: rank(seed, group)):
            entry = None if group in taken else self._best(seed, self._book.of_group(group), False)
            if entry is not None:
                return entry if (rank(seed, group), rank(seed, entry.address)) < own else None
        return None

    def _best(self, seed: bytes, entries: Iterable[Entry], few: bool) -> Entry | None:
        """Of one group: the lowest rank, or (no seed) the tried and most trusted, by chance among equals."""
        usable = [entry for entry in entries if self.may_dial(entry, few)]
        if not usable:
            return None
        if seed:
            return min(usable, key=lambda entry: rank(seed, entry.address))
        wall, rng = self._context.wall, self._context.rng
        return max(
            usable,
            key=lambda entry: (entry.kept.tried, self._trust.score(entry.node_id, wall), rng.random()),
        )

    def away(self) -> list[Entry]:
        """Nodes that we knew and that failed to answer lately."""
        return [
            entry
            for entry in self._book
            if entry.kept.tried and entry.kept.failures and self.may_dial(entry, False)
        ]

    def untried(self) -> list[Entry]:
        """Nodes that nobody tested; first of all those that stand in a newcomer's way."""
        contested = (self._book.get(node_id) for node_id in self._book.contested)
        urgent = [entry for entry in contested if entry is not None and self.may_dial(entry, False)]
        return urgent or [
            entry for entry in self._book if not entry.kept.tried and self.may_dial(entry, False)
        ]


def rank(seed: bytes, text: str) -> bytes:
    """Where `text` stands in the order of `seed`: a hash, so that saying it often changes nothing."""
    return hashlib.blake2b(text.encode(), key=seed, digest_size=8).digest()
