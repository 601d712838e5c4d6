"""The one place where the core meets the world: handle, perform, re-arm.

Rules: actions are performed in the order given; an event that performing them causes waits until they are done, and
`performed` is called when nothing waits any more. There is one delayed call for the core's one deadline, or two where
it came nearer, and none once the loop has ended.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall

from positron.core.envelope import Entry
from positron.core.events import Action, Event, LoopLate, Tick, WallClock
from positron.core.swarm import Swarm
from positron.node.clocks import Clocks

LATE = 1.0
"""Seconds by which our own alarm may be late before the core is told that its silence is ours."""
WALL_MOVED = 0.05
"""Seconds by which the wall clock may move against `now` before the core is told."""
GRAIN = 1e-6
"""An alarm is set this much late, so that no rounding of clocks makes it ring before its time."""


@define(eq=False)
class _Alarm:
    """A delayed call, or none, and the deadline that it is for."""

    at: float = float("inf")
    call: IDelayedCall | None = None

    def silence(self) -> None:
        """Have none."""
        if self.call is not None:
            self.call.cancel()
        self.call = None
        self.at = float("inf")


Performers = Mapping[type[Any], Callable[[Any], None]]


class Loop:
    """Drives one swarm at a time. `performers` has a callable for each class of action."""

    def __init__(
        self, reactor: Any, clocks: Clocks, performers: Performers, performed: Callable[[], None]
    ) -> None:
        self._reactor = reactor
        self._clocks = clocks
        self._performers = performers
        self._performed = performed
        self._swarm: Swarm | None = None
        self._pending: deque[Event] = deque()
        self._stepping = False
        self._waits: list[Deferred[None]] = []
        self._offset = 0.0
        self._now = 0.0
        self._alarm = _Alarm()
        self._sooner = _Alarm()

    def begin(self, swarm: Swarm, offset: float) -> None:
        """Drive `swarm` from now on; `offset` is how far the wall clock was ahead of `now` at its birth."""
        self._swarm = swarm
        self._offset = offset
        self.step(Tick())

    def end(self) -> None:
        """Drive nothing any more: events are dropped, and no call is left behind."""
        self._swarm = None
        self._pending.clear()
        self._silence()

    def step(self, event: Event) -> None:
        """Give `event` to the core and do what it says, or let it wait for its turn if that is under way."""
        if self._swarm is None:
            return
        self._pending.append(event)
        if self._stepping:
            return
        self._stepping = True
        try:
            while self._pending and self._swarm is not None:
                self._take(self._swarm, self._pending.popleft())
        finally:
            self._stepping = False
            self._arm()
            self._performed()
            waits, self._waits = self._waits, []
            for waiting in waits:
                waiting.callback(None)

    def publish(self, entry: Entry) -> int:
        """Have the core accept this message now: its sequence number. 0 if that cannot be, and `step` has to wait.

        Of what `step` does this leaves out the rest, for it asks for no action: what is due, or late, is left to the
        alarm. So it may come while actions are performed, unless an event waits for its turn that was there before.
        """
        swarm = self._swarm
        if swarm is None or self._pending:
            return 0
        self._now = self._clocks.now()
        seq = swarm.publish(entry, self._now)
        if swarm.deadline < self._sooner.at and swarm.deadline < self._alarm.at:
            self._arm()
        return seq

    def settled(self) -> Deferred[None]:
        """Fires when no event is under way or waits for its turn."""
        if not self._stepping:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waits.append(waiting)
        return waiting

    def _take(self, swarm: Swarm, event: Event) -> None:
        now = self._now = self._clocks.now()
        late = now - min(self._alarm.at, self._sooner.at)
        if late > LATE:
            self._silence()
            self._perform(swarm.handle(LoopLate(late), now))
        offset = self._clocks.wall() - now
        if abs(offset - self._offset) > WALL_MOVED:
            # A reactor's delayed calls are by the wall clock, unless the program saw to it (`positron.tap`): one set
            # before it moved would ring at the wrong time.
            self._offset = offset
            self._silence()
            self._perform(swarm.handle(WallClock(offset), now))
        self._perform(swarm.handle(event, now))

    def _perform(self, actions: list[Action]) -> None:
        performers = self._performers
        for action in actions:
            performers[type(action)](action)

    def _arm(self) -> None:
        """Have a call at the deadline or before it. Most deadlines move away, and the call is let ring early.

        A deadline that comes nearer has a call of its own. What is published is due at once, and then it is the old
        deadline again: to move one call would be to set it twice for each publication.
        """
        if self._swarm is None:
            return
        deadline = self._swarm.deadline
        by = max(deadline, self._now)
        alarm = self._alarm
        if alarm.call is not None:
            if alarm.at <= by:
                return
            alarm = self._sooner
            if alarm.call is not None:
                if alarm.at <= by:
                    return
                alarm.silence()
        if deadline < float("inf"):
            wait = deadline - self._clocks.now() if deadline > self._now else 0
            alarm.call = self._reactor.callLater(wait + GRAIN if wait > 0 else 0, self._ring, alarm)
            alarm.at = deadline

    def _silence(self) -> None:
        self._alarm.silence()
        self._sooner.silence()

    def _ring(self, alarm: _Alarm) -> None:
        alarm.call = None
        now = self._clocks.now()
        if self._swarm is not None and now < self._swarm.deadline and now - alarm.at <= LATE:
            alarm.at = float("inf")
            self._arm()
            return
        self.step(Tick())
        if alarm.call is None:
            alarm.at = float("inf")
