"""A world of nodes: each is a real `Swarm`, its links are delays, its store is a dict, its time is a heap.

Rule: nothing here decides anything that the protocol decides. The world performs actions, in order, and delivers what
they cause after a delay; everything random comes from the one `Random` of the seed.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable
from functools import lru_cache
from random import Random
from typing import Any

from positron.core import events
from positron.core.context import Parameters
from positron.core.envelope import Entry, Envelope, Sealer
from positron.core.identity import Identity, Signer, verify
from positron.core.notices import Notice
from positron.core.statements import Verify, read_address_record
from positron.core.swarm import Swarm
from positron.simulation.agenda import Agenda
from positron.simulation.channel import Channel
from positron.simulation.kept import Kept
from positron.simulation.latencies import RETRANSMISSION, Latency, steady
from positron.simulation.sharing import SharingSealer

EPOCH_WALL = 1_700_000_000.0
"""What the wall clock of a world says at its time 0."""

UNANSWERED = 5.0
"""Seconds after which a dial that nothing answers is given up (`positron.services.network.CONNECT_SECONDS`)."""

TICK = events.Tick()

RECORDS_READ = 131_072
"""Address records that a world remembers having read and verified: all nodes that are told the same one share it."""


def real_identity(number: int) -> Signer:
    """A real key pair for the node of that number."""
    return Identity(hashlib.blake2b(b"%d" % number, digest_size=32).digest())


class WorldNode:
    """One node of a world. `delivered` is what its application heard, `notices` what it was told."""

    def __init__(self, world: World, number: int, parameters: Parameters, skew: float) -> None:
        self.world = world
        self.number = number
        self.parameters = parameters
        self.skew = skew
        self.host = f"10.{number >> 8 & 255}.{number & 255}.1"
        self.address = f"{self.host}:{parameters.port or 8888}"
        self.identity = world.identity(number)
        self.node_id = self.identity.node_id
        self.kept = Kept()
        self.delivered: list[events.Deliver] = []
        self.notices: list[Notice] = []
        self.settled: dict[int, events.Settle] = {}
        self.channels: dict[int, Channel] = {}
        self.bytes_out: dict[int, int] = defaultdict(int)
        self.frames_by_tag: dict[int, int] = defaultdict(int)
        self.hangups: list[tuple[bytes, str]] = []
        self.group = 0
        self.tamper: Callable[[WorldNode, bytes], bytes | None] | None = None
        self.listener: Callable[[WorldNode, events.Deliver], None] | None = None
        self.swarm: Swarm | None = None
        self._armed = float("inf")

    def start(self) -> None:
        """Be born, with what the store holds."""
        wall = self.world.now + EPOCH_WALL + self.skew
        self.swarm = Swarm(
            self.identity,
            self.parameters,
            self.kept.loaded(int(wall * 1000)),
            Random(self.world.rng.getrandbits(64)),
            verify=self.world.verify,
            read_record=self.world.read_record,
            make_sealer=self.world.make_sealer,
            now=self.world.now,
            wall=wall,
        )
        self.world.listening[self.address] = self
        for channel in self.world.dark.pop(self.address, ()):
            if channel.other is not None:
                self.world.after(channel.delay, self.world.lose, channel.other, "connection reset")
        self.step(events.WallClock(EPOCH_WALL + self.skew))

    def kill(self) -> None:
        """Be gone, without a word: the other ends notice after a delay, as when a process dies."""
        self.swarm = None
        self.world.listening.pop(self.address, None)
        for channel in list(self.channels.values()):
            self.world.close(channel, "connection lost", self_too=False)
        self.channels.clear()

    def go_dark(self) -> None:
        """Be gone, as a machine without power is: nobody is told, and what is sent or dialled to it is lost.

        If it starts again, it answers what it does not know with resets: the links that still stand are lost then.
        """
        self.swarm = None
        self.world.dark[self.address] = list(self.channels.values())
        self.world.listening.pop(self.address, None)
        for channel in self.channels.values():
            channel.open = False
        self.channels.clear()

    def stop(self) -> None:
        """Leave on purpose."""
        self.step(events.Leave())
        self.world.after(0.5, self.kill)

    @property
    def frames_out(self) -> int:
        """How many frames it sent."""
        return sum(self.frames_by_tag.values())

    @property
    def links(self) -> list[bytes]:
        """The node ids it is linked to."""
        return [peer.node_id for peer in self.swarm.peers()] if self.swarm else []

    def publish(self, topic: str, *payloads: bytes) -> int:
        """Publish; the token under which it settles."""
        token = self.world.token()
        entries: list[Entry] = [(topic, payload) for payload in payloads]
        self.step(events.Publish(token, entries))
        return token

    def step(self, event: events.Event) -> None:
        """The one place where this node's core meets its world."""
        swarm, world = self.swarm, self.world
        if swarm is None:
            return
        world.steps += 1
        for action in swarm.handle(event, world.now):
            if type(action) is events.Send:  # most of them are; a match costs more
                self._send(action)
            else:
                self._perform(action)
        due = swarm.deadline
        if due < self._armed and self.swarm is swarm:
            self._armed = due = max(due, world.now)
            world.at(due, self._wake)

    def _wake(self) -> None:
        if self._armed <= self.world.now:
            self._armed = float("inf")
            self.step(TICK)

    def _perform(self, action: events.Action) -> None:
        match action:
            case events.Send():
                self._send(action)
            case events.Deliver():
                self.delivered.append(action)
                if self.listener is not None:
                    self.listener(self, action)
            case events.Remember():
                self.kept.remember(action.record)
                if action.mark:
                    self.world.after(0.05, self._answer, self.swarm, events.Stored(action.mark))
            case events.Fetch():
                found = {i: self.kept.envelopes[i].raw for i in action.ids if i in self.kept.envelopes}
                self.world.after(0.001, self._answer, self.swarm, events.Fetched(action.link, found))
            case events.Dial():
                self.world.dial(self, action)
            case events.Hangup():
                channel = self.channels.get(action.link)
                if channel is not None:
                    peer = channel.other.node.node_id if channel.other else b""
                    self.hangups.append((peer, action.reason))
                    self.world.close(channel, action.reason)
            case events.Pause():
                self.channels[action.link].paused = True
            case events.Resume():
                self._resume(action.link)
            case events.Emit():
                self.notices.append(action.notice)
            case events.Settle():
                self.settled[action.token] = action
            case events.Established() | events.Sealed():
                pass

    def _answer(self, asker: Swarm | None, event: events.Event) -> None:
        """The store's answer, to the one who asked: not to who was born after it."""
        if self.swarm is asker:
            self.step(event)

    def _send(self, action: events.Send) -> None:
        channel = self.channels.get(action.link)
        if channel is None:
            return
        frame: bytes | None = action.frame
        if self.tamper is not None and frame is not None:
            frame = self.tamper(channel.other.node if channel.other else self, frame)
        if frame is not None:
            self.frames_by_tag[frame[0]] += 1
            self.bytes_out[frame[0]] += len(frame) + 4
            self.world.carry(channel, frame)

    def _resume(self, number: int) -> None:
        channel = self.channels.get(number)
        if channel is not None:
            channel.paused = False
            held, channel.held = channel.held, None
            for frames in held or ():
                self.world.after(0.0, self.receive, channel, frames)

    def receive(self, channel: Channel, frames: list[bytes]) -> None:
        """Frames arrive at this end of a channel."""
        if channel.other is not None and channel.other.chunk is frames:
            channel.other.chunk = None
        if not channel.open:
            return
        if channel.paused:
            channel.held = [*(channel.held or ()), frames]
        else:
            self.step(events.Received(channel.number, frames))


class World:
    """All of it. `run(seconds)` plays; `nodes` are in the order they were made."""

    node_kind: type[WorldNode] = WorldNode

    def __init__(
        self,
        seed: int,
        *,
        latency: Latency | None = None,
        loss: float = 0.0,
        identity: Callable[[int], Signer] = real_identity,
        verify: Verify = verify,
    ) -> None:
        """`loss` is the share of chunks that come one retransmission later, as TCP shows it. `identity` gives each
        node its key, and `verify` judges the signatures made with it."""
        self.rng = Random(seed)
        self.seed = seed
        self.now = 0.0
        self.steps = 0
        self.nodes: list[WorldNode] = []
        self.listening: dict[str, WorldNode] = {}
        self.dark: dict[str, list[Channel]] = {}
        self.linked: Callable[[WorldNode, WorldNode], None] | None = None
        self.latency = latency or steady(0.010)
        self.loss = loss
        self.identity = identity
        self.verify = verify
        self._envelopes: dict[bytes, Envelope] = {}
        self.read_record = lru_cache(maxsize=RECORDS_READ)(read_address_record)
        self._agenda = Agenda()
        self._links = 0
        self._tokens = 0

    def node(self, *, skew: float = 0.0, start: bool = True, **parameters: Any) -> WorldNode:
        """A new node; `parameters` are those of `Parameters`."""
        number = len(self.nodes) + 1
        parameters.setdefault("port", 8888)
        host = f"10.{number >> 8 & 255}.{number & 255}.1"
        parameters.setdefault("advertise", (f"{host}:{parameters['port']}",))
        node = self.node_kind(self, number, Parameters(**parameters), skew)
        self.nodes.append(node)
        if start:
            node.start()
        return node

    def make_sealer(self, network_id: bytes) -> Sealer:
        """What reads envelopes for a node: all nodes share what was read."""
        return SharingSealer(network_id, self._envelopes)

    def token(self) -> int:
        """A token no one used before."""
        self._tokens += 1
        return self._tokens

    # -------------------------------------------------------------------------------------------------- time

    def at(self, when: float, call: Callable[..., None], *arguments: Any) -> None:
        """Do this at that time; what is due at one time is done in the order it was asked for."""
        self._agenda.add(when, call, arguments)

    def after(self, seconds: float, call: Callable[..., None], *arguments: Any) -> None:
        """Do this so much later."""
        self._agenda.add(self.now + seconds, call, arguments)

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Play so many seconds, or until the condition holds (asked every 100 ms); whether it held."""
        end = self.now + seconds
        check = self.now
        while (item := self._agenda.pop(end)) is not None:
            when, _, call, arguments = item
            if until is not None and when >= check:
                if until():
                    self._agenda.put_back(item)
                    return True
                check = when + 0.1
            self.now = when
            call(*arguments)
        self.now = end
        return until() if until is not None else True

    # ------------------------------------------------------------------------------------------------- links

    def dial(self, node: WorldNode, action: events.Dial) -> None:
        """Open a channel, after a round trip."""
        if action.address in self.dark:
            self.after(UNANSWERED, node.step, events.DialFailed(action.address, "timed out"))
            return
        target = self.listening.get(action.address)
        if target is None or target.group != node.group:
            reason = "connection refused" if target is None else "timed out"
            self.after(0.1, node.step, events.DialFailed(action.address, reason))
            return
        delay = 2 * self.latency(node, target, self.rng)
        self.after(delay, self._connect, node, target, action)

    def _connect(self, node: WorldNode, target: WorldNode, action: events.Dial) -> None:
        if node.swarm is None:
            return
        if target.swarm is None or target.group != node.group:
            node.step(events.DialFailed(action.address, "connection refused"))
            return
        if action.expected is not None and action.expected != target.node_id:
            node.step(events.DialFailed(action.address, "wrong identity"))
            return
        here, there = self._channel(node), self._channel(target)
        here.other, there.other = there, here
        here.delay, there.delay = self.latency(node, target, self.rng), self.latency(target, node, self.rng)
        binding = hashlib.blake2b(b"%d" % here.number, digest_size=32).digest()
        node.step(events.Connected(here.number, target.node_id, True, action.address, binding))
        source = f"{node.host}:{40000 + here.number % 20000}"
        target.step(events.Connected(there.number, node.node_id, False, source, binding))
        if self.linked is not None:
            self.linked(node, target)

    def _channel(self, node: WorldNode) -> Channel:
        self._links += 1
        channel = Channel(node, self._links)
        node.channels[channel.number] = channel
        return channel

    def carry(self, channel: Channel, frame: bytes) -> None:
        """Bring a frame to the other end, in order; what is sent at one time on one channel is one chunk."""
        other = channel.other
        if other is None or not channel.open or channel.node.group != other.node.group:
            return
        if channel.chunk is not None and channel.sent == self.now < channel.arrives:
            channel.chunk.append(frame)
            return
        delay = channel.delay
        if self.loss and self.rng.random() < self.loss:
            delay += RETRANSMISSION
        channel.sent, channel.chunk = self.now, [frame]
        arrives = self.now + delay
        channel.arrives = arrives if arrives > channel.arrives else channel.arrives
        self._agenda.add(channel.arrives, other.node.receive, (other, channel.chunk))

    def close(self, channel: Channel, reason: str, self_too: bool = True) -> None:
        """Close a channel: this end now, the other when what is under way has arrived."""
        if not channel.open:
            return
        channel.open = False
        node, other = channel.node, channel.other
        node.channels.pop(channel.number, None)
        if self_too:
            self.after(0.0, node.step, events.Disconnected(channel.number, reason))
        if other is not None and other.node.group == node.group:
            when = max(channel.arrives, self.now + channel.delay)
            self.at(when, self.lose, other, "closed by the peer")

    def lose(self, channel: Channel, reason: str) -> None:
        """This end of a channel is gone."""
        if channel.open:
            channel.open = False
            channel.node.channels.pop(channel.number, None)
            channel.node.step(events.Disconnected(channel.number, reason))
        other = channel.other
        if other is not None and not other.open:
            channel.other = other.other = None

    def partition(self, *groups: list[WorldNode]) -> None:
        """Nothing passes between these groups any more, until `heal`."""
        for number, group in enumerate(groups):
            for node in group:
                node.group = number

    def heal(self) -> None:
        """Everything passes again. Channels across the cut that were not given up go on with a hole: they are cut."""
        for node in self.nodes:
            for channel in list(node.channels.values()):
                if channel.other is not None and channel.other.node.group != node.group:
                    self.lose(channel, "connection reset")
        for node in self.nodes:
            node.group = 0
