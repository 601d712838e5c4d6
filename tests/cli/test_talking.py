"""pub, sub, send and events."""

import json

from twisted.internet.defer import fail, inlineCallbacks
from twisted.internet.threads import deferToThread

from positron.cli import talking
from positron.core.notices import Lagged
from positron.errors import DeliveryTimeout, Refused
from tests.cli.running import CommandCase, keys
from tests.control.fake import ALICE, ME, message


class PubTests(CommandCase):
    @inlineCallbacks
    def test_receipt(self):
        """The id and the number of peers are printed, in JSON with the promised names."""
        result = yield self.command("pub", "chat", "hello", "--json")
        self.assertEqual(
            result.json(), {"schema": 1, "id": f"{ME}.7.1", "seq": 1, "peers": 2, "stored": False}
        )
        piped = yield self.command("pub", "chat", "hello")
        self.assertEqual(piped.lines, ["id\tseq\tpeers\tstored", f"{ME}.7.2\t2\t2\tfalse"])
        self.assertEqual(self.node.calls, [("publish", "chat", "hello")] * 2)

    @inlineCallbacks
    def test_what_is_published(self):
        """DATA is a string unless it is said to be JSON; - is stdin, bytes if it is no text."""
        yield self.command("pub", "t", "42")
        yield self.command("pub", "t", '{"a": [1, null, {"$bytes": "/w=="}]}', "--json-data")
        yield self.command("pub", "t", "-", stdin="h\u00e9\n".encode())
        yield self.command("pub", "t", "-", stdin=b"\xff\xfe")
        yield self.command("pub", "t", "-", "--json-data", stdin=b"[1]\n")
        yield self.command("pub", "t", "")
        data = [call[2] for call in self.node.calls]
        self.assertEqual(data, ["42", {"a": [1, None, b"\xff"]}, "h\u00e9\n", b"\xff\xfe", [1], ""])

    @inlineCallbacks
    def test_lines(self):
        """Each line of stdin is a message of its own, with one header over all receipts."""
        result = yield self.command("pub", "t", "--lines", stdin=b"one\ntwo\r\n\nlast")
        self.assertEqual([call[2] for call in self.node.calls], ["one", "two", "", "last"])
        self.assertEqual([line.split("\t")[1] for line in result.lines], ["seq", "1", "2", "3", "4"])
        lines = yield self.command("pub", "t", "--lines", "--json", "--json-data", stdin=b"1\n[2]\n")
        self.assertEqual([line["seq"] for line in lines.json_lines()], [5, 6])

    @inlineCallbacks
    def test_stored(self):
        """--stored answers when it is on disk, and fails when it will not be."""
        waiting = self.command("pub", "t", "x", "--stored", "--json")
        while not self.node.calls:
            yield self.ask("GET", "/healthz")
        self.assertNoResult(waiting)
        self.node.receipts.sealed(1, 1, mark=1)
        self.node.receipts.stored(1)
        result = yield waiting
        self.assertTrue(result.json()["stored"])

    @inlineCallbacks
    def test_not_stored(self):
        """A store that does not store is an error with a hint."""
        self.node.receipts.storing(False)
        self.node.receipts.sealed(1, 1, mark=1)
        result = yield self.command("pub", "t", "x", "--stored")
        self.assertEqual((result.code, result.out), (1, ""))
        self.assertIn(
            "positron: the message is sent, but the store takes none at present\nhint: ", result.err
        )

    @inlineCallbacks
    def test_wrong_usage(self):
        """No data, data that is no JSON, a topic the node refuses: exit code 2, nothing published."""
        wrong = [
            ("pub", "t"),
            ("pub", "t", "{", "--json-data"),
            ("pub", "t", "NaN", "--json-data"),
            ("pub", "t", "[1e999]", "--json-data"),
            ("pub", "t", "x", "--lines"),
            ("pub", "t" * 129, "x"),
            ("pub",),
            ("pub", "--nonsense"),
        ]
        for arguments in wrong:
            result = yield self.command(*arguments)
            self.assertEqual((arguments, result.code, result.out), (arguments, 2, ""))
            self.assertNotEqual(result.err, "")
            asked = yield self.command("--json", *arguments)
            self.assertEqual((asked.code, set(asked.json()["error"])), (2, {"code", "message", "hint"}))
        self.assertEqual(self.node.calls, [])

    @inlineCallbacks
    def test_endless_input(self):
        """Of stdin no more is read than the node could take: the rest is refused as too large, by 1."""
        for arguments in (("-",), ("--lines",), ("-", "--json-data")):
            result = yield self.command("--json", "pub", "t", *arguments, stdin=bytes(talking.MAX_INPUT + 1))
            self.assertEqual((result.code, result.json()["error"]["code"]), (1, "payload_too_large"))
        self.assertEqual(self.node.calls, [])

    @inlineCallbacks
    def test_names_that_are_no_text(self):
        """A topic or a peer that is not UTF-8 is a sentence and 2; DATA may be any bytes."""
        other = "\udcff"  # how the byte 0xff arrives as an argument
        for arguments in (("pub", other, "x"), ("sub", other), ("trust", other), ("peers", "drop", other)):
            result = yield self.command("--json", *arguments)
            self.assertEqual((arguments, result.code), (arguments, 2))
            self.assertNotIn("codec", result.json()["error"]["message"])
        yield self.command("pub", "t", other)
        self.assertEqual(self.node.calls, [("publish", "t", b"\xff")])


class SendTests(CommandCase):
    @inlineCallbacks
    def test_acknowledged(self):
        """The acknowledgement is printed."""
        result = yield self.command("send", "abcd", "psst", "--json", "--timeout", "3")
        self.assertEqual(
            result.json(), {"schema": 1, "id": f"{ME}.7.1", "acknowledged": True, "rtt_seconds": 0.01}
        )
        self.assertEqual(self.node.calls, [("send", ALICE, "psst", 3.0)])

    @inlineCallbacks
    def test_not_acknowledged(self):
        """No acknowledgement in time is 4, a refusal 5; both say why."""
        for error, code in ((DeliveryTimeout("nobody answered"), 4), (Refused("not today"), 5)):
            self.node.send_result = fail(error)
            result = yield self.command("send", "abcd", "psst")
            self.assertEqual((result.code, result.out), (code, ""))
            self.assertIn(str(error), result.err)
            self.node.send_result = fail(error)
            asked = yield self.command("send", "abcd", "psst", "--json")
            self.assertEqual((asked.code, asked.json()["error"]["code"]), (code, error.code))


class SubTests(CommandCase):
    @inlineCallbacks
    def subscribed(self, number=1):
        while len(self.node.subscriptions) < number:
            yield deferToThread(lambda: None)

    @inlineCallbacks
    def test_json(self):
        """Each message is one line of JSON with the promised names."""
        running = self.command("sub", "chat", "kv/#", "--count", "2", "--history", "5", "--json")
        yield self.subscribed(2)
        self.assertEqual(
            [(s.pattern, s.history) for s in self.node.subscriptions], [("chat", 5), ("kv/#", 5)]
        )
        self.node.deliver(message(1, data={"a": b"\xff", "text": "h\u00e9\u2028"}))
        self.node.deliver(message(2, topic="kv/x"))
        result = yield running
        self.assertEqual((result.code, result.err), (0, "listening on chat kv/#\n"))
        first, second = [json.loads(line) for line in result.out.split("\n")[:2]]
        self.assertEqual(set(first), keys("id topic author seq created received hops late data"))
        self.assertEqual(first["data"], {"a": {"$bytes": "/w=="}, "text": "h\u00e9\u2028"})
        self.assertEqual((second["topic"], second["seq"]), ("kv/x", 2))

    @inlineCallbacks
    def test_pipe_and_terminal(self):
        """A pipe gets a row for each message; a terminal a line; neither a control character."""
        for terminal, lines in (
            (
                False,
                [
                    "topic\tauthor\tseq\tdata",
                    f"chat\t{ALICE}\t1\ta\\tb\\x1b\\n",
                    f'chat\t{ALICE}\t2\t{{"k": [1, null]}}',
                ],
            ),
            (True, [r"abcdbbbb chat a\tb\x1b\n", 'abcdbbbb chat {"k": [1, null]}']),
        ):
            running = self.command("sub", "chat", "--count", "2", "--quiet", terminal=terminal)
            yield self.subscribed()
            self.node.deliver(message(1, data="a\tb\x1b\n"))
            self.node.deliver(message(2, data={"k": [1, None]}))
            result = yield running
            self.assertEqual((result.lines, result.err), (lines, ""))
            while self.node.subscriptions:
                yield deferToThread(lambda: None)

    @inlineCallbacks
    def test_direct(self):
        """Direct messages need no topic."""
        running = self.command("sub", "--direct", "--count", "1", "--json")
        yield self.subscribed()
        self.node.deliver_direct(message(3, topic="", data="psst"))
        result = yield running
        self.assertEqual((result.json()["topic"], result.json()["data"]), ("", "psst"))
        self.assertEqual(result.err, "listening on direct messages\n")

    @inlineCallbacks
    def test_time(self):
        """--for ends well after its time; with --count, time over before the messages came is 4."""
        over = yield self.command("sub", "chat", "--for", "0.2", "--json")
        self.assertEqual((over.code, over.out), (0, ""))
        short = yield self.command("sub", "chat", "--for", "0.2s", "--count", "1")
        self.assertEqual(short.code, 4)

    @inlineCallbacks
    def test_the_node_stops(self):
        """The end of the node ends the stream, with 3."""
        running = self.command("sub", "chat")
        yield self.subscribed()
        yield self.control.stop()
        result = yield running
        self.assertEqual(result.code, 3)
        self.assertIn("the node has stopped", result.err)

    @inlineCallbacks
    def test_wrong_usage(self):
        """No topic, or a pattern the node refuses."""
        for arguments in (
            ["sub"],
            ["sub", "bad/#/pattern"],
            ["sub", "chat", "--count", "0"],
            ["sub", "a", "--for", "x"],
        ):
            result = yield self.command(*arguments)
            self.assertEqual((arguments, result.code, result.out), (arguments, 2, ""))


class EventsTests(CommandCase):
    @inlineCallbacks
    def watched(self):
        while not self.control._ring.watchers:
            yield deferToThread(lambda: None)

    @inlineCallbacks
    def test_json(self):
        """An event is one line: its class's name, the time, its fields."""
        running = self.command("events", "--count", "1", "--json")
        yield self.watched()
        self.node.emit(7)
        result = yield running
        expected = {
            "event": "PeerUp",
            "time": 1234.5,
            "node_id": ALICE,
            "address": "10.0.0.7:8888",
            "direction": "out",
        }
        self.assertEqual(result.json(), expected)

    @inlineCallbacks
    def test_pipe(self):
        """A pipe gets time, name and fields."""
        running = self.command("events", "--count", "2")
        yield self.watched()
        self.node.emit(7)
        self.node.notices.tell(Lagged(topic="chat", skipped=2))
        result = yield running
        self.assertEqual(result.lines[0], "time\tevent\tfields")
        self.assertEqual(result.lines[2], "1234.5\tLagged\ttopic=chat skipped=2")
