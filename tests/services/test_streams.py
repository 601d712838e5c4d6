"""`async for` over messages and notices: one reader, bounded, and it ends."""

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from positron.core.events import Emit
from positron.core.notices import Lagged, PeerDown
from positron.services.notices import Notices
from positron.services.streams import MessageStream
from positron.services.subscriptions import MAX_WAITING, Subscription
from tests.services.test_subscriptions import AUTHOR, FakeArchive, message


def notice(number):
    return PeerDown(node_id=str(number), reason="test")


class MessageStreamTests(SynchronousTestCase):
    def setUp(self):
        self.archive = FakeArchive()
        self.ended = []
        self.stream = MessageStream(self.subscribe, self.ended.append)

    def subscribe(self, got):
        self.subscription = Subscription("t", got, self.archive)
        return self.subscription

    def offer(self, *numbers):
        for seq in numbers:
            self.subscription.offer(message(seq), AUTHOR, 7)

    def test_reads_in_order(self):
        """What came before and what comes while reading, until it is closed."""
        seen = []

        async def read():
            async with self.stream as stream:
                async for each in stream:
                    seen.append(each.data)
                    if each.data == 4:
                        break

        self.offer(1, 2)
        reading = Deferred.fromCoroutine(read())
        self.assertEqual(seen, [1, 2])
        self.offer(3, 4, 5)
        self.successResultOf(reading)
        self.assertEqual(seen, [1, 2, 3, 4])
        self.assertFalse(self.subscription.active)
        self.assertEqual(self.ended, [self.stream])

    def test_ends(self):
        """A reader that waits when the stream ends leaves its loop."""

        async def read():
            return [each async for each in self.stream]

        reading = Deferred.fromCoroutine(read())
        self.stream.finish()
        self.assertEqual(self.successResultOf(reading), [])
        self.failureResultOf(self.stream.__anext__(), StopAsyncIteration)

    def test_what_waits_can_still_be_read(self):
        """When the node stops, a reader that is behind gets what waits in memory; when it is closed, nothing."""
        self.offer(1, 2, 3)
        self.stream.finish()
        self.assertEqual([self.successResultOf(self.stream.__anext__()).data for _ in range(2)], [1, 2])
        self.stream.close()
        self.failureResultOf(self.stream.__anext__(), StopAsyncIteration)

    def test_cancelling_a_read_loses_nothing(self):
        """The next read gets what the cancelled one would have."""
        first = self.stream.__anext__()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.offer(1)
        self.assertEqual(self.successResultOf(self.stream.__anext__()).data, 1)

    def test_one_reader(self):
        """A second read at the same time is the caller's mistake."""
        self.stream.__anext__()
        self.assertRaises(RuntimeError, self.stream.__anext__)

    def test_memory_is_bounded(self):
        """A stream that nobody reads falls behind like any subscriber, and gets everything when it is read."""
        total = MAX_WAITING + 100
        self.offer(*range(1, total + 1))
        self.assertEqual(self.archive.told, [1])
        read = [self.successResultOf(self.stream.__anext__()).data for _ in range(total)]
        self.assertEqual(read, list(range(1, total + 1)))


class NoticesTests(SynchronousTestCase):
    def test_listeners(self):
        """Each hears each notice until it cancels; one that raises is logged once and called again."""
        notices, heard = Notices(), []

        def failing(_):
            raise ValueError("mine")

        broken = notices.listen(failing)
        listener = notices.listen(heard.append)
        notices.perform(Emit(notice(1)))
        notices.tell(notice(2))
        listener.cancel()
        listener.cancel()
        notices.tell(notice(3))
        self.assertEqual([each.node_id for each in heard], ["1", "2"])
        self.assertEqual(broken.errors, 3)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_listeners_may_be_coroutines(self):
        """They run, nobody waits for them, and what they raise is logged once."""
        notices, heard, wait = Notices(), [], Deferred()

        async def slow(notice):
            heard.append(notice.node_id)
            await wait
            raise ValueError("mine")

        listener = notices.listen(slow)
        notices.tell(notice(1))
        notices.tell(notice(2))
        self.assertEqual((heard, listener.errors), (["1", "2"], 0))
        wait.callback(None)
        self.assertEqual(listener.errors, 2)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertRaises(TypeError, notices.listen, None)

    def test_slow_stream(self):
        """1,024 notices wait; then the oldest go, and the reader is told how many."""
        notices = Notices()
        stream = notices.stream()
        for number in range(MAX_WAITING + 3):
            notices.tell(notice(number))
        read = self.successResultOf(stream.__anext__())
        self.assertEqual(read, Lagged(topic="", skipped=3))
        self.assertEqual(self.successResultOf(stream.__anext__()).node_id, "3")

    def test_finish(self):
        """When the node stops, what waits can still be read, then the stream ends; a new one works."""
        notices = Notices()
        stream = notices.stream()
        notices.tell(notice(1))
        notices.finish()
        notices.tell(notice(2))
        self.assertEqual(self.successResultOf(stream.__anext__()).node_id, "1")
        self.failureResultOf(stream.__anext__(), StopAsyncIteration)
