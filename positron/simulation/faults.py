"""How malicious nodes of a simulated network misbehave, by name.

Rule: a malicious node runs the real core, and lies only in what leaves it; so it is linked, greeted and served like
any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from attrs import frozen

from positron.core import messages
from positron.core.envelope import Sealer, network_id_of
from positron.core.gossip.announce import split_ids
from positron.core.gossip.spread import IGNORED_BELOW
from positron.core.identity import Signer, to_text
from positron.core.notices import TrustChanged
from positron.core.statements import sign_address_record
from positron.core.swarm import Swarm
from positron.simulation.world import EPOCH_WALL, WorldNode

FLOOD_IDS, FLOOD_EVERY = 64, 0.2
"""A flooder announces so many made-up ids on each of its links, so often (seconds)."""

LIES, MADE_UP = 50, 100_000
"""A liar tells of so many fellows and of as many nodes that do not exist, out of so many that it made up."""

RELAYED = frozenset({messages.PUSH_TAG, messages.Have.TAG, messages.Miss.TAG, messages.Sync.TAG})


def silent(node: WorldNode, _fellows: Sequence[WorldNode]) -> None:
    """From now on it says nothing of anybody's messages: greets, pings and asks only."""
    node.tamper = lambda _to, frame: None if frame[0] in RELAYED else frame


class Teaser:
    """A node that announces what it would push, once to each peer, and never delivers. It counts the promises that
    it broke to each peer (by its number, and how often it was born) until that peer ignored it: answers to a WANT that
    it kept back. Who was born again has forgotten them all, but for what they did to its trust."""

    def __init__(self, node: WorldNode, _fellows: Sequence[WorldNode] = ()) -> None:
        self.node = node
        self.broken: dict[tuple[int, int], int] = {}
        self._lives: dict[int, list[Swarm | None]] = {}
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
            life = to.number, self._life_of(to)
            self.broken[life] = self.broken.get(life, 0) + 1
        return None

    def _life_of(self, other: WorldNode) -> int:
        lives = self._lives.setdefault(other.number, [other.swarm])
        if lives[-1] is not other.swarm:
            lives.append(other.swarm)
        return len(lives)

    def is_ignored_by(self, other: WorldNode) -> bool:
        """Whether that node asks for nothing any more that this one announces."""
        gossip = other.swarm.gossip if other.swarm is not None else None
        return gossip is not None and any(
            gossip.ignores(state)
            for state in gossip.states.values()
            if state.link.node_id == self.node.node_id
        )

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
    """What became of teasers: the most promises that one broke to one life of an honest node until that ignored it,
    the most of them that a node charged (it charges one in 10 s), how many pairs of a teaser and such a life there are,
    and the share of them in which the teaser was ignored at last."""

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
        for (number, _), count in teaser.broken.items()
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


def forging(node: WorldNode, _fellows: Sequence[WorldNode]) -> None:
    """From now on everything it relays has a broken signature."""
    node.tamper = lambda _to, frame: (
        frame[:-1] + bytes([frame[-1] ^ 1]) if frame[0] == messages.PUSH_TAG else frame
    )


def flooding(node: WorldNode, _fellows: Sequence[WorldNode]) -> None:
    """From now on it announces ids of nothing on all its links, besides working as it should."""
    world = node.world

    def flood() -> None:
        for channel in list(node.channels.values()):
            ids = world.rng.randbytes(16 * FLOOD_IDS)
            world.carry(channel, messages.encode(messages.Have(ids)))
        world.after(FLOOD_EVERY, flood)

    flood()


class Liar:
    """A node that answers who asks it for peers with records of its fellow liars, and of nodes that do not exist: half
    of those at addresses of nothing, half at those of other nodes. It says the truth of itself, and relays."""

    def __init__(self, node: WorldNode, fellows: Sequence[WorldNode]) -> None:
        self._node = node
        self._fellows = fellows
        self._network = network_id_of(node.parameters.network)
        node.tamper = self._lie

    def _lie(self, _to: WorldNode, frame: bytes) -> bytes:
        if frame[0] != messages.Peers.TAG:
            return frame
        told = messages.decode(frame)
        assert isinstance(told, messages.Peers)
        if len(told.records) == 1 and self._node.node_id in told.records[0]:
            return frame
        rng, world = self._node.world.rng, self._node.world
        fellows = [one for one in self._fellows if one is not self._node]
        records = [
            self._record(one.identity, one.address) for one in rng.sample(fellows, min(len(fellows), LIES))
        ]
        for made_up in rng.sample(range(MADE_UP), LIES):
            address = f"10.{rng.randrange(200, 256)}.{rng.randrange(256)}.1:8888"
            if made_up % 2:
                address = rng.choice(world.nodes).address
            records.append(self._record(world.identity(MADE_UP * self._node.number + made_up), address))
        return messages.encode(messages.Peers(tuple(records)))

    def _record(self, subject: Signer, address: str) -> bytes:
        wall_ms = int((EPOCH_WALL + self._node.world.now) * 1000)
        return sign_address_record(subject, self._network, (address,), wall_ms, wall_ms).raw


ACTS: dict[str, Callable[[WorldNode, Sequence[WorldNode]], object]] = {
    "silent": silent,
    "teasing": Teaser,
    "forging": forging,
    "flooding": flooding,
    "lying": Liar,
}
"""What makes a node behave like that, by the name of the behaviour; it is told of all who do (the list grows)."""
