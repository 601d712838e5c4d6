"""Threads that verify ahead of the core, and what the core takes from them."""

import threading

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from positron.core import messages
from positron.core.envelope import BROADCAST, Sealer, encode_entries, network_id_of
from positron.core.identity import Identity, verify
from positron.services.lanes import (
    BATCH,
    CHECKED,
    CHECKING,
    FEW,
    NOTHING,
    WAITING,
    Lanes,
    PoolThreads,
    Slice,
    threads_for,
)


class HeldThreads:
    """Does nothing until it is told to."""

    def __init__(self, count=2):
        self.count = count
        self.waiting = []
        self.stops = 0

    def run(self, work, done):
        self.waiting.append((work, done))

    def stop(self):
        self.stops += 1

    def finish(self, index=0):
        """Do what was asked at `index`, and say so."""
        work, done = self.waiting.pop(index)
        done(work())


class LanesTestCase(SynchronousTestCase):
    def setUp(self):
        self.author = Identity(b"\x01" * 32)
        self.sealer = Sealer(network_id_of("test"))
        self.threads = HeldThreads()
        self.verified = []
        self.told = 0
        self.lanes = Lanes(self.sealer, self.threads, self.verify)

    def verify(self, *claim):
        self.verified.append(claim)
        return verify(*claim)

    def slice(self, first, count):
        """A slice of so many envelopes of one message."""
        frames = []
        for seq in range(first, first + count):
            envelope = self.sealer.seal(
                self.author,
                BROADCAST,
                epoch=1,
                seq=seq,
                created_ms=1,
                expires_ms=2,
                ttl=1,
                body=encode_entries([("t", b"\xc0")]),
            )
            frames.append(messages.push_frame(1, envelope.raw))
        return Slice(frames, sum(map(len, frames)))

    def go(self, *slices):
        self.lanes.go_ahead(iter(slices), self.tell)

    def tell(self):
        self.told += 1

    def judge(self, slice):
        """What the core is told of each envelope of a slice while it is given it."""
        self.lanes.at_hand = slice.found
        answers = [self.lanes.verify(*self.sealer.claim(frame[2:])) for frame in slice.frames]
        self.lanes.at_hand = NOTHING
        return answers


class LanesTests(LanesTestCase):
    def test_verified_once(self):
        """What a lane verified the core does not verify again, and hears that it holds."""
        slice = self.slice(1, 10)
        self.go(slice)
        self.assertEqual((slice.state, self.verified, self.told), (CHECKING, [], 0))
        self.threads.finish()
        self.assertEqual((slice.state, len(self.verified), self.told), (CHECKED, 10, 1))
        self.assertEqual(self.judge(slice), [True] * 10)
        self.assertEqual(len(self.verified), 10)

    def test_not_verified(self):
        """What no lane has looked at is verified on the spot."""
        slice = self.slice(1, 10)
        self.assertEqual(self.judge(slice), [True] * 10)
        self.assertEqual(len(self.verified), 10)

    def test_other_bytes(self):
        """A signature that held says nothing of other bytes or another author."""
        slice = self.slice(1, 10)
        self.go(slice)
        self.threads.finish()
        self.lanes.at_hand = slice.found
        author, message, signature = self.sealer.claim(slice.frames[0][2:])
        self.assertTrue(self.lanes.verify(author, message, signature))
        self.assertFalse(self.lanes.verify(author, message + b"x", signature))
        self.assertFalse(self.lanes.verify(Identity(b"\x02" * 32).node_id, message, signature))

    def test_forged(self):
        """A lane leaves a slice at the first signature that is none, and the core finds that by itself."""
        slice = self.slice(1, 10)
        slice.frames[5] = slice.frames[5][:-1] + bytes([slice.frames[5][-1] ^ 1])
        self.go(slice)
        self.threads.finish()
        self.assertEqual(len(self.verified), 6)
        self.assertEqual(self.judge(slice), [True] * 5 + [False] + [True] * 4)

    def test_batches(self):
        """As many slices go to a thread as make a batch, and as many batches as there are threads."""
        half = self.slice(1, BATCH // 2)
        slices = [half, *(self.slice(1000 * n, BATCH) for n in range(1, 4))]
        self.go(*slices)
        self.assertEqual([each.state for each in slices], [CHECKING, CHECKING, CHECKING, WAITING])
        self.assertEqual(len(self.threads.waiting), 2)
        self.threads.finish(1)
        self.assertEqual([each.state for each in slices], [CHECKING, CHECKING, CHECKED, WAITING])
        self.go(slices[3])
        self.assertEqual(slices[3].state, CHECKING)

    def test_few(self):
        """A handful is not handed over, and may be verified by somebody else later."""
        slice = self.slice(1, FEW)
        self.go(slice)
        self.assertEqual((slice.state, self.threads.waiting), (CHECKED, []))
        self.go(self.slice(1, FEW + 1))
        self.threads.finish()
        self.assertEqual(len(self.verified), FEW + 1)

    def test_nothing_twice(self):
        """What is known, or under way in another slice, is not verified for this one."""
        known = [self.sealer.envelope_id(frame[2:]) for frame in self.slice(1, 10).frames]
        self.lanes.known = known.__contains__
        first, second = self.slice(1, 30), self.slice(1, 40)
        self.go(first, second)
        self.threads.finish()
        self.assertEqual([len(first.ids), len(second.ids), len(self.verified)], [20, 10, 30])
        self.lanes.leave(first)
        self.go(third := self.slice(1, 40))
        self.assertEqual(len(third.ids), 20)

    def test_other_frames(self):
        """Whatever is no envelope is left to the core."""
        slice = self.slice(1, 10)
        odd = [b"\x01", bytes([messages.PUSH_TAG]), bytes([messages.PUSH_TAG]) + bytes(20)]
        slice.frames[5:5] = [*odd, bytes([messages.PUSH_TAG]) + bytes(200_000)]
        self.go(slice)
        self.threads.finish()
        self.assertEqual(len(self.verified), 10)

    def test_a_lane_that_fails(self):
        """A lane that came to nothing leaves all of it to the core."""
        slice = self.slice(1, 10)
        self.go(slice)
        _, done = self.threads.waiting.pop()
        done([])
        self.assertEqual((slice.state, self.told), (CHECKED, 1))
        self.assertEqual(self.judge(slice), [True] * 10)
        self.go(again := self.slice(100, 10), self.slice(200, 40))
        self.assertEqual(again.state, CHECKING)

    def test_close(self):
        """After the end nobody is told of what lanes were at, and lanes can be used again."""
        slice = self.slice(1, 10)
        self.go(slice)
        self.lanes.close()
        self.threads.finish()
        self.assertEqual((self.threads.stops, self.told, slice.state), (1, 0, CHECKING))
        self.go(*(self.slice(1000 * n, BATCH) for n in range(1, 4)))
        self.assertEqual(len(self.threads.waiting), 2)

    def test_none(self):
        """Without threads nothing is taken, and closing is nothing."""
        lanes = Lanes(self.sealer, None)
        slice = self.slice(1, 100)
        lanes.go_ahead(iter([slice]), self.tell)
        lanes.close()
        self.assertEqual(slice.state, WAITING)


class Calls:
    """The part of a reactor that threads call."""

    def __init__(self):
        self.calls = []

    def callFromThread(self, *call):
        self.calls.append(call)


class PoolThreadsTests(SynchronousTestCase):
    def test_run(self):
        """Work is done in another thread, its result is for the reactor's, and a failure is logged; after `stop` there
        is no thread."""
        reactor = Calls()
        threads = PoolThreads(reactor, 2)
        before = threading.active_count()
        ran = []
        threads.run(lambda: ran.append(threading.current_thread()) or ["found"], ran.append)
        threads.run(lambda: 1 / 0, ran.append)
        threads.stop()
        self.assertEqual(threading.active_count(), before)
        (worker,) = ran
        self.assertIsNot(worker, threading.current_thread())
        self.assertTrue(worker.daemon)
        self.assertCountEqual(reactor.calls, [(ran.append, ["found"]), (ran.append, [])])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_again(self):
        """After `stop` it can be used again; `stop` without anything before is nothing."""
        threads = PoolThreads(reactor := Calls(), 1)
        threads.stop()
        for _ in range(2):
            threads.run(list, len)
            threads.stop()
        self.assertEqual(len(reactor.calls), 2)

    def test_virtual_time(self):
        """Under a clock that no thread can call there are none."""
        self.assertIsNone(threads_for(Clock()))
