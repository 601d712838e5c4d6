"""A world for overlays alone: virtual time, channels with latency, hosts that freeze, die and refuse.

It performs the actions of `Overlay` objects as the shell would, speaks the messages between them, and answers PINGs. No
gossip, no cryptography worth the name: signatures are keyed hashes under the public id.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any

from attrs import define, field

from positron.core import events, messages
from positron.core.addresses import AddressBook, host_of
from positron.core.context import Context, Parameters
from positron.core.links import CLOSING, UP, Link
from positron.core.notices import Notice
from positron.core.overlay import Overlay
from positron.core.records import PeerForgotten, PeerKept, StateKept
from positron.errors import MessageError

LATENCY = 0.01


class Signer:
    """Signs by hashing: good enough where nobody cheats, and tellable from a damaged signature."""

    def __init__(self, node_id: bytes) -> None:
        self.node_id = node_id

    def sign(self, message: bytes) -> bytes:
        """A keyed hash under the id."""
        return hashlib.blake2b(message, key=self.node_id).digest()

    def open_sealed(self, sealed: bytes) -> bytes | None:
        """Nothing is ever sealed here."""
        return None


def verify(node_id: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `Signer(node_id)` made it."""
    return signature == hashlib.blake2b(message, key=node_id).digest()


def id_of(seed: int) -> bytes:
    """The id of the node of that number."""
    return hashlib.blake2b(b"%d" % seed, digest_size=32).digest()


@define(slots=False)
class Opinions:
    """Trust as a table: scores as set by the test, bans for ten minutes."""

    scores: dict[bytes, float] = field(factory=dict)
    bans: dict[bytes, float] = field(factory=dict)

    def first_hand(self, node_id: bytes, wall: float) -> float:
        """As set, else the baseline."""
        return self.scores.get(node_id, 0.5)

    score = first_hand

    def banned_until(self, node_id: bytes, wall: float) -> float | None:
        """As banned."""
        return self.bans.get(node_id)

    def violation(self, node_id: bytes, cause: str, wall: float) -> float:
        """A ban of ten minutes."""
        self.bans[node_id] = wall + 600.0
        return 600.0

    def ban(self, node_id: bytes, seconds: float, wall: float) -> None:
        """A ban as long as wished."""
        self.bans[node_id] = wall + seconds

    def unban(self, node_id: bytes, wall: float) -> bool:
        """The end of one."""
        return self.bans.pop(node_id, None) is not None

    def forget(self, node_id: bytes, wall: float) -> None:
        """No score, no ban."""
        self.scores.pop(node_id, None)
        self.bans.pop(node_id, None)


@define(eq=False)
class End:
    """One side of a channel."""

    node: Node | Nowhere
    number: int
    other: End | None = None
    latency: float = LATENCY
    open: bool = True


class Node:
    """One overlay with its context, and all that it did."""

    def __init__(
        self, world: World, seed: int, address: str, kept: dict[str, Any], **parameters: Any
    ) -> None:
        self.world = world
        self.seed = seed
        self.address = address
        self.kept = kept
        self.parameters = parameters
        self.frozen = False
        self.alive = False
        self.inbox: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self.node_id = id_of(seed)
        self.wall_error = parameters.pop("wall_error", 0.0)
        self.ends: dict[int, End] = {}
        self.dials: list[tuple[float, str]] = []
        self.notices: list[Notice] = []
        self.ups: list[Link] = []
        self.downs: list[tuple[Link, str]] = []
        self.sent: list[messages.Message] = []

    def born(self) -> None:
        """A process starts (again): nothing is left but what was kept."""
        world = self.world
        port = int(self.address.rpartition(":")[2])
        self.opinions = Opinions()
        self.context = Context(
            me=Signer(self.node_id),
            parameters=Parameters(port=port, **self.parameters),
            rng=Random(f"{world.seed} {self.seed} {world.now}"),
            epoch=int((world.wall + self.wall_error) * 1000),
            verify=verify,
            now=world.now,
        )
        self.context.wall_offset = world.wall - world.now + self.wall_error
        self.book = AddressBook(self.context)
        self.book.load(list(self.kept.setdefault("peers", {}).values()), self.kept.setdefault("state", {}))
        self.overlay = Overlay(
            self.context, self.book, self.opinions, link_up=self.ups.append, link_down=self._down
        )
        self.ends = {}
        self.all_ends: dict[int, End] = {}
        self.alive = True
        self.frozen = False
        self.run(self.overlay.start)

    def _down(self, link: Link, reason: str) -> None:
        self.downs.append((link, reason))

    # ----------------------------------------------------------------------------------------- performing

    def run(self, step: Callable[..., Any], *arguments: Any) -> Any:
        """Do one thing at the world's time, and what follows from it. A frozen node does it when it wakes."""
        if not self.alive:
            return None
        if self.frozen:
            self.inbox.append((step, arguments))
            return None
        self.context.now = self.world.now
        result = step(*arguments)
        while self.context.actions or self.context.now >= self.overlay.deadline:
            actions, self.context.actions = self.context.actions, []
            for action in actions:
                self._perform(action)
            if self.context.now >= self.overlay.deadline:
                self.overlay.tick()
        self.world.at(self.overlay.deadline, self._wake, self.overlay.deadline)
        return result

    def _wake(self, deadline: float) -> None:
        if self.alive and self.overlay.deadline <= self.world.now:
            self.run(lambda: None)

    def _perform(self, action: events.Action) -> None:
        match action:
            case events.Send():
                message = messages.decode(action.frame)
                assert message is not None
                self.sent.append(message)
                self.world.carry(self.ends[action.link], action.frame)
            case events.Dial():
                self.dials.append((self.world.now, action.address))
                self.world.dial(self, action.address, action.expected)
            case events.Hangup():
                self.world.hang_up(self.ends[action.link], action.reason)
            case events.Emit():
                self.notices.append(action.notice)
            case events.Remember(record=PeerKept() as kept):
                self.kept["peers"][kept.node_id] = kept
            case events.Remember(record=PeerForgotten() as gone):
                self.kept["peers"].pop(gone.node_id, None)
            case events.Remember(record=StateKept() as state):
                self.kept["state"][state.key] = state.value
            case _:
                assert isinstance(action, events.Established), action

    # -------------------------------------------------------------------------------------------- hearing

    def lost(self, number: int, reason: str) -> None:
        """A channel is gone."""
        if self.ends.pop(number, None) is not None:
            self.overlay.disconnected(events.Disconnected(number, reason))

    def frame(self, number: int, frame: bytes) -> None:
        """One frame, given to the overlay as the swarm would."""
        link = self.context.links.get(number)
        if link is None or link.state == CLOSING:
            return
        self.overlay.heard(link)
        message = messages.decode(frame)
        try:
            self._message(link, message)
        except MessageError as error:
            self.overlay.violation(link, str(error))

    def _message(self, link: Link, message: messages.Message | None) -> None:
        greeting = isinstance(message, messages.Hello | messages.Welcome | messages.Goodbye)
        if link.state != UP and not greeting:
            raise MessageError("something before the greeting")
        match message:
            case messages.Hello():
                self.overlay.hello(link, message)
            case messages.Welcome():
                self.overlay.welcome(link, message)
            case messages.Goodbye():
                self.overlay.goodbye(link, message)
            case messages.Ping():
                self.context.send(link, messages.Pong(message.nonce, 0, self.context.wall_ms))
            case messages.Pong():
                self.overlay.pong(link, message)
            case messages.PeersGet():
                self.overlay.peers_get(link)
            case messages.Peers():
                self.overlay.peers(link, message)

    # ---------------------------------------------------------------------------------------------- facts

    @property
    def peers(self) -> set[bytes]:
        """Who is linked."""
        return set(self.context.links.up)

    def link_to(self, other: Node) -> Link:
        """The link that is up to that node."""
        return self.context.links.up[other.node_id]

    def by_hand(
        self, peer: int, *, outbound: bool = False, address: str = "127.0.0.9:40000", number: int = 7
    ) -> Link:
        """A channel to node `peer` whose other side is the test."""
        end = End(self, number)
        end.other = End(Nowhere(), number, end)
        self.ends[number] = self.all_ends[number] = end
        binding = b"%032d" % number
        self.run(self.overlay.connected, events.Connected(number, id_of(peer), outbound, address, binding))
        return self.context.links.all[number]

    def hears(self, link: Link, message: messages.Message) -> None:
        """The test says this on the channel."""
        self.run(self.frame, link.number, messages.encode(message))

    def hello(self, **changes: Any) -> messages.Hello:
        """A HELLO that this node likes."""
        values: dict[str, Any] = {
            "version_min": 1,
            "version_max": 1,
            "network_id": self.context.network_id,
            "agent": "test",
            "epoch": 5,
            "port": 1,
            "addresses": (),
            "wall_ms": self.context.wall_ms,
            "observed": "127.0.0.1:1",
        }
        return messages.Hello(**values | changes)

    def link_by_hand(self, peer: int, **how: Any) -> Link:
        """A link to node `peer` that is up, whose other side is the test."""
        changes = how.pop("hello", {})
        link = self.by_hand(peer, **how)
        self.hears(link, self.hello(**changes))
        self.hears(link, messages.Welcome(1))
        return link

    def said(self, kind: type) -> list[Any]:
        """The messages of one kind that this node sent, on whatever link."""
        return [message for message in self.sent if isinstance(message, kind)]

    def told(self, kind: type) -> list[Any]:
        """The notices of one kind."""
        return [notice for notice in self.notices if isinstance(notice, kind)]

    # ----------------------------------------------------------------------------------------------- fate

    def freeze(self) -> None:
        """SIGSTOP."""
        self.frozen = True
        self.frozen_at = self.world.now

    def thaw(self) -> None:
        """SIGCONT: its loop notices that it was late, then everything that came in between comes at once."""
        self.frozen = False
        late = max(0.0, self.world.now - max(self.frozen_at, self.overlay.deadline))
        inbox, self.inbox = self.inbox, []
        self.run(self.overlay.loop_late, late)
        for step, arguments in inbox:
            self.run(step, *arguments)

    def kill(self) -> None:
        """SIGKILL: the channels break, nobody says anything."""
        self.alive = False
        for end in list(self.ends.values()):
            self.world.hang_up(end, "killed")


class Nowhere:
    """The far side of a channel that a test speaks on by hand: what it is sent is lost."""

    address = "nowhere"

    def __init__(self) -> None:
        self.ends: dict[int, End] = {}

    def run(self, *_arguments: object) -> None:
        """Nobody is there."""

    frame = lost = run


class World:
    """Hosts and the channels between them."""

    def __init__(self, seed: int = 0, latency: float = LATENCY) -> None:
        self.seed = seed
        self.now = 1000.0
        self.rng = Random(seed)
        self.latency = latency
        self.nodes: dict[str, Node] = {}
        self.blocked: set[tuple[str, str]] = set()
        self.black_holes: set[str] = set()
        self._heap: list[tuple[float, int, Callable[..., Any], tuple[Any, ...]]] = []
        self._order = count()
        self._numbers = count(1)

    @property
    def wall(self) -> float:
        """Unix seconds."""
        return 1_700_000_000.0 + self.now

    def node(self, seed: int, address: str | None = None, **parameters: Any) -> Node:
        """A new node that listens at `address`, by default on a machine of its own."""
        where = address or f"127.0.{seed // 250}.{seed % 250 + 1}:9000"
        node = self.nodes[where] = Node(self, seed, where, {}, **parameters)
        node.born()
        return node

    def restart(self, node: Node) -> None:
        """The same node as a new process."""
        node.inbox.clear()
        node.born()

    def at(self, time: float, step: Callable[..., Any], *arguments: Any) -> None:
        """Do this at that time."""
        if time != float("inf"):
            heapq.heappush(self._heap, (max(time, self.now), next(self._order), step, arguments))

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self._heap and self._heap[0][0] <= end:
            self.now, _, step, arguments = heapq.heappop(self._heap)
            step(*arguments)
        self.now = end

    def until(self, condition: Callable[[], bool], seconds: float) -> float:
        """Let time pass until this holds; how long it took. AssertionError after `seconds`."""
        start = self.now
        while not condition():
            if self.now - start > seconds:
                raise AssertionError(f"not so within {seconds} s")
            self.advance(0.1)
        return self.now - start

    # ------------------------------------------------------------------------------------------- channels

    def cut(self, one: Node, other: Node) -> None:
        """Nothing gets through between these two any more, and nobody is told."""
        self.blocked |= {(one.address, other.address), (other.address, one.address)}

    def mend(self) -> None:
        """Everything gets through again."""
        self.blocked.clear()

    def _is_cut(self, one: Node, other: Node) -> bool:
        return (one.address, other.address) in self.blocked

    def dial(self, node: Node, address: str, expected: bytes | None) -> None:
        """Open a channel, or say why not."""
        target = self.nodes.get(address)
        if address in self.black_holes or (target is not None and self._is_cut(node, target)):
            self.at(
                self.now + 10.0, node.run, node.overlay.dial_failed, events.DialFailed(address, "timed out")
            )
        elif target is None or not target.alive:
            failed = events.DialFailed(address, "refused")
            self.at(self.now + self.latency, node.run, node.overlay.dial_failed, failed)
        elif expected is not None and expected != target.node_id:
            failed = events.DialFailed(address, "another node answers there")
            self.at(self.now + 3 * self.latency, node.run, node.overlay.dial_failed, failed)
        else:
            self.at(self.now + self.latency * self.rng.uniform(1.5, 2.5), self._join, node, target, address)

    def _join(self, node: Node, target: Node, address: str) -> None:
        if not (node.alive and target.alive):
            failed = events.DialFailed(address, "refused")
            node.run(node.overlay.dial_failed, failed)
            return
        one, other = End(node, next(self._numbers)), End(target, next(self._numbers))
        one.other, other.other = other, one
        one.latency = other.latency = self.latency * self.rng.uniform(0.5, 2.0)
        node.ends[one.number] = node.all_ends[one.number] = one
        target.ends[other.number] = target.all_ends[other.number] = other
        binding = self.rng.randbytes(32)
        port = self.rng.randrange(30000, 60000)
        source = f"{host_of(node.address)}:{port}"
        node.run(node.overlay.connected, events.Connected(one.number, target.node_id, True, address, binding))
        target.run(
            target.overlay.connected, events.Connected(other.number, node.node_id, False, source, binding)
        )

    def carry(self, end: End, frame: bytes) -> None:
        """Bring a frame to the other side."""
        other = end.other
        assert other is not None
        if end.open and not self._is_cut(end.node, other.node):
            self.at(self.now + end.latency, self._arrive, other, frame)

    def _arrive(self, end: End, frame: bytes) -> None:
        if end.open:
            end.node.run(end.node.frame, end.number, frame)

    def hang_up(self, end: End, reason: str) -> None:
        """Close a channel; the other side hears of it unless it is cut off."""
        if not end.open:
            return
        end.open = False
        other = end.other
        assert other is not None
        self.at(self.now, self._gone, end, reason)
        if not self._is_cut(end.node, other.node):
            self.at(self.now + end.latency, self._closed, other)

    def _closed(self, end: End) -> None:
        if end.open:
            end.open = False
            self._gone(end, "the other side closed")

    def _gone(self, end: End, reason: str) -> None:
        end.node.run(end.node.lost, end.number, reason)


def is_connected(nodes: list[Node]) -> bool:
    """Whether every one can reach every other over links."""
    by_id = {node.node_id: node for node in nodes}
    seen, todo = set(), [nodes[0].node_id]
    while todo:
        node_id = todo.pop()
        if node_id not in seen:
            seen.add(node_id)
            todo += [peer for peer in by_id[node_id].peers if peer in by_id]
    return len(seen) == len(by_id)


def agree(nodes: list[Node]) -> bool:
    """Whether both sides of every link hold it for up, over the same channel."""
    by_id = {node.node_id: node for node in nodes}
    for node in nodes:
        for node_id, link in node.context.links.up.items():
            other = by_id[node_id].context.links.up.get(node.node_id)
            if other is None or other.binding != link.binding or other.outbound == link.outbound:
                return False
    return True
