"""The routes over the UNIX socket, as a client sees them."""

import json
import os
import socket
import stat

from twisted.internet.defer import fail, inlineCallbacks
from twisted.internet.threads import deferToThread

from positron.control import site
from positron.control.routes import ROUTES
from positron.core.envelope import MAX_PAYLOAD
from positron.errors import (
    ClockSkew,
    DeliveryTimeout,
    NoPeers,
    NotRunning,
    PayloadTooLarge,
    Refused,
)
from tests.control.fake import ALICE, ALINA, ME, STATUS, never, peer
from tests.control.http import ControlCase, UnixConnection, exchange


class ReadingTests(ControlCase):
    @inlineCallbacks
    def test_status(self):
        """Status is the node's own, under a schema number."""
        reply = yield self.ask("GET", "/v1/status")
        self.assertEqual(reply.status, 200)
        self.assertEqual(reply.json(), {"schema": 1, **STATUS})
        self.assertEqual(reply.headers["content-type"], "application/json")
        self.assertEqual(reply.headers["cache-control"], "no-store")
        self.assertNotIn("server", reply.headers)

    @inlineCallbacks
    def test_peers(self):
        """Peers have exactly the promised fields; `all` adds those that are not linked."""
        reply = yield self.ask("GET", "/v1/peers")
        peers = reply.json()["peers"]
        self.assertEqual([p["node_id"] for p in peers], [ALICE, ALINA])
        fields = (
            "node_id address direction state trust rtt_seconds messages_in_total messages_out_total "
            "bytes_in_total bytes_out_total connected_seconds"
        )
        self.assertEqual(set(peers[0]), set(fields.split()))
        self.assertIsNone(peers[1]["rtt_seconds"])
        everyone = yield self.ask("GET", "/v1/peers?all=1")
        self.assertEqual([p["state"] for p in everyone.json()["peers"]], ["up", "up", "down"])

    @inlineCallbacks
    def test_topics_stats_trust_config(self):
        """The other lists."""
        topics = yield self.ask("GET", "/v1/topics")
        self.assertEqual(topics.json()["topics"], [{"topic": "chat", "subscribers": 1, "messages_total": 9}])
        stats = yield self.ask("GET", "/v1/stats")
        self.assertEqual(stats.json()["messages"]["received_total"], 20)
        trust = yield self.ask("GET", "/v1/trust")
        self.assertEqual([view["node_id"] for view in trust.json()["peers"]], [ALICE, ALINA])
        config = yield self.ask("GET", "/v1/config")
        self.assertEqual(config.json()["config"]["data_dir"], self.folder)

    @inlineCallbacks
    def test_trust_of_one(self):
        """One peer's trust has its parts and the changes that led to it."""
        reply = yield self.ask("GET", "/v1/trust/abcd")
        found = reply.json()
        self.assertEqual((found["node_id"], found["trust"], found["first_hand"]), (ALICE, 0.55, 0.5))
        self.assertEqual(found["events"][0]["cause"], "delivery")

    @inlineCallbacks
    def test_numbers_that_are_none(self):
        """T38: whatever stands in a query for a number is one within its bounds or 400, never a fault in the log."""
        for number in ("-1", "1.5", "%C2%B2", "1e3", "100001", "0" * 20 + "100001", "0" * 5000, "9" * 5000):
            for path in ("/v1/trust/abcd?limit=", "/v1/stream?topic=a&history="):
                reply = yield self.ask("GET", path + number)
                self.assertEqual((path, number, reply.status), (path, number, 400))

    @inlineCallbacks
    def test_message(self):
        """What is known of a message; an unknown one is 404."""
        reply = yield self.ask("GET", f"/v1/messages/{ALICE}.7.1")
        self.assertEqual((reply.status, reply.json()["hops"], reply.json()["id"]), (200, 2, f"{ALICE}.7.1"))
        unknown = yield self.ask("GET", f"/v1/messages/{ALICE}.7.2")
        self.assertEqual((unknown.status, unknown.json()["error"]["code"]), (404, "unknown_message"))

    @inlineCallbacks
    def test_prefixes(self):
        """A peer is named by a unique beginning of 4 characters or more; else the error says which it could be."""
        fits = yield self.ask("POST", "/v1/peers/abce/drop")
        self.assertEqual(fits.json()["node_id"], ALINA)
        self.node.links.append(peer("abcdx" + "e" * 47))
        cases = {"abc": 400, "ab!x": 400, "nobody": 404, "abcd": 404, "a" * 53: 400}
        for text, status in cases.items():
            reply = yield self.ask("POST", f"/v1/peers/{text}/drop")
            self.assertEqual((text, reply.status), (text, status))
        ambiguous = yield self.ask("POST", "/v1/peers/abcd/drop")
        self.assertIn(ALICE, ambiguous.json()["error"]["message"])
        self.assertEqual(self.node.calls, [("drop_peer", ALINA)])

    @inlineCallbacks
    def test_unknown_paths_and_methods(self):
        """404 and 405 are JSON as well, with a hint; HEAD is GET without a body; GET never changes anything."""
        nothing = yield self.ask("GET", "/v2/status")
        self.assertEqual((nothing.status, nothing.json()["error"]["code"]), (404, "not_found"))
        for route in ROUTES:
            if route.method == "POST":
                wrong = yield self.ask("GET", route.path.replace("{id}", ALICE))
                self.assertTrue(
                    wrong.status == 405 or route.path in ("/v1/peers", "/v1/trust/{id}"), route.path
                )
        self.assertEqual(self.node.calls, [])
        put = yield self.ask("PUT", "/v1/status")
        self.assertEqual(put.json()["error"]["hint"], "use GET")
        head = yield self.ask("HEAD", "/v1/status")
        self.assertEqual((head.status, head.body), (200, b""))

    @inlineCallbacks
    def test_health(self):
        """Health checks are text; readiness follows the node."""
        health = yield self.ask("GET", "/healthz")
        self.assertEqual((health.status, health.body), (200, b"ok\n"))
        ready = yield self.ask("GET", "/readyz")
        self.node.ready = False
        waiting = yield self.ask("GET", "/readyz")
        self.assertEqual((ready.status, waiting.status), (200, 503))

    @inlineCallbacks
    def test_page(self):
        """The status page needs nothing from elsewhere, and its policy allows nothing else."""
        for path, kind in {"/": "text/html", "/page.js": "text/javascript", "/page.css": "text/css"}.items():
            reply = yield self.ask("GET", path)
            self.assertEqual(reply.status, 200)
            self.assertTrue(reply.headers["content-type"].startswith(kind))
            self.assertIn("default-src 'none'", reply.headers["content-security-policy"])
            for outside in (b"http:", b"https:", b"innerHTML", b"<script>", b"style=", b"onclick"):
                self.assertNotIn(outside, reply.body)


class ChangingTests(ControlCase):
    @inlineCallbacks
    def test_publish(self):
        """A publication is answered with its receipt; bytes go through as bytes."""
        reply = yield self.ask("POST", "/v1/publish", {"topic": "chat", "data": {"raw": {"$bytes": "/wA="}}})
        self.assertEqual(
            reply.json(), {"schema": 1, "id": f"{ME}.7.1", "seq": 1, "peers": 2, "stored": False}
        )
        self.assertEqual(self.node.calls, [("publish", "chat", {"raw": b"\xff\x00"})])

    @inlineCallbacks
    def test_publish_stored(self):
        """With `stored` the answer comes once it is on disk, and not before."""
        waiting = self.ask("POST", "/v1/publish", {"topic": "chat", "data": None, "stored": True})
        yield self.ask("GET", "/healthz")
        self.assertNoResult(waiting)
        self.node.receipts.sealed(1, 1, mark=1)
        self.node.receipts.stored(1)
        reply = yield waiting
        self.assertTrue(reply.json()["stored"])

    @inlineCallbacks
    def test_publish_not_stored(self):
        """A store that does not store is told, not hidden."""
        self.node.receipts.storing(False)
        self.node.receipts.sealed(1, 1, mark=1)
        reply = yield self.ask("POST", "/v1/publish", {"topic": "chat", "data": 1, "stored": True})
        self.assertEqual((reply.status, reply.json()["error"]["code"]), (503, "store"))

    @inlineCallbacks
    def test_wrong_bodies(self):
        """A body that is not what the route takes is refused by name, and nothing is published."""
        bodies = [
            b"{",
            b"[]",
            b'{"topic": "a", "data": NaN}',
            b'{"topic": "a", "data": 1e999}',
            b'{"topic": 1, "data": 1}',
            b'{"topic": "a"}',
            b'{"data": "a"}',
            b'{"topic": "a", "data": 1, "stored": 1}',
            b'{"topic": "a", "data": 1, "sorted": true}',
            b'{"topic": "a", "data": "\\ud800"}',
            b'{"topic": "\\ud800", "data": 1}',
            b'{"topic": "a", "data": 99999999999999999999999}',
            b'{"topic": "a", "data": ' + b"[" * 90 + b"]" * 90 + b"}",
            b'{"topic": "a", "data": ' + b"[" * 100_000,
            b'{"topic": "' + b"a" * 129 + b'", "data": 1}',
            b"\xff\xfe",
        ]
        for body in bodies:
            reply = yield self.ask("POST", "/v1/publish", body)
            self.assertEqual((body[:60], reply.status), (body[:60], 400))
            self.assertEqual(reply.json()["error"]["code"], "bad_request")
            self.assertNotEqual(reply.json()["error"]["hint"], "")
        self.assertEqual(self.node.calls, [])

    @inlineCallbacks
    def test_largest_payload_fits(self):
        """The body's limit lets the largest payload through, however JSON writes it."""
        for text in ("\x00" * (MAX_PAYLOAD - 3), "\u20ac" * (MAX_PAYLOAD // 3 - 1)):
            reply = yield self.ask("POST", "/v1/publish", {"topic": "chat", "data": text})
            self.assertEqual(reply.status, 200)

    @inlineCallbacks
    def test_body_over_the_limit(self):
        """A body over the limit is refused with its reason; one that does not end is cut off."""
        large = yield self.ask("POST", "/v1/publish", b"x" * (site.MAX_BODY + 1))
        self.assertEqual((large.status, large.json()["error"]["code"]), (413, "payload_too_large"))

        def endless():
            connection = UnixConnection(self.path)
            with self.assertRaises(OSError):
                exchange(connection, "POST", "/v1/publish", b"x" * (site.MAX_DRAIN + 10_000_000))

        yield deferToThread(endless)

    @inlineCallbacks
    def test_forms_are_not_parsed(self):
        """`curl -d` calls JSON a form; it is JSON all the same."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        reply = yield self.ask("POST", "/v1/publish", {"topic": "a=b&c", "data": 1}, headers)
        self.assertEqual(reply.status, 200)
        broken = {"Content-Type": "multipart/form-data"}
        reply = yield self.ask("POST", "/v1/publish", {"topic": "chat", "data": 1}, broken)
        self.assertEqual(reply.status, 200)

    @inlineCallbacks
    def test_send(self):
        """A direct message is answered by its acknowledgement."""
        reply = yield self.ask("POST", "/v1/send", {"node_id": "abcd", "data": "psst", "timeout": 3})
        self.assertEqual(
            reply.json(), {"schema": 1, "id": f"{ME}.7.1", "acknowledged": True, "rtt_seconds": 0.01}
        )
        self.assertEqual(self.node.calls, [("send", ALICE, "psst", 3.0)])

    @inlineCallbacks
    def test_send_to_an_unlinked_node(self):
        """A whole node id need not be known here: the message may be flooded."""
        stranger = "y" * 52
        reply = yield self.ask("POST", "/v1/send", {"node_id": stranger, "data": "psst"})
        self.assertEqual(reply.status, 200)
        self.assertEqual(self.node.calls, [("send", stranger, "psst", 10.0)])

    @inlineCallbacks
    def test_errors_of_the_node(self):
        """Each error has its status, its word and its hint."""
        errors = {
            DeliveryTimeout("nobody acknowledged"): (504, "timeout"),
            NoPeers("none"): (409, "no_peers"),
            NotRunning("stopping"): (503, "not_running"),
            PayloadTooLarge(10, 11): (413, "payload_too_large"),
            ClockSkew("30 s ahead"): (409, "clock_skew"),
            Refused("no"): (403, "refused"),
        }
        for error, expected in errors.items():
            self.node.send_result = fail(error)
            reply = yield self.ask("POST", "/v1/send", {"node_id": ALICE, "data": 1})
            found = reply.json()["error"]
            self.assertEqual((reply.status, found["code"]), expected)
            self.assertEqual((found["message"], found["hint"]), (str(error), error.hint))

    @inlineCallbacks
    def test_a_fault_of_ours(self):
        """An unforeseen exception is logged, and the client learns only that there was one."""
        self.node.send_result = fail(RuntimeError("secret detail"))
        reply = yield self.ask("POST", "/v1/send", {"node_id": ALICE, "data": 1})
        self.assertEqual((reply.status, reply.json()["error"]["code"]), (500, "internal"))
        self.assertNotIn(b"secret", reply.body)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    @inlineCallbacks
    def test_client_goes_away(self):
        """Whoever hangs up while the node works for it cancels that work."""
        self.node.send_result = never()
        cancelled = self.node.send_result
        cancelled.addErrback(lambda failure: failure)

        def hang_up():
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(self.path)
                body = json.dumps({"node_id": ALICE, "data": 1}).encode()
                client.sendall(
                    b"POST /v1/send HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
                )
                while not self.node.calls:
                    pass

        yield deferToThread(hang_up)
        while not cancelled.called:
            yield self.ask("GET", "/healthz")
        self.assertTrue(cancelled.called)

    @inlineCallbacks
    def test_peers_and_trust(self):
        """The operator's verdicts reach the node with whole ids and checked numbers."""
        yield self.ask("POST", "/v1/peers", {"address": "10.0.0.9:8888"})
        yield self.ask("POST", "/v1/peers/abcd/drop")
        yield self.ask("POST", "/v1/peers/abcd/forget")
        yield self.ask("POST", "/v1/peers/abcd/ban", {"seconds": 60})
        yield self.ask("POST", "/v1/trust/abcd", {"score": 0.25})
        yield self.ask("POST", "/v1/reload")
        expected = [
            ("add_peer", "10.0.0.9:8888"),
            ("drop_peer", ALICE),
            ("forget_peer", ALICE),
            ("ban_peer", ALICE, 60.0),
            ("set_trust", ALICE, 0.25),
            ("reload",),
        ]
        self.assertEqual(self.node.calls, expected)

    @inlineCallbacks
    def test_backup(self):
        """A backup is a new file under an absolute path; what is there already is a conflict."""
        path = os.path.join(self.folder, "copy")
        reply = yield self.ask("POST", "/v1/backup", {"file": path})
        self.assertEqual(reply.json(), {"schema": 1, "file": path, "bytes": 4})
        again = yield self.ask("POST", "/v1/backup", {"file": path})
        self.assertEqual((again.status, again.json()["error"]["code"]), (409, "backup"))
        self.node.calls.clear()
        for body in ({}, {"file": "copy"}, {"file": "/tmp/a\0b"}, {"file": 1}, {"file": path, "force": True}):
            wrong = yield self.ask("POST", "/v1/backup", body)
            self.assertEqual((body, wrong.status), (body, 400))
        self.assertEqual(self.node.calls, [])

    @inlineCallbacks
    def test_refused_verdicts(self):
        """Numbers out of range, addresses that are none, the node itself."""
        wrong = [
            ("/v1/peers/abcd/ban", {"seconds": -1}),
            ("/v1/peers/abcd/ban", {"seconds": "60"}),
            ("/v1/peers/abcd/ban", {"seconds": True}),
            ("/v1/peers/abcd/ban", {"seconds": 10**400}),
            ("/v1/peers/abcd/ban", {"seconds": -(10**400)}),
            ("/v1/peers/abcd/ban", {}),
            ("/v1/trust/abcd", {"score": 1.5}),
            ("/v1/peers", {"address": "nowhere"}),
            ("/v1/send", {"node_id": ALICE, "data": 1, "timeout": 0}),
            ("/v1/send", {"node_id": ME, "data": 1}),
            (f"/v1/peers/{ME[:4]}/ban", {"seconds": 60}),
            (f"/v1/trust/{ME}", {"score": 1}),
        ]
        for path, body in wrong:
            reply = yield self.ask("POST", path, body)
            self.assertEqual((path, body, reply.status), (path, body, 400))
        self.assertEqual(self.node.calls, [])

    @inlineCallbacks
    def test_ping(self):
        """A ping is answered with the round trip."""
        reply = yield self.ask("POST", "/v1/peers/abcd/ping")
        self.assertEqual(reply.json(), {"schema": 1, "node_id": ALICE, "rtt_seconds": 0.002})

    @inlineCallbacks
    def test_leave(self):
        """Leaving is answered before it happens, though it ends the connection."""
        stopped = []
        self.node.on_leave = lambda: stopped.append(self.control.stop())
        reply = yield self.ask("POST", "/v1/leave")
        self.assertEqual(reply.json(), {"schema": 1, "leaving": True})
        yield stopped[0]
        self.assertFalse(os.path.exists(self.path))


class SocketTests(ControlCase):
    def test_mode(self):
        """Only its owner may open the socket."""
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)

    @inlineCallbacks
    def test_other_users_are_refused(self):
        """A process of another user is cut off before it can ask, even if it got hold of the socket."""
        (unix,) = self.control._sites
        unix.allowed = frozenset({os.geteuid() + 1})
        with self.assertRaises(OSError):
            yield self.ask("GET", "/v1/status")

    @inlineCallbacks
    def test_peer_uid(self):
        """The kernel says whose process is at the other end."""
        client, server = socket.socketpair(socket.AF_UNIX)
        with client, server:
            self.assertEqual(site.peer_uid(server), os.geteuid())
        yield None

    @inlineCallbacks
    def test_requests_whose_replies_nobody_reads(self):
        """T30: hundreds of requests in one go are answered as long as the replies are read, and cost no more than two
        replies in memory if they are not."""
        self.node.links = [peer(f"{number:052}") for number in range(500)]
        request = b"GET /v1/peers HTTP/1.1\r\nHost: x\r\n\r\n"
        size = len((yield self.ask("GET", "/v1/peers")).body) + 1000
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        client.settimeout(10)
        client.connect(self.path)
        yield deferToThread(client.sendall, 200 * request)
        (unix,) = self.control._sites
        while not unix.channels:
            yield self.ask("GET", "/healthz")
        (channel,) = unix.channels
        while not channel.transport.dataBuffer:
            yield self.ask("GET", "/healthz")
        waiting = len(channel.transport.dataBuffer) + sum(map(len, channel.transport._tempDataBuffer))
        self.assertTrue(waiting < 2 * size, waiting)
        read = b""
        while piece := (yield deferToThread(client.recv, 1 << 20)):
            read += piece
        self.assertEqual(read.count(b"HTTP/1.1 200 OK"), 2)
        self.assertEqual(read.lower().count(b"connection: close"), 1)

    @inlineCallbacks
    def test_requests_whose_replies_are_read(self):
        """Several small requests in one go are all answered, in order."""

        def ask():
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(10)
                client.connect(self.path)
                client.sendall(20 * b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                read = b""
                while read.count(b"ok\n") < 20:
                    read += client.recv(65536)

        yield deferToThread(ask)

    @inlineCallbacks
    def test_too_many_connections(self):
        """One connection too many is refused, and there is room again when others end."""
        self.patch(site, "MAX_CHANNELS", 2)
        held = [socket.socket(socket.AF_UNIX) for _ in range(2)]
        for client in held:
            client.connect(self.path)
        with self.assertRaises(OSError):
            yield self.ask("GET", "/healthz")
        for client in held:
            client.close()
        (unix,) = self.control._sites
        while unix.channels:
            yield deferToThread(lambda: None)
        reply = yield self.ask("GET", "/healthz")
        self.assertEqual(reply.status, 200)
