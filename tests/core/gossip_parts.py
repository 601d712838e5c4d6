"""What tests of the parts of gossip share: a context with a time of its own, authors, links, and what came out."""

from __future__ import annotations

from random import Random
from typing import Any, TypeVar

from attrs import evolve

from positron.core import messages
from positron.core.context import Context, Parameters
from positron.core.envelope import BROADCAST, Entry, Envelope, Sealer, encode_entries
from positron.core.events import Emit, Remember, Send
from positron.core.gossip import Gossip
from positron.core.gossip.state import LinkGossip, link_gossip
from positron.core.identity import Identity
from positron.core.limits import PROFILES
from positron.core.links import UP, Link
from positron.core.sequences import Sequences
from positron.core.sync import Index

WALL = 1_800_000_000
"""The wall clock when `now` is 0, in Unix seconds."""

T = TypeVar("T")


class Cheap:
    """Signs nothing, costs nothing: for what is judged after the signature."""

    def __init__(self, node_id: bytes) -> None:
        self.node_id = node_id

    def sign(self, message: bytes) -> bytes:
        """64 zeros."""
        return bytes(64)

    def open_sealed(self, sealed: bytes) -> None:
        """Nothing is sealed here."""


def identity(number: int) -> Identity:
    """The key of that number."""
    return Identity(number.to_bytes(32, "big"))


ME, ALICE, BOB, CAROL = (identity(number) for number in range(1, 5))


def context_of(me: Identity = ME, *, limits: dict[str, Any] | None = None, **parameters: Any) -> Context:
    """A context at time 0, of the profile `lan` with `limits` changed."""
    values = Parameters(network="lab", **parameters)
    if limits:
        values = evolve(values, limits=evolve(PROFILES[values.profile], **limits))
    return Context(me=me, parameters=values, rng=Random(1), epoch=WALL * 1000, wall_offset=float(WALL))


def taken(context: Context, kind: type[T]) -> list[T]:
    """The actions of that kind, or what is inside them (notices, records, messages); all actions are cleared."""
    actions, context.actions = context.actions, []
    return chosen(actions, kind)


def chosen(actions: list[Any], kind: type[T]) -> list[T]:
    """Those of that kind among actions, or inside them."""
    found: list[Any] = []
    for action in actions:
        inside = action
        if not isinstance(action, kind):
            if isinstance(action, Emit):
                inside = action.notice
            elif isinstance(action, Remember):
                inside = action.record
            elif isinstance(action, Send):
                inside = messages.decode(action.frame)
        if isinstance(inside, kind):
            found.append(inside)
    return found


def sent_on(context: Context, state: LinkGossip, kind: type[T]) -> list[T]:
    """The messages of that kind that were sent on this link; the actions stay."""
    sends = [action for action in context.actions if isinstance(action, Send)]
    return chosen([send for send in sends if send.link == state.link.number], kind)


def sealed(
    context: Context,
    author: Any = ALICE,
    seq: int = 1,
    count: int = 1,
    *,
    epoch: int = WALL * 1000,
    age: float = 0.0,
    lifetime: float = 3600.0,
    kind: int = BROADCAST,
    body: bytes | None = None,
    topic: str = "t",
    size: int = 1,
    network: bytes | None = None,
    **more: Any,
) -> Envelope:
    """An envelope created `age` seconds ago, of `count` payloads of `size` bytes."""
    created = context.wall_ms - int(age * 1000)
    if body is None:
        body = encode_entries([(topic, b"%d" % (seq + place) + bytes(size)) for place in range(count)])
    return Sealer(network or context.network_id).seal(
        author,
        kind,
        epoch=epoch,
        seq=seq,
        count=count,
        created_ms=created,
        expires_ms=created + int(lifetime * 1000),
        body=body,
        **({"ttl": 16} | more),
    )


def entries_of(envelope: Envelope) -> list[Entry]:
    """As many entries as the envelope has messages, each told by its number."""
    return [("t", b"%d" % (envelope.seq + place)) for place in range(envelope.count)]


def link_state(
    context: Context, number: int, peer: Identity | None = None, *, outbound: bool = True
) -> LinkGossip:
    """The gossip state of a link that is up."""
    peer = peer or identity(1000 + number)
    link = Link(number, peer.node_id, outbound, f"10.0.0.{number}:1", "10.0", b"", context.now, state=UP)
    context.links.all[number] = link
    context.links.up[peer.node_id] = link
    return link_gossip(link, context.parameters.limits)


class Node:
    """One node's gossip with its links; what it tells the swarm is noted here."""

    def __init__(self, **parameters: Any) -> None:
        self.context = context_of(**parameters)
        self.sequences = Sequences(self.context, first_start_ms=WALL * 1000)
        self.index = Index()
        self.scores: dict[bytes, float] = {}
        self.violations: list[tuple[int, str]] = []
        self.broken: list[int] = []
        self.useful: list[int] = []
        self.sealed: list[Envelope] = []
        self.cut_for_promises = False
        self.gossip = Gossip(
            self.context,
            self.index,
            self.sequences,
            first_hand=lambda node_id: self.scores.get(node_id, 0.5),
            score=lambda node_id: self.scores.get(node_id, 0.5),
            useful=lambda link, envelope: self.useful.append(link.number),
            violation=lambda link, cause: self.violations.append((link.number, cause)),
            broken_promise=self.promise_broken,
            limits_for=lambda link: self.context.parameters.limits,
            sealed=self.hand_on,
            repeated=self.sealed.append,
        )
        self.gossip.load([], {})
        self.context.actions.clear()

    def promise_broken(self, link: Link) -> None:
        """A link broke a promise: note it, and cut the link if its trust is said to end with it."""
        self.broken.append(link.number)
        if self.cut_for_promises:
            self.unlink(self.gossip.states[link.number])

    def hand_on(self, state: LinkGossip, envelope: Envelope, hops: int) -> bool:
        """A sealed envelope came: note it as one for us."""
        self.sealed.append(envelope)
        return True

    def link(self, number: int, peer: Identity | None = None, *, outbound: bool = True) -> LinkGossip:
        """A link comes up."""
        return self.gossip.link_up(link_state(self.context, number, peer, outbound=outbound).link)

    def unlink(self, state: LinkGossip) -> None:
        """A link goes."""
        del self.context.links.all[state.link.number], self.context.links.up[state.link.node_id]
        self.gossip.link_down(state.link)

    def wait(self, seconds: float) -> None:
        """Time passes, and each deadline is kept."""
        until = self.context.now + seconds
        while self.gossip.deadline <= until:
            self.context.now = max(self.context.now, self.gossip.deadline)
            self.gossip.tick()
        self.context.now = until

    def count(self, name: str) -> int:
        """A counter."""
        return self.context.counters.get(name, 0)
