"""Good peers whose link broke: dialled again soon, for ten minutes, so that a partition heals when it ends.

Rule: one such dial in two seconds for all of them, each with full jitter (1, 2, 4, 8, 15 s), so that a network that
lost one node does not fall upon it when it returns. They are dialled beyond the slots; what the slots dial besides
backs off by itself.
"""

from __future__ import annotations

from math import inf

from attrs import define

from positron.core.context import Context

MAX_LOST = 32
LOST_SECONDS = 600.0
LONGEST = 15.0
PACE_SECONDS = 2.0


@define(eq=False)
class Lost:
    """One lost peer. Times are seconds of `now`."""

    node_id: bytes
    address: str
    until: float
    next_at: float
    attempts: int = 1


class LostPeers:
    """At most 32 of them, the oldest forgotten first."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._lost: dict[bytes, Lost] = {}
        self._paced_until = -inf

    def __len__(self) -> int:
        return len(self._lost)

    def __contains__(self, node_id: bytes) -> bool:
        return node_id in self._lost

    def add(self, node_id: bytes, address: str) -> None:
        """The link to this node broke."""
        now = self._context.now
        self._lost.pop(node_id, None)
        self._lost[node_id] = Lost(node_id, address, now + LOST_SECONDS, now + self._wait(0))
        if len(self._lost) > MAX_LOST:
            del self._lost[next(iter(self._lost))]

    def drop(self, node_id: bytes) -> None:
        """It is linked again, or will not have us."""
        self._lost.pop(node_id, None)

    def failed(self, node_id: bytes) -> None:
        """A dial to it came to nothing."""
        lost = self._lost.get(node_id)
        if lost is not None:
            lost.next_at = self._context.now + self._wait(lost.attempts)
            lost.attempts += 1

    def next(self, busy: set[bytes]) -> Lost | None:
        """Who is to be dialled now, if anyone."""
        now = self._context.now
        for lost in list(self._lost.values()):
            if now >= lost.until:
                del self._lost[lost.node_id]
        if now < self._paced_until:
            return None
        ready = [lost for lost in self._lost.values() if lost.next_at <= now and lost.node_id not in busy]
        if not ready:
            return None
        self._paced_until = now + PACE_SECONDS
        return min(ready, key=lambda lost: lost.next_at)

    def due(self, busy: set[bytes]) -> float:
        """When `next` is to be asked again."""
        waiting = [lost.next_at for lost in self._lost.values() if lost.node_id not in busy]
        return max(min(waiting, default=inf), self._paced_until)

    def _wait(self, attempts: int) -> float:
        return self._context.rng.random() * min(LONGEST, 2.0 ** min(attempts, 4))
