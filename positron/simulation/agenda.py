"""What a world is going to do, and when, in the order of time."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any

SLOTS = 256.0
"""Slots of the calendar in a second."""

Item = tuple[float, int, Callable[..., None], tuple[Any, ...]]
"""When, the number of the item, and a call with its arguments."""


class Agenda:
    """A calendar: only the slot that is under way is kept in order, the others are lists that nobody looks at.

    Ten thousand nodes have a hundred thousand things to do, all over the memory; in one heap each of them would be
    compared with a dozen others on its way in and out.
    """

    def __init__(self) -> None:
        self._under_way: list[Item] = []
        """A heap of what is due in this slot, or was before."""
        self._slot = 0
        self._later: dict[int, list[Item]] = {}
        self._slots: list[int] = []
        """A heap of the slots in `_later`."""
        self._count = 0

    def add(self, when: float, call: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        """Do this at that time; what is due at one time comes in the order in which it was added."""
        self._count += 1
        slot = int(when * SLOTS)
        if slot <= self._slot:
            heappush(self._under_way, (when, self._count, call, arguments))
            return
        items = self._later.get(slot)
        if items is None:
            self._later[slot] = items = []
            heappush(self._slots, slot)
        items.append((when, self._count, call, arguments))

    def pop(self, end: float) -> Item | None:
        """What comes next, if it is due by `end`: it is on the agenda no more."""
        while not self._under_way:
            if not self._slots or self._slots[0] > end * SLOTS:
                return None
            self._slot = heappop(self._slots)
            self._under_way = self._later.pop(self._slot)
            heapify(self._under_way)
        return heappop(self._under_way) if self._under_way[0][0] <= end else None

    def put_back(self, item: Item) -> None:
        """What was popped last was not done."""
        heappush(self._under_way, item)
