"""Where the core meets the world: order, time, and one delayed call."""

import typing

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from positron.core import events
from positron.core.events import LoopLate, Resume, Send, Tick, WallClock
from positron.node.clocks import Clocks
from positron.node.loop import GRAIN, Loop
from positron.testing import MemoryNetwork


class FakeCore:
    """Notes what it is given and answers with what it was told to."""

    def __init__(self):
        self.heard = []
        self.deadline = float("inf")
        self.answers = {}
        self.number = 0
        self.published = []

    def publish(self, entry, now):
        self.published.append((entry, now))
        self.deadline = min(self.deadline, now)
        return self.number

    def handle(self, event, now):
        self.heard.append((event, now))
        answer = self.answers.get(type(event), [])
        if isinstance(answer, Exception):
            raise answer
        if isinstance(event, Tick) and self.deadline <= now:
            self.deadline = float("inf")
        return answer


class LoopTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.clocks = Clocks(self.clock)
        self.core = FakeCore()
        self.done = []
        self.loop = Loop(
            self.clock,
            self.clocks,
            {Send: lambda action: self.perform(action), Resume: self.done.append},
            lambda: self.performed(),
        )
        self.perform = self.done.append
        self.performed = lambda: None
        self.loop.begin(self.core, 0.0)
        self.core.heard.clear()

    def events(self):
        return [event for event, _ in self.core.heard]

    def test_actions_in_order(self):
        """What an event leads to is done in the order given."""
        actions = [Send(1, b"a"), Resume(1), Send(2, b"b")]
        self.core.answers[events.Leave] = actions
        self.loop.step(events.Leave())
        self.assertEqual(self.done, actions)

    def test_an_event_caused_by_an_action(self):
        """It waits until everything that the first event led to is done."""
        first, last = Send(1, b"a"), Send(2, b"b")
        self.core.answers[events.Leave] = [first, last]

        def perform(action):
            self.loop.step(Tick())
            self.done.append(action)
            self.assertEqual(self.events(), [events.Leave()])

        self.perform = perform
        self.loop.step(events.Leave())
        self.assertEqual(self.done, [first, last])
        self.assertEqual(self.events(), [events.Leave(), Tick(), Tick()])

    def test_performed(self):
        """It is said once, when all events that wait and all they led to are done; it may cause events itself."""
        self.core.answers[events.Leave] = [Send(1, b"a"), Send(2, b"b")]
        self.perform = lambda action: self.done.append(action) or self.loop.step(Tick())
        said = []

        def performed():
            said.append((len(self.done), len(self.core.heard)))
            if len(said) == 1:
                self.loop.step(Tick())

        self.performed = performed
        self.loop.step(events.Leave())
        self.assertEqual(said, [(2, 3), (2, 4)])

    def test_settled(self):
        """Whoever has to wait for what is under way is told when it is done."""
        self.successResultOf(self.loop.settled())
        self.core.answers[events.Leave] = [Send(1, b"a")]
        waits = []
        self.perform = lambda action: waits.append(self.loop.settled()) or self.assertNoResult(waits[0])
        self.loop.step(events.Leave())
        self.successResultOf(waits[0])

    def test_two_alarms(self):
        """There are two delayed calls at most, the first at the deadline or before it, however it moves."""
        for deadline in (5.0, 3.0, 4.0, 2.0, 3.5):
            self.core.deadline = deadline
            self.loop.step(events.Leave())
            calls = sorted(call.getTime() for call in self.clock.getDelayedCalls())
            self.assertLessEqual(len(calls), 2)
            self.assertLessEqual(calls[0], deadline + GRAIN)
        self.core.heard.clear()
        self.clock.advance(2.1)
        self.assertEqual(self.events(), [])
        self.clock.advance(1.5)
        self.assertEqual(self.events(), [Tick()])
        self.clock.advance(1.5)
        self.assertEqual(self.events(), [Tick()])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_deadline_that_is_past(self):
        """It is met in the next turn."""
        self.core.deadline = -1.0
        self.loop.step(events.Leave())
        self.clock.advance(0)
        self.assertEqual(self.events(), [events.Leave(), Tick()])

    def test_late(self):
        """An alarm that rings over a second late: the core hears first that its own loop stood still."""
        self.core.deadline = 1.0
        self.loop.step(events.Leave())
        self.core.heard.clear()
        self.clock.advance(5.0)
        late, tick = self.events()
        self.assertIsInstance(late, LoopLate)
        self.assertApproximates(late.seconds, 4.0, 0.01)
        self.assertEqual(tick, Tick())

    def test_late_and_something_else_comes_first(self):
        """After a stall, what waited in a socket may come before the alarm; the core is told before it."""
        self.core.deadline = 1.0
        self.loop.step(events.Leave())
        self.core.heard.clear()
        self.clock.rightNow = 5.0
        self.loop.step(events.Received(1, [b"x"]))
        self.assertEqual([type(event) for event in self.events()], [LoopLate, events.Received])

    def test_wall_clock(self):
        """The core is told when the wall clock moves by more than 50 ms, before what comes then."""
        self.clocks.ahead = 0.04
        self.loop.step(Tick())
        self.assertEqual(self.events(), [Tick()])
        self.clocks.ahead = 100.0
        self.loop.step(Tick())
        self.loop.step(Tick())
        self.assertEqual(self.events(), [Tick(), WallClock(100.0), Tick(), Tick()])

    def test_publish(self):
        """The core's answer is the caller's at once; what is due then is met in the next turn."""
        self.core.deadline = 9.0
        self.loop.step(events.Leave())
        self.clock.advance(1.0)
        self.core.number = 7
        self.assertEqual(self.loop.publish(("t", b"x")), 7)
        self.assertEqual(self.core.published, [(("t", b"x"), 1.0)])
        self.core.heard.clear()
        self.clock.advance(0.001)
        self.assertEqual(self.events(), [Tick()])

    def test_publish_moves_no_alarm(self):
        """What was due before is due at its time all the same, and has the call that it had."""
        self.core.deadline = 9.0
        self.loop.step(events.Leave())
        (call,) = self.clock.getDelayedCalls()
        self.loop.publish(("t", b"x"))
        self.clock.advance(0.001)
        self.core.deadline = 9.0
        self.loop.step(events.Leave())
        self.assertEqual(self.clock.getDelayedCalls(), [call])
        self.core.heard.clear()
        self.clock.advance(9.0)
        self.assertEqual(self.events(), [Tick()])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_late_after_publishing(self):
        """It is the turn that a publication asked for that is late."""
        self.core.deadline = 9.0
        self.loop.step(events.Leave())
        self.loop.publish(("t", b"x"))
        self.core.heard.clear()
        self.clock.advance(5.0)
        self.assertEqual([type(event) for event in self.events()], [LoopLate, Tick])

    def test_publish_while_an_action_is_performed(self):
        """The core is asked at once; but not before an event that came earlier, nor after the end."""
        self.core.number = 7
        self.core.answers[events.Leave] = [Send(1, b"a")]

        def perform(action):
            self.done.append(self.loop.publish(("t", b"1")))
            self.loop.step(Tick())
            self.done.append(self.loop.publish(("t", b"2")))

        self.perform = perform
        self.loop.step(events.Leave())
        self.loop.end()
        self.done.append(self.loop.publish(("t", b"3")))
        self.assertEqual((self.done, self.core.published), ([7, 0, 0], [(("t", b"1"), 0.0)]))

    def test_end(self):
        """After the end nothing is handled and nothing is left, also if the end comes in the middle."""
        self.core.deadline = 1.0
        self.loop.step(events.Leave())
        self.core.answers[Tick] = [Send(1, b"a")]
        self.perform = lambda action: (self.loop.step(Tick()), self.loop.end())
        self.core.heard.clear()
        self.loop.step(Tick())
        self.loop.step(Tick())
        self.assertEqual(self.events(), [Tick()])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_mistake_of_ours(self):
        """An exception of the core or of a performer goes to the caller, and the loop goes on."""
        self.core.answers[events.Leave] = ValueError("a bug")
        self.core.deadline = 1.0
        self.assertRaises(ValueError, self.loop.step, events.Leave())
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.loop.step(Tick())
        self.assertEqual(self.events(), [events.Leave(), Tick()])


class PerformersTests(SynchronousTestCase):
    def test_every_action_has_one(self):
        """Whatever the core may say, a node knows who does it."""
        node = MemoryNetwork(Clock()).node("a")
        self.assertEqual(set(node._performers()), set(typing.get_args(events.Action)))


class ClocksTests(SynchronousTestCase):
    def test_virtual(self):
        """A virtual clock is both clocks; `ahead` moves the wall clock alone."""
        clock = Clock()
        clocks = Clocks(clock, ahead=7.0)
        clock.advance(3)
        self.assertEqual((clocks.now(), clocks.wall()), (3.0, 10.0))

    def test_real(self):
        """The system's clock may be set back, and `wall` with it; `now` does not follow it."""
        moments = iter((1000.0, 10.0))
        clocks = Clocks(object(), system=lambda: next(moments))
        before = clocks.now()
        self.assertEqual(clocks.wall(), 1000.0)
        self.assertEqual(clocks.wall(), 10.0)
        self.assertGreaterEqual(clocks.now(), before)
