"""The last events of the node, numbered, so that a stream can be resumed where it broke."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from typing import Any

from attrs import asdict

CAPACITY = 1000
"""How many events are kept."""


def as_line(notice: Any, time: float) -> dict[str, Any]:
    """A notice as JSON: `event` (its class's name), `time` (Unix seconds) and its fields."""
    return {"event": type(notice).__name__, "time": time, **asdict(notice)}


class EventRing:
    """The newest CAPACITY events. An event's id is `BOOT-NUMBER`: numbers start anew with each process."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._boot = int(wall() * 1000)
        self._events: deque[str] = deque(maxlen=CAPACITY)
        self.next = 1
        """The number that the next event will get."""
        self.watchers: set[Callable[[], None]] = set()

    @property
    def first(self) -> int:
        """The number of the oldest event that is kept."""
        return self.next - len(self._events)

    def add(self, notice: Any) -> None:
        """Keep an event and tell the watchers that there is one more."""
        self._events.append(json.dumps(as_line(notice, self._wall())))
        self.next += 1
        for watcher in list(self.watchers):
            watcher()

    def get(self, number: int) -> str:
        """The JSON of event `number`, which must be `first` to `next - 1`."""
        return self._events[number - self.first]

    def id_of(self, number: int) -> str:
        """The text that names event `number` to a client."""
        return f"{self._boot}-{number}"

    def after(self, event_id: str) -> int:
        """The number that follows the event a client saw last; `next` if it names none, 1 if of an earlier process."""
        boot, _, number = event_id.partition("-")
        if not (event_id.isascii() and boot.isdigit() and number.isdigit()):
            return self.next
        if int(boot[:18]) != self._boot:
            return 1
        return min(int(number[:18]) + 1, self.next)
