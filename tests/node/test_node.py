"""Whole nodes over memory and virtual time: what an application is promised."""

import os
import sys

from attrs import asdict
from attrs.exceptions import FrozenInstanceError
from twisted.internet.defer import CancelledError, Deferred, fail, race
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.logger import LogLevel, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from positron.core import events
from positron.core.identity import to_text
from positron.core.notices import Gap, PeerDown
from positron.errors import (
    ClockSkew,
    DeliveryTimeout,
    NoPeers,
    NotRunning,
    PayloadTooLarge,
    StoreError,
    UnknownPeer,
)
from positron.testing import MemoryNetwork


class NetworkTestCase(SynchronousTestCase):
    """Stops what a test started and sees that nothing is left."""

    def setUp(self):
        self.clock = Clock()
        self.network = MemoryNetwork(self.clock)
        self.addCleanup(self.stop)

    def stop(self):
        self.network.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def start(self, *names, **options):
        """Nodes of these names that are started and know the first."""
        nodes = []
        for name in names:
            node = self.network.node(name, bootstrap=[names[0]] if name != names[0] else [], **options)
            node.startService()
            self.network.wait(node.when_ready())
            nodes.append(node)
        for node in nodes:
            self.network.wait(node.when_peers(min(1, len(nodes) - 1)))
        return nodes

    def listen(self, node, topic="#", **options):
        """What `node` hears of `topic` from now on."""
        heard = []
        node.subscribe(topic, heard.append, **options)
        return heard


class ClosedTests(NetworkTestCase):
    def test_secrets_that_others_may_read(self):
        """T39: they close the network all the same, and the log says what to do about them, once a start."""
        path = os.path.abspath(self.mktemp())
        with open(path, "w") as file:
            file.write("mfrggzdfmztwq2lknnwg23tpob\n")
        logged = []
        globalLogPublisher.addObserver(logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, logged.append)
        for mode, warnings in ((0o600, 0), (0o640, 2)):
            os.chmod(path, mode)
            del logged[:]
            nodes = self.start("a", "b", secret_file=path)
            said = [formatEvent(event) for event in logged if event["log_level"] is LogLevel.warn]
            sentence = f"secret_file: {path} is open to other users: chmod 600 {path}"
            self.assertEqual(said, [sentence] * warnings)
            for node in nodes:
                self.network.wait(node.stopService())


class TalkingTests(NetworkTestCase):
    def test_a_message_arrives_once(self):
        """Everybody hears it once, its author too, with everything a message has."""
        nodes = self.start("a", "b", "c")
        heard = [self.listen(node) for node in nodes]
        self.network.wait(nodes[1].when_peers(2))
        receipt = self.network.wait(nodes[1].publish("weather", {"temp": 21}))
        self.network.run(5)
        self.assertEqual([len(messages) for messages in heard], [1, 1, 1])
        self.assertEqual(receipt.peers, 2)
        for messages in heard:
            message = messages[0]
            self.assertEqual((message.topic, message.data), ("weather", {"temp": 21}))
            self.assertEqual((message.author, message.seq), (nodes[1].node_id, 1))
            self.assertEqual(message.id, receipt.id)
            self.assertFalse(message.late)
        self.assertEqual(heard[1][0].hops, 0)
        self.assertGreaterEqual(heard[0][0].hops, 1)
        self.assertGreater(heard[0][0].received, heard[0][0].created)

    def test_order(self):
        """Many messages of one author arrive in the order in which they were published."""
        a, b = self.start("a", "b")
        heard = self.listen(b, "n")
        for number in range(700):
            self.network.wait(a.publish("n", number))
        self.network.run(5)
        self.assertEqual([message.data for message in heard], list(range(700)))
        self.assertEqual([message.seq for message in heard], list(range(1, 701)))

    def test_patterns(self):
        """A topic, a tree of topics, everything; a broadcast is the topic of no name."""
        a, b = self.start("a", "b")
        exact, tree, everything = self.listen(b, "a"), self.listen(b, "a/#"), self.listen(b)
        unnamed = self.listen(b, "")
        for topic in ("a", "a/b", "ab"):
            a.publish(topic, topic)
        a.broadcast("all")
        self.network.run(1)
        self.assertEqual([message.data for message in exact], ["a"])
        self.assertEqual([message.data for message in tree], ["a", "a/b"])
        self.assertEqual([message.data for message in everything], ["a", "a/b", "ab", "all"])
        self.assertEqual([message.data for message in unnamed], ["all"])
        topics = {topic.topic: (topic.subscribers, topic.messages_total) for topic in b.topics()}
        self.assertEqual(
            topics, {"": (2, 1), "#": (1, 0), "a": (3, 1), "a/#": (2, 0), "a/b": (2, 1), "ab": (1, 1)}
        )

    def test_published_before_there_was_anybody(self):
        """What is published with no peers is kept, and reaches the first that links."""
        (a,) = self.start("a")
        receipt = self.network.wait(a.publish("t", "early"))
        self.assertEqual(receipt.peers, 0)
        b = self.network.node("b", bootstrap=["a"])
        heard = self.listen(b, history=10)
        b.startService()
        self.network.run(10)
        self.assertEqual([message.data for message in heard], ["early"])

    def test_published_while_everybody_starts(self):
        """What was published just before a link was up comes in time to be in order: no gap is told."""
        a, b = self.network.node("a"), self.network.node("b", bootstrap=["a"])
        heard, told = self.listen(b), []
        b.on_event(told.append)
        a.startService()
        b.startService()
        for number in range(30):
            self.network.wait(a.publish("n", number))
            self.network.run(0.1)
        self.assertEqual([(message.data, message.late) for message in heard], [(n, False) for n in range(30)])
        self.assertEqual([notice for notice in told if isinstance(notice, Gap)], [])

    def test_history_is_for_those_who_ask(self):
        """What was published before a node ever started reaches its subscribers with history, and no others."""
        (a,) = self.start("a")
        self.network.wait(a.publish("t", "before"))
        self.network.run(1)
        b = self.network.node("b", bootstrap=["a"])
        plain, full = self.listen(b), self.listen(b, history=10)
        b.startService()
        self.network.run(10)
        self.network.wait(a.publish("t", "after"))
        self.network.run(5)
        self.assertEqual([message.data for message in plain], ["after"])
        self.assertEqual([message.data for message in full], ["before", "after"])

    def test_data_is_a_copy_for_each_subscriber(self):
        """A subscriber that changes its message changes nobody else's."""
        (a,) = self.start("a")
        a.subscribe("t", lambda message: message.data.append("mine"))
        heard = self.listen(a, "t")
        a.publish("t", [1])
        self.network.run(1)
        self.assertEqual(heard[0].data, [1])

    def test_a_subscriber_that_raises(self):
        """It is logged once with its traceback and counted; others, and later messages, are not affected."""
        (a,) = self.start("a")
        calls = []

        def failing(message):
            calls.append(message.data)
            raise ValueError("the application's")

        a.subscribe("t", failing)
        heard = self.listen(a, "t")
        for number in range(3):
            a.publish("t", number)
        self.network.run(1)
        self.assertEqual(calls, [0, 1, 2])
        self.assertEqual(len(heard), 3)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(a.stats().subscriber_errors_total, 3)

    def test_a_subscriber_that_exits(self):
        """`sys.exit()` is an exception like others, in a subscriber and in a listener for what happens."""
        a, b = self.start("a", "b")
        calls, told = [], []

        def exiting(message):
            calls.append(message.data)
            sys.exit(1)

        b.subscribe("t", exiting)
        heard = self.listen(b, "t")
        b.on_event(lambda _: sys.exit(2))
        b.on_event(told.append)
        for number in range(3):
            self.network.wait(a.publish("t", number))
            self.network.run(0.1)
        self.network.wait(a.stopService())
        self.network.run(1)
        self.assertEqual(calls, [0, 1, 2])
        self.assertEqual(len(heard), 3)
        self.assertEqual([notice.reason for notice in told], ["leaving"])
        self.assertEqual(len(self.flushLoggedErrors(SystemExit)), 2)

    def test_publishing_from_a_subscriber(self):
        """An answer published while a message is being delivered goes out after it."""
        a, b = self.start("a", "b")
        b.subscribe("question", lambda message: b.publish("answer", message.data + 1))
        heard = self.listen(a, "answer")
        a.publish("question", 1)
        self.network.run(1)
        self.assertEqual([message.data for message in heard], [2])

    def test_stored(self):
        """A receipt's second half fires once the store has the message, however often it is asked."""
        (a,) = self.start("a")
        receipt = self.network.wait(a.publish("t", 1))
        self.network.wait(receipt.stored)
        self.network.wait(receipt.stored)
        self.assertEqual([message.id for message in self.network.wait(a.history("t"))], [receipt.id])

    def test_refused_at_the_call(self):
        """The caller's mistakes are raised, and nothing was published."""
        (a,) = self.start("a")
        self.assertRaises(PayloadTooLarge, a.publish, "t", b"x" * 70_000)
        self.assertRaises(PayloadTooLarge, a.publish, "t" * 129, 1)
        self.assertRaises(TypeError, a.publish, "t", float("nan"))
        self.assertRaises(TypeError, a.publish, "t", object())
        self.assertRaises(TypeError, a.subscribe, "t", None)
        self.assertRaises(ValueError, a.subscribe, "t", print, history=-1)
        self.network.run(1)
        self.assertEqual(a.status()["messages"]["published_total"], 0)

    def test_no_peers(self):
        """`min_peers` is a demand, not a wish."""
        a, _ = self.start("a", "b")
        self.network.wait(a.publish("t", 1, min_peers=1))
        self.failureResultOf(a.publish("t", 1, min_peers=2), NoPeers)

    def test_history(self):
        """The newest of a topic, oldest first; a subscription with history has them before what is live, each once."""
        a, b = self.start("a", "b")
        for number in range(10):
            self.network.wait(a.publish("t", number))
            a.publish("other", number)
            self.network.run(0.1)
        found = self.network.wait(b.history("t", limit=3))
        self.assertEqual([message.data for message in found], [7, 8, 9])
        heard = self.listen(b, "t", history=5)
        a.publish("t", 10)
        self.network.run(1)
        self.assertEqual([message.data for message in heard], [5, 6, 7, 8, 9, 10])
        message = self.network.wait(b.message(found[0].id))
        self.assertEqual((message["topic"], message["seq"], message["hops"]), ("t", found[0].seq, 1))
        self.assertIsNone(self.network.wait(b.message(f"{a.node_id}.1.1")))

    def test_a_message_is_the_same_from_the_store(self):
        """What is delivered equals what history gives, field by field, says so, and cannot be changed."""
        a, b = self.start("a", "b")
        heard = self.listen(b)
        a.publish("t", {"one": 1})
        a.publish("u", [2] * 100)
        self.network.run(1)
        found = self.network.wait(b.history("#"))
        self.assertEqual(len(heard), 2)
        self.assertEqual(heard, found)
        self.assertEqual([asdict(message) for message in heard], [asdict(message) for message in found])
        self.assertEqual(repr(heard), repr(found))
        self.assertRaises(FrozenInstanceError, setattr, heard[0], "data", 3)

    def test_a_bundle_counts_its_messages(self):
        """Everything published in one turn travels as one envelope and is still that many messages."""
        a, b = self.start("a", "b")
        heard = self.listen(b)
        for number in range(50):
            a.publish("t", number)
        self.network.run(1)
        self.assertEqual(len(heard), 50)
        self.assertEqual(b.status()["store"]["messages"], 50)
        self.assertEqual(b.status()["store"]["envelopes"], 1)
        self.assertEqual(b.status()["messages"]["received_total"], 50)

    def test_slow_subscriber(self):
        """A subscriber that takes its time gets everything; who cares is told that it lags."""
        a, b = self.start("a", "b")
        seen, waiting = [], []
        notices = []
        b.on_event(notices.append)

        def slow(message):
            seen.append(message.data)
            waiting.append(Deferred())
            return waiting[-1]

        b.subscribe("t", slow)
        for number in range(1500):
            self.network.wait(a.publish("t", number))
        self.network.run(5)
        self.assertEqual(seen, [0])
        while waiting:
            waiting.pop().callback(None)
        self.assertEqual(seen, list(range(1500)))
        self.assertEqual([type(notice).__name__ for notice in notices], ["Lagged"])

    def test_streams(self):
        """`async for` over messages, with history, and over events."""
        a, b = self.start("a", "b")
        self.network.wait(a.publish("chat/x", "old"))
        self.network.run(1)

        async def read(wanted):
            async with b.messages("chat/#", history=10) as stream:
                found = []
                async for message in stream:
                    found.append(message.data)
                    if len(found) == wanted:
                        return found

        async def watch():
            async with a.events() as stream:
                return [notice async for notice in stream]

        reading = Deferred.fromCoroutine(read(2))
        watching = Deferred.fromCoroutine(watch())
        a.publish("chat/y", "new")
        self.network.run(1)
        self.assertEqual(self.successResultOf(reading), ["old", "new"])
        self.network.wait(b.stopService())
        self.network.run(1)
        self.network.wait(a.stopService())
        self.assertEqual(self.successResultOf(watching), [PeerDown(node_id=b.node_id, reason="leaving")])


class DirectTests(NetworkTestCase):
    def test_send(self):
        """A direct message reaches its recipient alone, and its sender knows when."""
        a, b, c = self.start("a", "b", "c")
        heard = {node: [] for node in (a, b, c)}
        for node in heard:
            node.on_direct(heard[node].append)
        broadcasts = self.listen(b)
        acknowledgement = self.network.wait(a.send(b.node_id, ["for", "you"]))
        self.assertEqual([len(messages) for messages in heard.values()], [0, 1, 0])
        message = heard[b][0]
        self.assertEqual((message.data, message.author, message.topic), (["for", "you"], a.node_id, ""))
        self.assertEqual(acknowledgement.id, message.id)
        self.assertGreater(acknowledgement.rtt_seconds, 0.019)
        self.assertEqual(broadcasts, [])

    def test_not_a_neighbour(self):
        """A chain: the ends have no link to each other, and reach each other."""
        a = self.network.node("a", discovery=False)
        b = self.network.node("b", discovery=False, bootstrap=["a"])
        c = self.network.node("c", discovery=False, bootstrap=["b"])
        for node in (a, b, c):
            node.startService()
        self.network.run(1)
        self.assertEqual([len(node.peers()) for node in (a, b, c)], [1, 2, 1])
        heard = []
        c.on_direct(heard.append)
        self.network.wait(a.send(c.node_id, "hello"))
        self.assertEqual([message.data for message in heard], ["hello"])

    def test_nobody_there(self):
        """It says so after the timeout; what is no id is refused at the call."""
        a, _ = self.start("a", "b")
        stranger = self.network.identity("stranger").node_id
        began = self.clock.seconds()
        self.assertRaises(DeliveryTimeout, self.network.wait, a.send(stranger, 1, timeout=3))
        self.assertApproximates(self.clock.seconds() - began, 3, 0.1)
        for wrong in ("", "zz", "z" * 52, b"short", "0" * 52):
            self.assertRaises(UnknownPeer, a.send, wrong, 1)
        self.assertRaises(ValueError, a.send, stranger, 1, timeout=0)

    def test_oneself(self):
        """A node is no peer of its own: what would come to nothing is refused at the call, and counts nowhere."""
        a, b = self.start("a", "b")
        own = self.network.identity("a").node_id
        for each in (a.node_id, own):
            self.assertRaises(ValueError, a.send, each, 1)
            self.assertRaises(ValueError, a.ban_peer, each, 60)
            self.assertRaises(ValueError, a.set_trust, each, 1.0)
            for verdict in (a.drop_peer, a.forget_peer):
                self.assertRaises(UnknownPeer, verdict, each)
            self.assertRaises(UnknownPeer, self.network.wait, a.ping(each))
        self.assertEqual(a.status()["peers"]["banned"], 0)
        self.assertNotIn(a.node_id, [view.node_id for view in a.trust()])
        self.network.wait(a.send(b.node_id, 1))

    def test_beginning_of_an_id(self):
        """Four characters stand for a node while they fit only one."""
        a, b = self.start("a", "b")
        self.assertGreater(self.network.wait(a.ping(b.node_id[:4])), 0.019)
        self.assertRaises(UnknownPeer, a.ping, b.node_id[:3])
        self.network.wait(a.send(bytes(self.network.identity("b").node_id), 1))


class CancelTests(NetworkTestCase):
    def test_every_wait_can_be_cancelled(self):
        """Cancelling ends the wait and nothing else."""
        a, b = self.start("a", "b")
        heard = []
        b.on_direct(heard.append)
        waits = [
            a.send(b.node_id, "sent all the same"),
            a.ping(b.node_id),
            a.when_peers(5),
            b.messages("t").__anext__(),
        ]
        for waiting in waits:
            waiting.cancel()
            self.failureResultOf(waiting, CancelledError)
        self.network.run(1)
        self.assertEqual([message.data for message in heard], ["sent all the same"])
        self.network.wait(a.ping(b.node_id))

    def test_one_that_fires_cancels_the_others(self):
        """Whoever is told first may give up the rest, as `race` does, and harms nobody."""
        a, _ = self.start("a", "b")
        soon = race([a.when_peers(2), a.when_peers(2)])
        waits = []
        stranger = self.network.identity("stranger").node_id
        waits += [a.send(stranger, "x", timeout=100) for _ in range(3)] + [a.when_peers(9) for _ in range(3)]
        for wait in waits:
            wait.addErrback(lambda _: [each.cancel() for each in waits])
        self.network.node("c", bootstrap=["a"]).startService()
        self.assertEqual(self.network.wait(soon)[0], 0)
        self.network.wait(a.stopService())
        self.assertTrue(all(each.called for each in waits))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_when_ready(self):
        """Cancelling one wait for the start leaves the others, and the start, alone."""
        a = self.network.node("a")
        one, other = a.when_ready(), a.when_ready()
        one.cancel()
        self.failureResultOf(one, CancelledError)
        a.startService()
        self.assertIs(self.network.wait(other), a)


class LookingTests(NetworkTestCase):
    def test_status(self):
        """The keys of `positron status`, and what they count."""
        a, b = self.start("a", "b")
        self.network.wait(a.publish("t", 1))
        self.network.run(10)
        status = b.status()
        self.assertEqual(
            list(status),
            [
                "node_id",
                "network",
                "version",
                "ready",
                "uptime_seconds",
                "clock_skew_seconds",
                "listen",
                "peers",
                "messages",
                "rejected",
                "store",
            ],
        )
        self.assertEqual(
            status["peers"], {"up": 1, "suspect": 0, "known": 1, "banned": 0, "inbound": 0, "outbound": 1}
        )
        self.assertEqual(
            set(status["messages"]),
            {
                f"{name}_total"
                for name in ("published received delivered duplicate rejected relayed recovered gaps".split())
            },
        )
        self.assertEqual((status["ready"], status["listen"]), (True, ["10.0.0.2:8888"]))
        self.assertGreater(status["uptime_seconds"], 10)
        self.assertEqual(set(status["store"]), {"messages", "envelopes", "bytes"})

    def test_peers(self):
        """A link as both sides see it."""
        a, b = self.start("a", "b")
        self.network.wait(a.publish("t", "x" * 1000))
        self.network.run(10)
        (of_a,), (of_b,) = b.peers(), a.peers()
        self.assertEqual((of_a.node_id, of_a.direction, of_a.state), (a.node_id, "out", "up"))
        self.assertEqual((of_b.node_id, of_b.direction, of_b.state), (b.node_id, "in", "up"))
        self.assertEqual(of_a.address, "10.0.0.1:8888")
        self.assertApproximates(of_a.rtt_seconds, 0.02, 0.005)
        self.assertEqual(of_a.messages_in_total, 1)
        self.assertGreater(of_a.bytes_in_total, 1000)
        self.assertEqual(of_a.bytes_in_total, of_b.bytes_out_total)
        self.assertApproximates(of_a.connected_seconds, 10, 1)
        self.assertEqual(of_a.trust, b.trust(a.node_id).trust)

    def test_trust(self):
        """The operator's verdict counts at once, and stands in the history."""
        a, b = self.start("a", "b")
        b.set_trust(a.node_id, 0.7)
        self.network.run(2)
        self.assertApproximates(b.trust(a.node_id).first_hand, 0.7, 0.01)
        self.assertIn(a.node_id, [view.node_id for view in b.trust()])
        rows = self.network.wait(b.trust_history(a.node_id))
        self.assertEqual(set(rows[-1]), {"time", "cause", "count", "delta", "before", "after"})
        self.assertAlmostEqual(rows[-1]["after"], 0.7, places=3)
        self.assertRaises(ValueError, b.set_trust, a.node_id, 1.5)

    def test_drop_ban_forget(self):
        """What an operator can do to a peer, and that it says so when there is none."""
        a, b = self.start("a", "b")
        notices = []
        b.on_event(notices.append)
        b.ban_peer(a.node_id, 60)
        self.network.run(1)
        self.assertEqual(b.peers(), [])
        self.assertEqual(b.status()["peers"]["banned"], 1)
        self.assertIn("banned", [peer.state for peer in b.known_peers()])
        self.assertIn("PeerDown", [type(notice).__name__ for notice in notices])
        self.assertRaises(UnknownPeer, b.drop_peer, a.node_id)
        self.assertRaises(UnknownPeer, b.forget_peer, self.network.identity("stranger").node_id)
        b.ban_peer(a.node_id, 0)
        b.add_peer("10.0.0.1:8888")
        self.network.run(30)
        self.assertEqual([peer.node_id for peer in b.peers()], [a.node_id])
        self.assertRaises(ValueError, b.add_peer, "nonsense")

    def test_add_somebody_certain(self):
        """An address with an id before it is a link to that node or to none."""
        a, b = (self.start(name, discovery=False)[0] for name in "ab")
        b.add_peer(f"{to_text(self.network.identity('stranger').node_id)}@{a.address}")
        self.network.run(5)
        self.assertEqual(b.peers(), [])
        b.add_peer(f"{a.node_id}@{a.address}")
        self.network.run(5)
        self.assertEqual([peer.node_id for peer in b.peers()], [a.node_id])

    def test_clock(self):
        """A wrong clock shows in status, and one that is hopeless does not publish into silence."""
        options = {"discovery": False}
        others = [self.network.node(name, **options) for name in "abc"]
        late = self.network.node("late", bootstrap=["a", "b", "c"], **options)
        for node in (*others, late):
            node.startService()
        self.network.wait(late.when_peers(3))
        self.network.run(15)
        self.assertApproximates(late.status()["clock_skew_seconds"], 0, 0.1)
        notices = []
        late.on_event(notices.append)
        late.clocks.ahead -= 25
        self.network.run(15)
        self.assertApproximates(late.status()["clock_skew_seconds"], -25, 0.5)
        self.assertIn("ClockSkewed", [type(notice).__name__ for notice in notices])
        self.failureResultOf(late.publish("t", 1), ClockSkew)
        late.clocks.ahead += 25
        self.network.run(15)
        self.network.wait(late.publish("t", 1))


class LifeTests(NetworkTestCase):
    def test_constructing_does_nothing(self):
        """No delayed call, no listener, no key; looking is allowed, talking is not."""
        a = self.network.node("a")
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual((a.node_id, a.ready, a.listen, a.peers()), ("", False, [], []))
        self.assertFalse(a.status()["ready"])
        self.failureResultOf(a.publish("t", 1), NotRunning)
        self.failureResultOf(a.send(self.network.identity("b").node_id, 1), NotRunning)
        self.failureResultOf(a.history("t"), NotRunning)
        self.failureResultOf(a.flush(), NotRunning)
        self.failureResultOf(a.backup("/nowhere/copy"), NotRunning)
        self.assertRaises(NotRunning, a.set_trust, self.network.identity("b").node_id, 1)

    def test_subscriptions_outlive_a_restart(self):
        """A stopped node can be started again, keeps its id, and hears what it missed."""
        a, b = self.start("a", "b")
        heard = self.listen(b)
        node_id = b.node_id
        self.network.wait(a.publish("t", 1))
        self.network.run(1)
        self.network.wait(b.stopService())
        self.failureResultOf(b.publish("t", 0), NotRunning)
        self.failureResultOf(b.history("t"), NotRunning)
        self.network.wait(a.publish("t", 2))
        self.network.run(20)
        b.startService()
        self.network.run(20)
        self.assertEqual(b.node_id, node_id)
        self.assertEqual([message.data for message in heard], [1, 2])
        receipt = self.network.wait(b.publish("t", 3))
        self.network.run(1)
        self.assertEqual([message.data for message in heard], [1, 2, 3])
        self.assertEqual(receipt.seq, 1)

    def test_peers_know_that_it_left(self):
        """A node that stops says so: its peers do not wait for it to fall silent."""
        a, b = self.start("a", "b")
        notices = []
        a.on_event(notices.append)
        self.network.wait(b.stopService())
        self.network.run(0.1)
        self.assertEqual(notices, [PeerDown(node_id=b.node_id, reason="leaving")])

    def test_stop_while_starting_and_start_while_stopping(self):
        """The last call decides, whatever is under way."""
        _, b = self.start("a", "b")
        stopped = b.stopService()
        again = b.stopService()
        b.startService()
        self.assertNoResult(stopped)
        self.network.wait(again)
        self.network.wait(b.when_ready())
        self.network.wait(b.when_peers(1))
        b.stopService()
        b.startService()
        last = b.stopService()
        self.network.wait(last)
        self.network.run(1)
        self.assertFalse(b.ready)
        self.assertEqual(b.listen, [])

    def test_stopped_and_started_in_a_hurry(self):
        """However often that is asked for in one turn, the node runs once in the end, and stops."""
        a, b = self.start("a", "b")
        heard = self.listen(b)
        for _ in range(3):
            a.stopService()
            a.startService()
        unwanted = a.when_ready()
        a.stopService()
        self.failureResultOf(unwanted, NotRunning)
        a.startService()
        self.network.wait(a.when_ready())
        self.network.wait(a.when_peers(1))
        self.network.wait(a.publish("t", 1))
        self.network.run(1)
        self.assertEqual([message.seq for message in heard], [1])
        self.assertEqual(len(b.peers()), 1)

    def test_stop_before_start(self):
        """Stopping a node that never ran is no harm; who waited for it is told."""
        a = self.network.node("a")
        waiting = a.when_ready()
        self.successResultOf(a.stopService())
        self.failureResultOf(waiting, NotRunning)

    def test_published_before_the_stop(self):
        """Everything that was published before a stop is accepted, kept and sent, however much it is."""
        a, b = self.start("a", "b")
        heard = self.listen(b)
        published = [a.publish("t", number) for number in range(10_000)]
        self.network.wait(a.stopService())
        receipts = [self.successResultOf(each) for each in published]
        self.assertEqual(receipts[-1].seq, 10_000)
        self.network.wait(receipts[-1].stored)
        self.network.run(10)
        self.assertEqual([message.data for message in heard], list(range(10_000)))

    def test_held_back_until_the_stop(self):
        """What waits for an earlier message when a node stops is delivered then, and the rest after the restart."""
        a, b = self.network.node("a"), self.network.node("b", bootstrap=["a"])
        heard, stream = self.listen(b), b.messages("n")
        a.startService()
        b.startService()
        for number in range(5):
            self.network.wait(a.publish("n", number))
            self.network.run(0.1)
        self.assertEqual(heard, [])  # the first was published before the link, and comes a second later
        self.network.wait(b.stopService())
        read = [self.successResultOf(anext(stream)).data for _ in range(4)]
        self.assertEqual(read, [1, 2, 3, 4])
        self.failureResultOf(anext(stream), StopAsyncIteration)
        b.startService()
        self.network.wait(b.when_peers(1))
        self.network.wait(a.publish("n", 5))
        self.network.run(10)
        self.assertEqual([message.data for message in heard], [1, 2, 3, 4, 5, 0])

    def test_flush_covers_what_was_just_accepted(self):
        """What `publish` accepted is kept when a later `flush` fires, sealed already or not, and is history."""
        (a,) = self.start("a")
        self.network.wait(a.publish("t", 0))
        self.assertEqual(len(self.successResultOf(a.history("t"))), 1)
        for number in range(1, 2_000):
            a.publish("t", number)
        flushed = a.flush()
        self.network.wait(flushed)
        self.assertEqual(a.stats().store["messages"], 2_000)
        self.network.wait(a.flush())

    def test_flushed_before_it_is_closed(self):
        """A stop writes what waits and then closes; a store that cannot write is logged and holds nothing up."""
        (a,) = self.start("a")
        store, calls = a._resources.store, []
        close = store.close
        store.flush = lambda: calls.append("flush") or fail(StoreError("the disk is full"))
        store.close = lambda: calls.append("close") or close()
        self.network.wait(a.stopService())
        self.assertEqual(calls, ["flush", "close"])

    def test_waits_end_with_the_node(self):
        """Nothing that was asked of a node stays unanswered when it stops."""
        a, _ = self.start("a", "b")
        stranger = self.network.identity("stranger").node_id
        waits = [a.when_peers(5), a.send(stranger, 1, timeout=100)]
        self.network.wait(a.stopService())
        for waiting in waits:
            self.failureResultOf(waiting, NotRunning)

    def test_stopped_from_a_subscriber(self):
        """A node may be stopped by what it delivers, and still says goodbye."""
        a, b = self.start("a", "b")
        notices, stopped = [], []
        a.on_event(notices.append)
        b.subscribe("stop", lambda message: stopped.append(b.stopService()))
        a.publish("stop", None)
        self.network.run(1)
        self.successResultOf(stopped[0])
        self.assertEqual(notices, [PeerDown(node_id=b.node_id, reason="leaving")])

    def test_leave(self):
        """`leave` stops an embedded node, or does what its program said."""
        a, b = self.start("a", "b")
        self.network.wait(a.leave())
        self.assertFalse(a.ready)
        left = []
        b.on_leave = lambda: left.append(True)
        b.leave()
        self.assertTrue(left and b.ready)

    def test_two_in_one_place(self):
        """A taken address raises in startService, and what waited is not left hanging."""
        a, _ = self.start("a", "b")
        del self.network.nodes["a"]
        twin = self.network.node("a")
        self.network.nodes["a"] = a
        self.assertRaises(CannotListenError, twin.startService)
        self.assertFalse(twin.running)

    def test_goodbye_cannot_be_waited_for_for_ever(self):
        """Peers that do not answer hold a stop up for a second, not more."""
        a, _ = self.start("a", "b")
        self.network.partition(["a"], ["b"])
        began = self.clock.seconds()
        self.network.wait(a.stopService())
        self.assertLess(self.clock.seconds() - began, 1.5)
        self.network.heal()


class TroubleTests(NetworkTestCase):
    def test_partition_heals(self):
        """Both sides of a partition go on, and have everything after it."""
        a, b, c = self.start("a", "b", "c")
        heard = {node: self.listen(node) for node in (a, b, c)}
        self.network.run(10)
        self.network.partition(["a"], ["b", "c"])
        self.network.run(30)
        self.assertEqual([len(node.peers()) for node in (a, b, c)], [0, 1, 1])
        a.publish("t", "from a")
        b.publish("t", "from b")
        self.network.run(10)
        self.network.heal()
        self.network.run(60)
        for messages in heard.values():
            self.assertEqual(sorted(message.data for message in messages), ["from a", "from b"])

    def test_loss_and_latency(self):
        """A bad line delays, and loses nothing."""
        self.network.latency = lambda source, target: 0.2 if source == "a" else 0.05
        self.network.loss = 0.2
        a, b = self.start("a", "b")
        heard = self.listen(b)
        for number in range(100):
            self.network.wait(a.publish("t", number))
            self.network.run(0.05)
        self.network.run(30)
        self.assertEqual([message.data for message in heard], list(range(100)))

    def test_undecodable(self):
        """A payload that is no msgpack is counted and goes to nobody; its bundle's other messages do."""
        a, b = self.start("a", "b")
        heard = self.listen(b)
        a.step(events.Publish(0, [("t", b"\xc1"), ("t", b"\x01")]))
        self.network.run(1)
        self.assertEqual([message.data for message in heard], [1])
        self.assertEqual(b.stats().undecodable_total, 1)
        self.assertEqual(len(b.peers()), 1)
