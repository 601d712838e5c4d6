"""A node whose every step is looked at: what it does, what it keeps, and when it next wants to be woken."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from typing import Any

from attrs import define, field

from positron.core import events, messages
from positron.core.anti_entropy import SESSION_BURST, SESSION_RATE
from positron.core.gossip.state import SERVED_TWICE
from positron.core.sync.session import MAX_ROUNDS
from positron.simulation.world import WorldNode
from tests.fuzz.tables import excess, pending

TICKS_AT_ONCE = 1_200
"""Ticks at one instant beyond which a node is said to spin. An author's 1,024 held envelopes may all have gaps between
them, and one of them is given up at each."""

TICKS_A_SECOND = 4_000
LOOK_EVERY = 32
"""Steps between two looks at all tables."""


class Breach(AssertionError):
    """The node did what it may not."""


@define
class Account:
    """What passed on one link: frames and bytes by tag, and how often each envelope went out."""

    since: float
    came: Counter[int] = field(factory=Counter)
    came_bytes: Counter[int] = field(factory=Counter)
    went: Counter[int] = field(factory=Counter)
    went_bytes: Counter[int] = field(factory=Counter)
    pushed: Counter[int] = field(factory=Counter)

    def hear(self, frame: bytes) -> None:
        """A frame came."""
        tag = frame[0] if frame else 0
        self.came[tag] += 1
        self.came_bytes[tag] += len(frame)

    def say(self, frame: bytes) -> None:
        """A frame went."""
        self.went[frame[0]] += 1
        self.went_bytes[frame[0]] += len(frame)
        if frame[0] == messages.PUSH_TAG:
            self.pushed[hash(frame[2:])] += 1

    def excess(self, now: float) -> list[str]:
        """The answers of which there were more than questions and budgets allow: all that a peer gets by asking."""
        seconds = now - self.since
        asked, pushes = self.came, self.came[messages.Push.TAG]
        rows = (
            ("PONG", self.went[messages.Pong.TAG], asked[messages.Ping.TAG]),
            ("MISS bytes", self.went_bytes[messages.Miss.TAG], 2 * self.came_bytes[messages.Want.TAG]),
            ("REFUSED", self.went[messages.Refused.TAG], pushes),
            ("PEERS", self.went[messages.Peers.TAG], 10 + 0.1 * seconds + 3 + 0.1 * seconds),
            ("VOUCH", self.went[messages.Vouch.TAG], 2 + seconds / 60),
            ("PUSH of one envelope", max(self.pushed.values(), default=0), 1 + SERVED_TWICE + pushes),
            ("SYNC bytes", self.went_bytes[messages.Sync.TAG], self._sync_allowed(seconds)),
        )
        return [f"{name}: {size} went, {most} are allowed" for name, size, most in rows if size > most + 1]

    def _sync_allowed(self, seconds: float) -> float:
        """The answers of the sessions it may open; what we ask for ourselves is little, or answers what it said."""
        opened = SESSION_BURST + SESSION_RATE * seconds
        return 65_536 * MAX_ROUNDS * opened + 64 * (self.came[messages.Sync.TAG] + seconds + 10)


class Checked(WorldNode):
    """Raises `Breach`, or whatever its core raises, out of `step`.

    `slowest` is the CPU time that one event took, and its name: to be looked at by people.
    """

    slowest = (0.0, "")
    storing = 0.0

    def born(self) -> None:
        """No link is left of a former life."""
        self.open: set[int] = set()
        self.accounts: dict[int, Account] = {}
        self.looks = 0
        self.ticks: dict[int, int] = defaultdict(int)
        self.at_once = (0.0, 0)
        self.asked: set[int] = set()

    def start(self) -> None:
        """As any node, watched."""
        self.born()
        super().start()

    def step(self, event: events.Event) -> None:
        """Take one event and look at what comes of it."""
        if self.swarm is None:
            return
        self._before(event)
        began, self.storing = time.process_time(), 0.0
        super().step(event)
        took = time.process_time() - began - self.storing
        self.slowest = max(self.slowest, (took, type(event).__name__))
        if self.swarm is None:
            return
        self.looks += 1
        if self.swarm.deadline != self.swarm.deadline:
            raise Breach("the deadline is no time")
        if self.looks % LOOK_EVERY == 0:
            self.look()

    def _before(self, event: events.Event) -> None:
        match event:
            case events.Tick():
                self._ticked()
            case events.Connected():
                self.open.add(event.link)
                self.accounts[event.link] = Account(self.world.now)
            case events.Disconnected():
                self.open.discard(event.link)
                self.accounts.pop(event.link, None)
            case events.Publish() | events.SendDirect() | events.PingPeer():
                self.asked.add(event.token)
            case events.Received() if event.link in self.accounts:
                for frame in event.frames:
                    self.accounts[event.link].hear(frame)

    def _ticked(self) -> None:
        now = self.world.now
        at, count = self.at_once
        self.at_once = (now, count + 1 if at == now else 1)
        self.ticks[int(now)] += 1
        if self.at_once[1] > TICKS_AT_ONCE or self.ticks[int(now)] > TICKS_A_SECOND:
            assert self.swarm is not None
            due = {
                name: part.deadline for name, part in vars(self.swarm).items() if hasattr(part, "deadline")
            }
            raise Breach(f"it spins at {now}: {due}")

    def look(self) -> None:
        """Hold every table against its bound, and every link against what it was given."""
        assert self.swarm is not None
        self.asked_by_operator()
        faults = excess(self.swarm)
        for number, account in self.accounts.items():
            faults += [f"link {number}: {each}" for each in account.excess(self.world.now)]
        if self.asked != pending(self.swarm):
            faults.append(f"never to be settled: {self.asked ^ pending(self.swarm)}")
        if faults:
            raise Breach("; ".join(faults))

    def asked_by_operator(self) -> None:
        """What an operator looks at is there to be looked at, whatever peers said."""
        swarm = self.swarm
        assert swarm is not None
        stats = swarm.stats()
        for peer in swarm.peers():
            swarm.explain(peer.node_id)
            swarm.tried(peer.address)
        if stats.up + stats.suspect != len(swarm.peers()) or not set(swarm.strangers()).isdisjoint(
            swarm.peers()
        ):
            raise Breach("the views of the operator disagree")

    def _addressed(self, number: int, what: str) -> None:
        if number not in self.open:
            raise Breach(f"{what} on link {number}, which is not there")

    def _send(self, action: events.Send) -> None:
        self._addressed(action.link, f"frame {action.frame[:1].hex()}")
        if messages.decode(action.frame) is None:
            raise Breach("it sent what it does not understand")
        self.accounts[action.link].say(action.frame)
        super()._send(action)

    def _perform(self, action: Any) -> None:
        if isinstance(action, events.Hangup | events.Pause | events.Resume | events.Established):
            self._addressed(action.link, type(action).__name__)
        if isinstance(action, events.Settle):
            if action.token not in self.asked:
                raise Breach(f"{action} is settled, and nobody waits for it")
            self.asked.discard(action.token)
        began = time.process_time()
        super()._perform(action)
        self.storing += time.process_time() - began
        if isinstance(action, events.Hangup):
            self.open.discard(action.link)
