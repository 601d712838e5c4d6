"""How malicious nodes of a simulated network misbehave, by name.

Rule: a malicious node runs the real core, and lies only in what leaves it; so it is linked, greeted and served like
any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import frozen

from positron.core import messages
from positron.core.envelope import Sealer, network_id_of
from positron.core.gossip.spread import IGNORED_BELOW, split_ids
from positron.core.identity import to_text
from positron.core.notices import TrustChanged
from positron.simulation.world import WorldNode

FLOOD_IDS, FLOOD_EVERY = 64, 0.2
"""A flooder announces so many made-up ids on each of its links, so often (seconds)."""

RELAYED = frozenset({messages.PUSH_TAG, messages.Have.TAG, messages.Miss.TAG, messages.Sync.TAG})


def silent(node: WorldNode) -> None:
    """From now on it says nothing of anybody's messages: greets, pings and asks only."""
    node.tamper = lambda _to, frame: None if frame[0] in RELAYED else frame


class Teaser:
    """A node that announces what it would push, once to each peer, and never delivers. It counts the promises that
    it broke to each peer (by number) until that peer ignored it: answers to a WANT that it kept back."""

    def __init__(self, node: WorldNode) -> None:
        self.node = node
        self.broken: dict[int, int] = {}
        self._sealer = Sealer(network_id_of(node.parameters.network))
        self._shown: dict[int, set[bytes]] = {}
        node.tamper = self._tease

    def _tease(self, to: WorldNode, frame: bytes) -> bytes | None:
        shown = self._shown.setdefault(to.number, set())
        if frame[0] == messages.Have.TAG:
            have = messages.decode(frame)
            assert isinstance(have, messages.Have)
            shown.update(split_ids(have.ids))
        if frame[0] != messages.PUSH_TAG:
            return frame
        envelope_id = self._sealer.envelope_id(frame[2:])
        if envelope_id not in shown:
            shown.add(envelope_id)
            return messages.encode(messages.Have(envelope_id))
        if not self.is_ignored_by(to):
            self.broken[to.number] = self.broken.get(to.number, 0) + 1
        return None

    def is_ignored_by(self, other: WorldNode) -> bool:
        """Whether that node asks for nothing any more that this one announces."""
        swarm = other.swarm
        return swarm is not None and swarm.explain(self.node.node_id).first_hand < IGNORED_BELOW

    def charged_by(self, other: WorldNode) -> int:
        """How many broken promises that node charged this one with until it ignored it."""
        me = to_text(self.node.node_id)
        return sum(
            isinstance(notice, TrustChanged)
            and notice.cause == "promise"
            and notice.node_id == me
            and notice.old >= IGNORED_BELOW
            for notice in other.notices
        )


@frozen
class Teased:
    """What became of teasers: the most promises that one broke to one honest node until that ignored it, the most of
    them that a node charged (it charges one in 10 s), how many pairs of a node and its teaser there are, and the share
    of them in which the teaser was ignored at last."""

    broken_max: int
    charged_max: int
    pairs: int
    ignored: float


def teased(teasers: Iterable[Teaser], observers: Iterable[WorldNode]) -> Teased | None:
    """What became of these teasers, as these nodes saw it; None without teasers."""
    by_number = {node.number: node for node in observers}
    pairs = [
        (teaser, by_number[number], count)
        for teaser in teasers
        for number, count in teaser.broken.items()
        if number in by_number
    ]
    if not pairs:
        return None
    return Teased(
        broken_max=max(count for _, _, count in pairs),
        charged_max=max(teaser.charged_by(node) for teaser, node, _ in pairs),
        pairs=len(pairs),
        ignored=sum(teaser.is_ignored_by(node) for teaser, node, _ in pairs) / len(pairs),
    )


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


ACTS: dict[str, Callable[[WorldNode], object]] = {
    "silent": silent,
    "teasing": Teaser,
    "forging": forging,
    "flooding": flooding,
}
"""What makes a node behave like that, by the name of the behaviour."""
