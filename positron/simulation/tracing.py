"""The way of one message through a simulated network: who got it from whom, when, at which hop, and why it was sent.

Rule: a trace only looks; a run with it and a run without it are the same.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from attrs import define, field

from positron.core import messages
from positron.core.gossip.announce import split_ids
from positron.simulation.narrow import NarrowWorld
from positron.simulation.world import WorldNode

PUBLISHED, PUSH, PULL, SYNC = "published", "push", "pull", "sync"
"""How it came: its author said it; a link pushed it unasked; it was announced and asked for; an exchange of sets had
shown it, and it was asked for."""


class Step(NamedTuple):
    """`node` accepted the message `seconds` after its publication, from `source` (None: its author), at its hop
    `hops`. Nodes are indices from 0."""

    node: int
    source: int | None
    seconds: float
    hops: int
    way: str


@define(eq=False)
class Tracer:
    """Follows the message whose envelope holds `mark`. `steps` are in the order of time."""

    mark: bytes = b""
    envelope_id: bytes = b""
    began: float = 0.0
    steps: list[Step] = field(factory=list)
    announced: set[tuple[int, int]] = field(factory=set)
    asked: set[tuple[int, int]] = field(factory=set)

    def publish(self, author: WorldNode, mark: bytes) -> None:
        """`author` is about to say it; if it refuses to, the next with that number is followed."""
        self.mark, self.began = mark, author.world.now
        self.steps = [Step(author.number - 1, None, 0.0, 0, PUBLISHED)]

    def kept(self, envelope_id: bytes, raw: bytes) -> None:
        """Somebody accepted an envelope: the first with the mark is the author's."""
        if self.mark and not self.envelope_id and self.mark in raw:
            self.envelope_id = envelope_id

    def arriving(self, node: WorldNode, source: WorldNode, frame: bytes) -> bool:
        """A frame is about to be heard; whether it brings the message."""
        if frame[0] == messages.PUSH_TAG:
            return self.mark in frame
        if frame[0] in (messages.Have.TAG, messages.Want.TAG) and self.envelope_id in frame:
            message = messages.decode(frame)
            assert isinstance(message, messages.Have | messages.Want)
            if self.envelope_id in split_ids(message.ids):
                told = self.announced if frame[0] == messages.Have.TAG else self.asked
                told.add((source.number, node.number))
        return False

    def arrived(self, node: WorldNode, source: WorldNode, hops: int) -> None:
        """It was accepted."""
        way = PUSH
        if (node.number, source.number) in self.asked:
            way = PULL if (source.number, node.number) in self.announced else SYNC
        seconds = node.world.now - self.began
        self.steps.append(Step(node.number - 1, source.number - 1, seconds, hops, way))


class TracedNode(WorldNode):
    """A node whose frames the tracer sees as they arrive."""

    world: TracedWorld

    def receive(self, channel: Any, frames: list[bytes]) -> None:
        """Frames arrive at this end of a channel."""
        tracer = self.world.tracer
        if not tracer.envelope_id or not channel.open or channel.paused or channel.other is None:
            super().receive(channel, frames)
            return
        source: WorldNode = channel.other.node
        bringing = [frame for frame in frames if tracer.arriving(self, source, frame)]
        had = tracer.envelope_id in self.kept.envelopes
        super().receive(channel, frames)
        if bringing and not had and tracer.envelope_id in self.kept.envelopes:
            tracer.arrived(self, source, bringing[0][1] + 1)


class TracedWorld(NarrowWorld):
    """A world in which one message is followed."""

    node_kind = TracedNode

    def __init__(self, *arguments: Any, **parameters: Any) -> None:
        super().__init__(*arguments, **parameters)
        self.tracer = Tracer()
