"""When each of many keys is due, kept at the cost of what is due and not of all that wait."""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

K = TypeVar("K")


class Timetable(Generic[K]):
    """One time for each key. One that was changed or taken back stays in the heap until it comes first."""

    def __init__(self) -> None:
        self._times: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._times)

    def put(self, key: K, due: float) -> None:
        """The key is due then, and at no other time."""
        if self._times.get(key) != due:
            self._times[key] = due
            self._count += 1
            heapq.heappush(self._heap, (due, self._count, key))  # of one time, as they were put in

    def discard(self, key: K) -> None:
        """The key is due no more."""
        self._times.pop(key, None)

    def take(self, now: float) -> list[K]:
        """Take out the keys that are due by now, in the order of their times."""
        due = []
        while self.deadline <= now and self._heap:
            key = heapq.heappop(self._heap)[2]
            del self._times[key]
            due.append(key)
        return due

    @property
    def deadline(self) -> float:
        """When the first key is due; infinite if none is."""
        while self._heap:
            due, _, key = self._heap[0]
            if self._times.get(key) == due:
                return due
            heapq.heappop(self._heap)
        return float("inf")
