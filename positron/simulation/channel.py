"""One end of a simulated connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define

if TYPE_CHECKING:
    from positron.simulation.world import WorldNode


@define(eq=False, weakref_slot=False)
class Channel:
    """What `node` holds of a connection. What is sent arrives in order, after `delay` seconds at the least.

    `other` is the far end; None once both ends are closed, for no collector would free two that hold each other.
    `chunk` is what was sent last, as long as it is under way, `held` what arrived while the node was `paused`.
    """

    node: WorldNode
    number: int
    other: Channel | None = None
    open: bool = True
    delay: float = 0.0
    sent: float = -1.0
    arrives: float = 0.0
    chunk: list[bytes] | None = None
    paused: bool = False
    held: list[list[bytes]] | None = None
