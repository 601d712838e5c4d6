"""One subscriber: order, patience, memory, and its exceptions."""

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from positron.services.subscriptions import MAX_WAITING, Subscription
from positron.services.values import Message, message_id

AUTHOR = b"a" * 32


def message(seq, late=False):
    return Message(
        topic="t",
        data=seq,
        payload=b"",
        author="author",
        id=message_id("author", 7, seq),
        seq=seq,
        created=0.0,
        hops=1,
        received=0.0,
        late=late,
    )


class FakeArchive:
    """Holds messages by number, `page` to an envelope; those in `gone` are lost."""

    def __init__(self, page=10, gone=()):
        self.page = page
        self.gone = set(gone)
        self.told = []
        self.failures = []
        self.ended = []
        self.reads = []
        self.answer = None

    def read(self, subscription, span):
        self.reads.append(span.first)
        if span.first in self.gone:
            return succeed(([], 1))
        last = min(span.last, (span.first // self.page + 1) * self.page - 1)
        found = [message(seq, span.late) for seq in range(span.first, last + 1)]
        result = found, last - span.first + 1
        if self.answer is not None:
            return self.answer.addCallback(lambda _: result)
        return succeed(result)

    def lagged(self, subscription, skipped):
        self.told.append(skipped)

    def failed(self, subscription, failure):
        self.failures.append(failure)

    def cancelled(self, subscription):
        self.ended.append(subscription)


class SubscriptionTests(SynchronousTestCase):
    def setUp(self):
        self.archive = FakeArchive()
        self.got = []
        self.hold = None

    def take(self, message):
        self.got.append(message.data)
        return self.hold

    def subscription(self, got=None, **options):
        return Subscription("t", got or self.take, self.archive, **options)

    def offer(self, subscription, *numbers):
        for seq in numbers:
            subscription.offer(message(seq), AUTHOR, 7)

    def test_at_once(self):
        """A subscriber that returns nothing has each message in the call that brings it."""
        self.offer(self.subscription(), 1, 2, 3)
        self.assertEqual(self.got, [1, 2, 3])

    def test_one_at_a_time(self):
        """The next message waits for what the last one returned, a Deferred or a coroutine."""
        first, self.hold = Deferred(), None
        self.hold = first
        subscription = self.subscription()
        self.offer(subscription, 1, 2, 3)
        self.assertEqual(self.got, [1])
        self.hold = None
        first.callback(None)
        self.assertEqual(self.got, [1, 2, 3])

        async def slowly(message):
            self.got.append(message.data)
            await waiting

        waiting = Deferred()
        self.got.clear()
        self.offer(self.subscription(slowly), 1, 2)
        self.assertEqual(self.got, [1])
        waiting.callback(None)
        self.assertEqual(self.got, [1, 2])

    def test_exceptions(self):
        """However a subscriber fails, it is reported and the next message follows."""

        async def late_failure(message):
            raise ValueError("coroutine")

        def failing(message):
            self.got.append(message.data)
            if message.data == 1:
                raise ValueError("call")
            return fail(ValueError("Deferred")) if message.data == 2 else late_failure(message)

        subscription = self.subscription(failing)
        self.offer(subscription, 1, 2, 3, 4)
        self.assertEqual(self.got, [1, 2, 3, 4])
        self.assertEqual(
            [str(failure.value) for failure in self.archive.failures],
            ["call", "Deferred", "coroutine", "coroutine"],
        )
        self.assertEqual(subscription.errors, 4)

    def test_a_message_that_brings_another(self):
        """What is delivered from within a subscriber comes after it, not inside it."""
        depth = []

        def nested(message):
            depth.append(message.data)
            if message.data == 1:
                self.offer(subscription, 2)
                self.assertEqual(depth, [1])

        subscription = self.subscription(nested)
        self.offer(subscription, 1)
        self.assertEqual(depth, [1, 2])

    def test_thousands_that_wait_need_no_stack(self):
        """A long queue of subscribers' Deferreds that have fired already is worked off in a loop."""
        self.hold = Deferred()
        subscription = self.subscription(lambda m: (self.got.append(m.data), self.hold)[1])
        self.offer(subscription, *range(1, 1001))
        first, self.hold = self.hold, succeed(None)
        first.callback(None)
        self.assertEqual(len(self.got), 1000)

    def test_cancel(self):
        """Nothing comes after cancel, also of what waited; again is no harm."""
        self.hold = waiting = Deferred()
        subscription = self.subscription()
        self.offer(subscription, 1, 2)
        subscription.cancel()
        subscription.cancel()
        waiting.callback(None)
        self.offer(subscription, 3)
        self.assertEqual(self.got, [1])
        self.assertEqual(self.archive.ended, [subscription])

    def test_falls_behind_and_catches_up(self):
        """What does not fit in memory is told once and read from the store, in order, each once."""
        self.hold = waiting = Deferred()
        subscription = self.subscription()
        total = MAX_WAITING + 500
        self.offer(subscription, *range(1, total + 1))
        self.assertEqual(self.archive.told, [1])
        self.assertEqual(self.archive.reads, [])
        self.hold = None
        waiting.callback(None)
        self.assertEqual(self.got, list(range(1, total + 1)))
        self.assertEqual(self.archive.told, [1])

    def test_comes_in_while_catching_up(self):
        """While the store is being read, new messages queue up behind what is read."""
        self.hold = waiting = Deferred()
        subscription = self.subscription()
        total = MAX_WAITING + 25
        self.offer(subscription, *range(1, total + 1))
        self.hold = None
        self.archive.answer = answer = Deferred()
        waiting.callback(None)
        self.offer(subscription, total + 1, total + 2)
        self.archive.answer = None
        answer.callback(None)
        self.assertEqual(self.got, list(range(1, total + 3)))

    def test_gone_from_the_store(self):
        """What the store does not have either is passed over, and told."""
        self.archive.gone = {MAX_WAITING + 6, MAX_WAITING + 7}  # where a page begins
        self.hold = waiting = Deferred()
        subscription = self.subscription()
        self.offer(subscription, *range(1, MAX_WAITING + 11))
        self.hold = None
        waiting.callback(None)
        self.assertEqual(self.archive.told, [1, 2])
        self.assertEqual(len(self.got), MAX_WAITING + 8)

    def test_history_comes_first_and_once(self):
        """Live messages wait for history; one that is in both is delivered once, also when it comes later."""
        subscription = self.subscription(history=5)
        subscription.hold()
        self.offer(subscription, 4, 5)
        self.assertEqual(self.got, [])
        subscription.replay([message(2), message(3), message(4), message(9)])
        self.assertEqual(self.got, [2, 3, 4, 9, 5])
        self.offer(subscription, 9, 10)
        self.assertEqual(self.got, [2, 3, 4, 9, 5, 10])

    def test_patterns(self):
        """A pattern's subscriber wants what it matches; one of direct messages no topic at all."""
        wants = Subscription("a/#", self.take, self.archive).wants
        self.assertEqual(
            [wants(topic) for topic in ("a", "a/b", "ab", "b", "")], [True, True, False, False, False]
        )
        everything = Subscription("#", self.take, self.archive).wants
        self.assertTrue(everything("") and everything("x/y"))
        self.assertFalse(Subscription("", self.take, self.archive, direct=True).wants(""))
