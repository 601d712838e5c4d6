"""Links of finite bandwidth: the uplink of a node is shared by all of its links, and what does not fit yet waits.

Rule: one queue for a node, first come, first served; a frame is on its way when its last bit is out. Downlinks are
not limited, and nobody is told of a full queue: the queues of real sockets are not modelled.
"""

from __future__ import annotations

from typing import Any

from positron.simulation.latencies import RETRANSMISSION
from positron.simulation.world import World

FRAMING = 4 + 22
"""Bytes around every frame: its length, and a TLS 1.3 record (5 header, 1 content type, 16 tag)."""


class Uplinks:
    """When the uplink of each node is free again, by its number. `bandwidth` is in bits a second; 0 is no limit."""

    def __init__(self, bandwidth: float) -> None:
        self._bandwidth = bandwidth
        self._free: dict[int, float] = {}

    def wait(self, number: int, size: int, now: float) -> float:
        """Seconds until the last of `size` bytes that this node sends now is out."""
        if not self._bandwidth:
            return 0.0
        free = max(self._free.get(number, 0.0), now) + size * 8 / self._bandwidth
        self._free[number] = free
        return free - now


class NarrowWorld(World):
    """A world whose nodes have uplinks of `bandwidth` bits a second; with 0 it is as any other."""

    def __init__(self, *arguments: Any, bandwidth: float = 0.0, **parameters: Any) -> None:
        super().__init__(*arguments, **parameters)
        self._bandwidth = bandwidth
        self._uplinks = Uplinks(bandwidth)

    def carry(self, channel: Any, frame: bytes) -> None:
        """Bring a frame to the other end, in order, when those before it are out."""
        if not self._bandwidth:
            super().carry(channel, frame)
            return
        other = channel.other
        if other is None or not channel.open or channel.node.group != other.node.group:
            return
        delay = channel.delay + self._uplinks.wait(channel.node.number, len(frame) + FRAMING, self.now)
        if self.loss and self.rng.random() < self.loss:
            delay += RETRANSMISSION
        channel.arrives = max(channel.arrives, self.now + delay)
        self.at(channel.arrives, other.node.receive, other, [frame])
