"""The same routes over TCP: what a request must show there, and what listening may fail for."""

import os
import socket
import stat

from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.trial.unittest import SynchronousTestCase

from positron.config import Config
from positron.control import ControlService
from positron.control.gate import is_loopback, load_token
from positron.errors import ConfigError
from tests.control.fake import FakeNode, peer
from tests.control.http import ControlCase


class TcpTests(ControlCase):
    options = {"http": 0}

    @property
    def token(self):
        with open(os.path.join(self.folder, "http.token")) as file:
            return file.read().strip()

    @inlineCallbacks
    def test_reading_needs_no_token(self):
        """Whoever is on this computer may look."""
        for path in ("/v1/status", "/", "/metrics", "/healthz"):
            reply = yield self.ask_tcp("GET", path)
            self.assertEqual((path, reply.status), (path, 200))

    @inlineCallbacks
    def test_hosts_that_are_gone(self):
        """T7: streams of hosts that vanished without a word hold no connection for ever: the kernel asks for them."""
        host, _, port = self.control.http_address.rpartition(":")
        client = socket.create_connection((host, int(port)), 10)
        self.addCleanup(client.close)
        over_tcp = self.control._sites[-1]
        while not over_tcp.channels:
            yield self.ask("GET", "/healthz")
        (channel,) = over_tcp.channels
        self.assertTrue(channel.transport.getTcpKeepAlive())

    @inlineCallbacks
    def test_changing_needs_the_token(self):
        """Every POST needs the token; it is in a file that only the owner may read."""
        self.assertEqual(stat.S_IMODE(os.stat(os.path.join(self.folder, "http.token")).st_mode), 0o600)
        body = {"topic": "chat", "data": 1}
        for given in ({}, {"Authorization": "Bearer x"}, {"Authorization": f"Basic {self.token}"}):
            reply = yield self.ask_tcp("POST", "/v1/publish", body, given)
            self.assertEqual((reply.status, reply.json()["error"]["code"]), (401, "token"))
            self.assertEqual(reply.headers["www-authenticate"], "Bearer")
        self.assertEqual(self.node.calls, [])
        reply = yield self.ask_tcp("POST", "/v1/publish", body, {"Authorization": f"Bearer {self.token}"})
        self.assertEqual(reply.status, 200)

    @inlineCallbacks
    def test_no_files_over_tcp(self):
        """What writes a file of this computer is for the control socket alone, whoever has the token."""
        body = {"file": os.path.join(self.folder, "copy")}
        for given, status in (({}, 401), ({"Authorization": f"Bearer {self.token}"}, 403)):
            reply = yield self.ask_tcp("POST", "/v1/backup", body, given)
            self.assertEqual(reply.status, status)
        self.assertEqual((reply.json()["error"]["code"], self.node.calls), ("refused", []))

    @inlineCallbacks
    def test_direct_messages_need_the_token(self):
        """What was sealed to this node is not for everybody on the computer."""
        reply = yield self.ask_tcp("GET", "/v1/stream?direct=1")
        self.assertEqual(reply.status, 401)
        self.assertEqual(self.node.subscriptions, [])

    @inlineCallbacks
    def test_foreign_hosts(self):
        """A name rebound to this computer is not served; the names of this listener are."""
        port = self.control.http_address.rpartition(":")[2]
        for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{int(port) - 1}", ""):
            reply = yield self.ask_tcp("GET", "/v1/status", None, {"Host": host})
            self.assertEqual((host, reply.status), (host, 421))
        for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"LOCALHOST:{port}", f"[::1]:{port}"):
            reply = yield self.ask_tcp("GET", "/v1/status", None, {"Host": host})
            self.assertEqual((host, reply.status), (host, 200))

    @inlineCallbacks
    def test_foreign_origins(self):
        """A page from elsewhere may not ask, whatever it knows."""
        for origin in ("http://evil.example", "null", "https://" + self.control.http_address):
            given = {"Origin": origin, "Authorization": f"Bearer {self.token}"}
            for method, path in (("GET", "/v1/status"), ("POST", "/v1/reload")):
                reply = yield self.ask_tcp(method, path, None, given)
                self.assertEqual((origin, reply.status), (origin, 403))
        reply = yield self.ask_tcp(
            "GET", "/v1/status", None, {"Origin": "http://" + self.control.http_address}
        )
        self.assertEqual(reply.status, 200)
        self.assertNotIn("access-control-allow-origin", reply.headers)
        self.assertEqual(self.node.calls, [])

    @inlineCallbacks
    def test_metrics(self):
        """A scrape has the promised names, no peer's id, and at most 50 topics."""
        self.node.links.append(peer("f" * 52, trust=0.9, rtt_seconds=None))
        many = [
            self.node.topics()[0].__class__(topic=f"t{n}", subscribers=0, messages_total=n) for n in range(60)
        ]
        self.node.topics = lambda: many
        reply = yield self.ask_tcp("GET", "/metrics")
        text = reply.body.decode()
        for line in (
            "positron_messages_published_total 1.0",
            "positron_messages_received_total 20.0",
            "positron_messages_forwarded_total 40.0",
            'positron_messages_dropped_total{reason="signature"} 2.0',
            "positron_gaps_total 6.0",
            'positron_peers{direction="out",state="up"} 2.0',
            "positron_peers_known 3.0",
            'positron_topic_messages_total{topic="t59"} 59.0',
            f'positron_topic_messages_total{{topic="other"}} {float(sum(range(10)))}',
            "positron_storage_bytes 4096.0",
            'positron_rtt_seconds_bucket{le="0.003"} 1.0',
            'positron_trust_score_bucket{le="0.5"} 2.0',
            "positron_ready 1.0",
            "positron_bytes_received_total 1000.0",
            "positron_bytes_sent_total 2000.0",
            "positron_connections_opened_total 3.0",
            'positron_connections_closed_total{reason="idle"} 1.0',
            'positron_handshake_failures_total{reason="network"} 2.0',
        ):
            self.assertIn(line + "\n", text)
        self.assertNotIn("abcdbbb", text)
        self.assertEqual(text.count("positron_topic_messages_total{"), 51)
        opened = yield self.ask_tcp("GET", "/metrics", None, {"Accept": "application/openmetrics-text"})
        self.assertTrue(opened.headers["content-type"].startswith("application/openmetrics-text"))
        self.assertTrue(opened.body.endswith(b"# EOF\n"))


class OpenTcpTests(ControlCase):
    options = {"http": 0, "http_host": "0.0.0.0"}

    @inlineCallbacks
    def test_away_from_loopback_all_needs_the_token(self):
        """On an address that others can reach, even looking needs the token; health checks do not."""
        looking = yield self.ask_tcp("GET", "/v1/status")
        health = yield self.ask_tcp("GET", "/readyz")
        self.assertEqual((looking.status, health.status), (401, 200))
        token = load_token(self.folder)
        allowed = yield self.ask_tcp("GET", "/v1/status", None, {"Authorization": f"Bearer {token}"})
        self.assertEqual(allowed.status, 200)


class ListeningTests(ControlCase):
    @inlineCallbacks
    def test_a_stale_socket_is_replaced(self):
        """A dead node's socket is removed and bound anew; a file that is no socket is left alone."""
        yield self.control.stop()
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(self.path)
        stale.close()
        self.control = ControlService(reactor, self.node, self.node.config)
        yield self.control.start()
        reply = yield self.ask("GET", "/healthz")
        self.assertEqual(reply.status, 200)
        yield self.control.stop()
        self.assertFalse(os.path.exists(self.path))
        with open(self.path, "w") as file:
            file.write("precious")
        self.control = ControlService(reactor, self.node, self.node.config)
        with self.assertRaises(ConfigError):
            yield self.control.start()
        self.assertTrue(os.path.exists(self.path))

    @inlineCallbacks
    def test_a_taken_port(self):
        """A port that is taken is one sentence, and what was opened before it is closed by stop."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            config = Config(data_dir=self.folder, http=taken.getsockname()[1])
            other = ControlService(reactor, FakeNode(config), config)
            yield self.control.stop()
            with self.assertRaisesRegex(ConfigError, "http: cannot listen on 127.0.0.1:"):
                yield other.start()
            yield other.stop()
        self.assertFalse(os.path.exists(self.path))

    @inlineCallbacks
    def test_stop_twice_and_without_start(self):
        """Stopping is safe at any time."""
        yield self.control.stop()
        yield self.control.stop()
        yield ControlService(reactor, self.node, self.node.config).stop()

    @inlineCallbacks
    def test_stop_without_the_sockets_file(self):
        """Stopping closes the socket also if somebody removed its file."""
        with open("/proc/net/unix") as sockets:
            self.assertIn(self.path, sockets.read())
        os.unlink(self.path)
        yield self.control.stop()
        with open("/proc/net/unix") as sockets:
            self.assertNotIn(self.path, sockets.read())

    @inlineCallbacks
    def test_a_node_in_memory_has_no_socket(self):
        """Without a data folder nothing is listened on, and over TCP nothing can be changed."""
        config = Config(http=0)
        yield self.control.stop()
        self.control = ControlService(reactor, FakeNode(config), config)
        yield self.control.start()
        self.assertIsNone(self.control.socket_path)
        looking = yield self.ask_tcp("GET", "/v1/status")
        changing = yield self.ask_tcp("POST", "/v1/leave", None, {"Authorization": "Bearer "})
        self.assertEqual((looking.status, changing.status), (200, 401))


class TokenTests(SynchronousTestCase):
    def test_kept(self):
        """The token is made once and stays."""
        folder = self.mktemp()
        os.mkdir(folder)
        self.assertEqual(load_token(folder), load_token(folder))

    def test_refused(self):
        """A token that others can read, or that is too short, is not used."""
        for content, mode in (("x" * 30, 0o644), ("short", 0o600)):
            folder = self.mktemp()
            os.mkdir(folder)
            path = os.path.join(folder, "http.token")
            with open(path, "w") as file:
                file.write(content)
            os.chmod(path, mode)
            with self.assertRaises(ConfigError):
                load_token(folder)

    def test_loopback(self):
        """Which hosts are this computer alone."""
        for host, expected in {
            "127.0.0.1": True,
            "127.9.9.9": True,
            "[::1]": True,
            "localhost": True,
        }.items():
            self.assertEqual(is_loopback(host), expected)
        for host in ("0.0.0.0", "::", "10.0.0.1", "example.com"):
            self.assertFalse(is_loopback(host))
