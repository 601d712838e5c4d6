"""Server-sent events: order, ids, resuming, and clients that do not read."""

from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from positron.control.resuming import MAX_MISSED
from positron.control.ring import CAPACITY
from positron.core.notices import Lagged
from tests.control.fake import ALICE, ME, message
from tests.control.http import ControlCase


def soon():
    """Let the reactor turn and other threads run."""
    return deferToThread(lambda: None)


class EventStreamTests(ControlCase):
    @inlineCallbacks
    def test_live(self):
        """What happens after the stream is open comes, with ids, and nothing from before."""
        self.node.emit(1)
        reader = self.reader("/v1/events")
        response = yield reader.open()
        self.assertEqual(response.getheader("content-type"), "text/event-stream; charset=utf-8")
        self.node.emit(2)
        self.node.emit(3)
        events = yield reader.events(2)
        self.assertEqual([data["address"] for _, _, data in events], ["10.0.0.2:8888", "10.0.0.3:8888"])
        expected = {"event": "PeerUp", "time": 1234.5, "node_id": ALICE, "direction": "out"}
        self.assertEqual({**events[0][2], **expected}, events[0][2])
        self.assertEqual([number for number, _, _ in events], ["1234500-2", "1234500-3"])

    @inlineCallbacks
    def test_resume(self):
        """Last-Event-ID goes on where a broken stream stopped."""
        for number in range(5):
            self.node.emit(number)
        reader = self.reader("/v1/events", {"Last-Event-ID": "1234500-3"})
        yield reader.open()
        events = yield reader.events(2)
        self.assertEqual([number for number, _, _ in events], ["1234500-4", "1234500-5"])

    @inlineCallbacks
    def test_lagged(self):
        """A client that comes back too late is told how many events it missed."""
        for number in range(CAPACITY + 5):
            self.node.emit(number)
        reader = self.reader("/v1/events", {"Last-Event-ID": "1234500-2"})
        yield reader.open()
        (_, kind, lagged), (first, _, _) = yield reader.events(2)
        self.assertEqual((kind, lagged["skipped"], first), ("lagged", 3, "1234500-6"))

    @inlineCallbacks
    def test_client_that_does_not_read(self):
        """A stalled client costs one transport buffer, not what is offered to it; then it hears what it missed."""
        reader = self.reader("/v1/events")
        yield reader.open()
        (stream,) = self.control._streams
        total = 40 * CAPACITY
        for number in range(total):
            self.node.emit(number)
        self.assertTrue(stream.paused)
        transport = stream._request.channel.transport
        waiting = len(transport.dataBuffer) + sum(map(len, transport._tempDataBuffer))
        self.assertTrue(waiting < 256 * 1024, waiting)
        got, skipped = 0, 0
        while got + skipped < total:
            ((_, kind, data),) = yield reader.events(1)
            got, skipped = got + (kind == "event"), skipped + data.get("skipped", 0)
        self.assertEqual(got + skipped, total)
        self.assertTrue(skipped > 0)

    @inlineCallbacks
    def test_stop_ends_streams(self):
        """Stopping ends open streams properly: the client sees their end, not a broken connection."""
        reader = self.reader("/v1/events")
        yield reader.open()
        rest = reader.rest()
        yield self.control.stop()
        self.assertEqual((yield rest), b"")

    @inlineCallbacks
    def test_client_leaves(self):
        """A client that hangs up leaves no watcher behind."""
        reader = self.reader("/v1/events")
        yield reader.open()
        reader.close()
        while self.control._streams:
            yield soon()
        self.assertEqual(self.control._ring.watchers, set())


class MessageStreamTests(ControlCase):
    @inlineCallbacks
    def test_messages(self):
        """Messages of the topics come as the lines of `sub --json`, under their ids."""
        reader = self.reader("/v1/stream?topic=chat&topic=kv/%23&history=7")
        yield reader.open()
        self.assertEqual(
            [(s.pattern, s.history) for s in self.node.subscriptions], [("chat", 7), ("kv/#", 7)]
        )
        self.node.deliver(message(1, data={"raw": b"\xff"}))
        self.node.deliver(message(2, topic="kv/a", data=None, late=True))
        self.node.deliver(message(3, topic="other"))
        self.node.deliver(message(4))
        events = yield reader.events(3)
        self.assertEqual(events[0][:2], (f"{ALICE}.7.1", "message"))
        self.assertEqual([data["seq"] for _, _, data in events], [1, 2, 4])
        expected = {
            "id": f"{ALICE}.7.1",
            "topic": "chat",
            "author": ALICE,
            "seq": 1,
            "created": 1000.0,
            "received": 1000.5,
            "hops": 2,
            "late": False,
            "data": {"raw": {"$bytes": "/w=="}},
        }
        self.assertEqual(events[0][2], expected)

    @inlineCallbacks
    def test_several_patterns_of_one_message(self):
        """A message that several patterns match comes once."""
        reader = self.reader("/v1/stream?topic=%23&topic=chat&topic=chat")
        yield reader.open()
        self.node.deliver(message(1))
        self.node.deliver(message(2))
        events = yield reader.events(2)
        self.assertEqual([data["seq"] for _, _, data in events], [1, 2])

    @inlineCallbacks
    def test_resume(self):
        """Last-Event-ID goes on behind the message it names: what came later comes, whatever its place in history."""
        later = [
            message(2, received=1000.5),  # of the same envelope
            message(1, author=ME, id=f"{ME}.3.1", received=1001.0),
            message(9, received=900.0),  # it waited for those before it
        ]
        seen = [message(1), message(1, author=ME, id=f"{ME}.2.1", received=1000.0)]
        self.node.kept = [later[1], *seen, *later[::2]]
        reader = self.reader("/v1/stream?topic=chat&history=7", {"Last-Event-ID": f"{ALICE}.7.1"})
        yield reader.open()
        (subscription,) = self.node.subscriptions
        self.assertEqual(subscription.history, MAX_MISSED)
        for each in [*self.node.kept, message(10)]:
            self.node.deliver(each)
        events = yield reader.events(4)
        self.assertEqual(
            [each for each, _, _ in events], [m.id for m in (later[1], *later[::2], message(10))]
        )

    @inlineCallbacks
    def test_resume_behind_nothing(self):
        """A Last-Event-ID that names no message kept here changes nothing; nor does one of a direct message."""
        for query, last in (("", "nonsense"), ("", f"{ALICE}.7.5"), ("&direct=1", f"{ALICE}.7.1")):
            reader = self.reader(f"/v1/stream?topic=chat&history=7{query}", {"Last-Event-ID": last})
            yield reader.open()
            self.assertEqual([each.history for each in self.node.subscriptions if each.pattern], [7])
            self.node.subscriptions.clear()

    @inlineCallbacks
    def test_data_that_json_cannot_hold(self):
        """A peer's message with NaN or odd keys is shown as its msgpack, not lost."""
        reader = self.reader("/v1/stream?topic=chat")
        yield reader.open()
        self.node.deliver(message(1, data=float("nan"), payload=b"\xcb\x7f\xf8"))
        self.node.deliver(message(2, data={b"k": 1}, payload=b"\x81"))
        events = yield reader.events(2)
        self.assertEqual(
            [data["data"] for _, _, data in events], [{"$msgpack": "y3/4"}, {"$msgpack": "gQ=="}]
        )

    @inlineCallbacks
    def test_direct(self):
        """Direct messages come only when asked for."""
        reader = self.reader("/v1/stream?direct=1")
        yield reader.open()
        self.node.deliver(message(1))
        self.node.deliver_direct(message(2, topic=""))
        ((_, kind, data),) = yield reader.events(1)
        self.assertEqual((kind, data["seq"]), ("direct", 2))

    @inlineCallbacks
    def test_wrong_requests(self):
        """A pattern the node refuses, or none at all, is an error and leaves no subscription behind."""
        wrong = ["", "?topic=chat&topic=bad/%23/pattern", "?topic=chat&history=x", "?topic=chat&history=-1"]
        wrong += ["?topic=%ff", "?" + "topic=a&" * 65, "?" + "a=b&" * 1000]
        for query in wrong:
            reply = yield self.ask("GET", "/v1/stream" + query)
            self.assertEqual((query[:40], reply.status), (query[:40], 400))
            self.assertEqual(reply.json()["error"]["code"], "bad_request")
        self.assertEqual(self.node.subscriptions, [])

    @inlineCallbacks
    def test_client_that_does_not_read(self):
        """While the client's buffer is full the subscription has to wait; it goes on when the client reads."""
        reader = self.reader("/v1/stream?topic=chat")
        yield reader.open()
        seq, held = 0, None
        while held is None or held.called:
            seq += 1
            (held,) = self.node.deliver(message(seq, data="x" * 10_000))
            yield soon()  # the system's own buffer takes some
            self.assertTrue(seq < 500, "nothing ever made the subscription wait")
        self.node.notices.tell(Lagged(topic="other", skipped=1))
        self.node.notices.tell(Lagged(topic="chat", skipped=9))
        events = yield reader.events(seq + 1)
        self.assertEqual(
            [data["seq"] for _, kind, data in events if kind == "message"], list(range(1, seq + 1))
        )
        self.assertEqual(events[-1][1:], ("lagged", {"event": "Lagged", "topic": "chat", "skipped": 9}))
        yield held

    @inlineCallbacks
    def test_stalled_client_goes(self):
        """A subscription that waited for a client does not wait for ever when the client is gone."""
        reader = self.reader("/v1/stream?topic=chat")
        yield reader.open()
        held = None
        while held is None:
            (held,) = self.node.deliver(message(1, data="x" * 60_000))
        reader.close()
        yield held
        self.assertEqual(self.node.subscriptions, [])

    @inlineCallbacks
    def test_stop_with_a_stalled_client(self):
        """A client that never reads does not keep the node from stopping."""
        reader = self.reader("/v1/stream?topic=chat")
        yield reader.open()
        for seq in range(50):
            self.node.deliver(message(seq, data="x" * 60_000))
            yield soon()
        started = reactor.seconds()
        yield self.control.stop()
        self.assertTrue(reactor.seconds() - started < 3)
        yield deferLater(reactor, 0)
        self.assertEqual(self.node.subscriptions, [])
