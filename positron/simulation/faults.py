"""How malicious nodes of a simulated network misbehave, by name.

Rule: a malicious node runs the real core, and lies only in what leaves it; so it is linked, greeted and served like
any other.
"""

from __future__ import annotations

from collections.abc import Callable

from positron.core import messages
from positron.core.envelope import Sealer, network_id_of
from positron.simulation.world import WorldNode

FLOOD_IDS, FLOOD_EVERY = 64, 0.2
"""A flooder announces so many made-up ids on each of its links, so often (seconds)."""

RELAYED = frozenset({messages.PUSH_TAG, messages.Have.TAG, messages.Miss.TAG, messages.Sync.TAG})


def silent(node: WorldNode) -> None:
    """From now on it says nothing of anybody's messages: greets, pings and asks only."""
    node.tamper = lambda _to, frame: None if frame[0] in RELAYED else frame


def teasing(node: WorldNode) -> None:
    """From now on it announces what it would push, once to each peer, and never delivers."""
    sealer = Sealer(network_id_of(node.parameters.network))
    shown: set[tuple[int, bytes]] = set()

    def tease(to: WorldNode, frame: bytes) -> bytes | None:
        if frame[0] != messages.PUSH_TAG:
            return frame
        envelope_id = sealer.envelope_id(frame[2:])
        if (to.number, envelope_id) in shown:
            return None
        shown.add((to.number, envelope_id))
        return messages.encode(messages.Have(envelope_id))

    node.tamper = tease


def forging(node: WorldNode) -> None:
    """From now on everything it relays has a broken signature."""
    node.tamper = lambda _to, frame: (
        frame[:-1] + bytes([frame[-1] ^ 1]) if frame[0] == messages.PUSH_TAG else frame
    )


def flooding(node: WorldNode) -> None:
    """From now on it announces ids of nothing on all its links, besides working as it should."""
    world = node.world

    def flood() -> None:
        for channel in list(node.channels.values()):
            ids = world.rng.randbytes(16 * FLOOD_IDS)
            world.carry(channel, messages.encode(messages.Have(ids)))
        world.after(FLOOD_EVERY, flood)

    flood()


ACTS: dict[str, Callable[[WorldNode], None]] = {
    "silent": silent,
    "teasing": teasing,
    "forging": forging,
    "flooding": flooding,
}
"""What makes a node behave like that, by the name of the behaviour."""
