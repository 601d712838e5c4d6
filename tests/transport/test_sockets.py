"""The same on real sockets of 127.0.0.1, with another TLS implementation's clients."""

import contextlib
import socket
import ssl
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from positron.transport import AdmissionFactory, TLSIdentity, dial
from positron.transport.connection import SOCKET_BUFFER
from tests.transport.owners import Numbers, Owner, node_id, seed
from tests.transport.test_tls import certificate


class Listener(Owner):
    """An owner that listens on 127.0.0.1; `heard` fires at its next call."""

    def __init__(self, clock=reactor, **numbers):
        super().__init__()
        self.refused_early = []
        self._waiting = []
        self.factory = AdmissionFactory(
            self,
            clock,
            TLSIdentity(seed(2)),
            limits=Numbers(**numbers),
            group_of=lambda ip: ip,
            tried=lambda ip: False,
            refused=self._refused,
        )

    @inlineCallbacks
    def listen(self, test):
        """Bind a free port, and close everything when the test is over."""
        self.port = yield TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(self.factory)
        self.number = self.port.getHost().port
        test.addCleanup(self.close)

    @inlineCallbacks
    def close(self):
        """As a service would."""
        yield self.port.stopListening()
        for call in self.calls:
            if call[0] == "connected":
                call[1].hang_up("leaving")
        yield self.factory.close()

    def _refused(self, address, reason):
        self.refused_early.append((address, reason))
        self._tell()

    def link_connected(self, connection):
        super().link_connected(connection)
        self._tell()

    def link_lost(self, connection, reason):
        super().link_lost(connection, reason)
        self._tell()

    def link_refused(self, connection, reason):
        super().link_refused(connection, reason)
        self._tell()

    def frames_received(self, connection, frames):
        super().frames_received(connection, frames)
        self._tell()

    def connected(self):
        """The node ids of those who were greeted."""
        return [call[1].node_id for call in self.calls if call[0] == "connected"]

    def _tell(self):
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            deferred.callback(None)

    def heard(self):
        """Fires when the owner is next told something."""
        deferred = Deferred()
        self._waiting.append(deferred)
        return deferred.addTimeout(10, reactor)

    @inlineCallbacks
    def until(self, condition):
        """Wait for a condition on what was heard."""
        while not condition():
            yield self.heard()

    def dial(self, number, owner, expected=None):
        """Dial this listener as node `number`."""
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.number, timeout=5)
        return dial(reactor, endpoint, TLSIdentity(seed(number)), owner, f"127.0.0.1:{self.number}", expected)


class Dialler(Listener):
    """An owner that only dials: its admission is never used."""


class SocketTests(TestCase):
    @inlineCallbacks
    def test_two_nodes_meet(self):
        """Two nodes shake hands, agree on the binding and talk; the sockets are tuned."""
        server, client = Listener(), Dialler()
        yield server.listen(self)
        connection = yield server.dial(1, client, node_id(2))
        yield client.until(lambda: client.calls)
        yield server.until(lambda: server.calls)
        far = server.connection
        self.assertEqual((connection.node_id, far.node_id), (node_id(2), node_id(1)))
        self.assertEqual(connection.binding, far.binding)
        self.assertEqual(connection.address, f"127.0.0.1:{server.number}")
        self.assertRegex(far.address, r"^127\.0\.0\.1:\d+$")
        for end in (connection, far):
            handle = end.transport.transport.getHandle()
            self.assertTrue(handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            self.assertTrue(handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
            self.assertLessEqual(handle.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF), 2 * SOCKET_BUFFER)
        frames = [bytes([n % 250 + 1]) * (n * 9 + 1) for n in range(500)]
        for frame in frames:
            connection.send(frame)
        connection.hang_up("said all")
        yield server.until(lambda: server.reasons("lost"))
        yield client.until(lambda: client.reasons("lost"))
        self.assertEqual(server.frames, frames)
        self.assertEqual((client.reasons("lost"), server.reasons("lost")), (["said all"], ["closed by peer"]))

    @inlineCallbacks
    def test_peer_closes_while_we_are_blocked(self):
        """As over the pipe: no socket stays behind when a peer closes under our full buffers."""
        server, client = Listener(), Dialler()
        yield server.listen(self)
        connection = yield server.dial(1, client)
        yield server.until(lambda: server.calls)
        yield client.until(lambda: client.calls)
        server.connection.pause()
        for _ in range(19):
            connection.send(bytes(100_000))
        yield deferLater(reactor, 0, lambda: None)
        self.assertGreater(connection.queued, 0)
        server.connection.hang_up("tired")
        yield client.until(lambda: client.reasons("lost"))
        self.assertEqual(client.reasons("lost"), ["closed by peer"])

    @inlineCallbacks
    def test_nobody_listens(self):
        """A dial that finds nobody errbacks, and the owner hears nothing."""
        server, client = Listener(), Dialler()
        yield server.listen(self)
        yield server.port.stopListening()
        yield self.assertFailure(server.dial(1, client), ConnectionRefusedError)
        self.assertEqual(client.calls, [])

    @inlineCallbacks
    def test_cancelled_dial(self):
        """A dial that is given up leaves nothing."""
        server, client = Listener(), Dialler()
        yield server.listen(self)
        dialling = server.dial(1, client)
        dialling.cancel()
        with contextlib.suppress(Exception):
            yield dialling
        self.assertEqual(client.calls, [])

    @inlineCallbacks
    def test_refusal_closes_the_socket(self):
        """Who is refused at accept finds the socket closed."""
        server = Listener(inbound_address=1)
        yield server.listen(self)
        first = yield deferToThread(connect, server.number)
        self.addCleanup(first.close)
        second = yield deferToThread(connect, server.number)
        self.addCleanup(second.close)
        answer = yield deferToThread(end_of, second)
        self.assertEqual(answer, b"")
        self.assertEqual([reason for _, reason in server.refused_early], ["inbound limit of address"])

    @inlineCallbacks
    def test_flood_of_silent_sockets(self):
        """Of 200 silent sockets only as many as the limit stay open, and those until 5 s are over."""
        clock = Clock()
        server = Listener(clock=clock, half_open_all=16)
        yield server.listen(self)
        sockets = []
        for _ in range(200):
            sockets.append((yield deferToThread(connect, server.number)))
        self.addCleanup(lambda: [each.close() for each in sockets])
        yield server.until(lambda: len(server.refused_early) + server.factory.half_open >= 200)
        self.assertLessEqual(server.factory.half_open, 16)
        clock.advance(5)
        ends = yield deferToThread(lambda: [end_of(each) for each in sockets])
        self.assertEqual(set(ends), {b""})
        self.assertEqual(server.factory.inbound, 0)

    @inlineCallbacks
    def test_a_hundred_connects(self):
        """After a hundred links nothing is left in the reactor."""
        server = Listener()
        yield server.listen(self)
        # The reactor's own readers are complete only once it runs.
        yield self.come_and_go(server, node_id(2), abort=False)
        before = set(reactor.getReaders())
        calls = set(reactor.getDelayedCalls())
        for n in range(100):
            yield self.come_and_go(server, node_id(2 if n % 5 else 9), abort=n % 3 == 0)
        yield server.factory.close()
        self.assertEqual(set(reactor.getReaders()) - before, set())
        self.assertEqual(set(reactor.getWriters()), set())
        self.assertEqual(set(reactor.getDelayedCalls()) - calls, set())

    @inlineCallbacks
    def come_and_go(self, server, expected, abort):
        """One link, from dial to end."""
        client = Dialler()
        connection = yield server.dial(1, client, expected)
        yield client.until(lambda: client.calls)
        connection.hang_up("bye", abort=abort)
        yield client.until(lambda: client.reasons("lost") + client.reasons("refused"))


def connect(port):
    """A plain socket to the listener."""
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def end_of(sock):
    """What a closed socket gives to read: nothing."""
    sock.settimeout(5)
    try:
        return sock.recv(1)
    except ConnectionResetError:
        return b""


class PythonClientTests(TestCase):
    """Clients made with Python's own `ssl`."""

    def context(self, key=None, algorithm=None, alpn=("positron/1",), newest=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if alpn:
            context.set_alpn_protocols(list(alpn))
        if newest is not None:
            context.minimum_version = newest
            context.maximum_version = newest
        if key is not None:
            with tempfile.NamedTemporaryFile(suffix=".pem") as file:
                file.write(
                    certificate(key.public_key(), key, algorithm).public_bytes(serialization.Encoding.PEM)
                )
                file.write(
                    key.private_bytes(
                        serialization.Encoding.PEM,
                        serialization.PrivateFormat.PKCS8,
                        serialization.NoEncryption(),
                    )
                )
                file.flush()
                context.load_cert_chain(Path(file.name))
        return context

    def talk(self, port, context, session=None):
        """Shake hands and say a frame; returns the session and whether it was resumed."""
        with connect(port) as raw, context.wrap_socket(raw, session=session) as tls:
            tls.sendall(b"\x00\x00\x00\x01\x07")
            with contextlib.suppress(TimeoutError):
                # A ticket, if the server sends one, is read on the way to its data.
                tls.settimeout(0.2)
                tls.recv(1)
            return tls.session, tls.session_reused

    @inlineCallbacks
    def refused(self, reason, **configuration):
        server = Listener()
        yield server.listen(self)
        context = self.context(**configuration)
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            yield deferToThread(self.talk, server.number, context)
        yield server.until(lambda: server.calls)
        self.assertEqual(server.names(), ["refused"])
        self.assertRegex(server.reasons("refused")[0], reason)

    @inlineCallbacks
    def test_accepted_and_never_resumed(self):
        """A good client is a link; a second handshake with the first one's session is a whole handshake."""
        server = Listener()
        yield server.listen(self)
        context = self.context(Ed25519PrivateKey.from_private_bytes(seed(4)))
        session, _ = yield deferToThread(self.talk, server.number, context)
        yield server.until(lambda: server.reasons("lost"))
        self.assertEqual(server.connected(), [node_id(4)])
        self.assertEqual(server.frames, [b"\x07"])
        _, resumed = yield deferToThread(self.talk, server.number, context, session)
        self.assertFalse(resumed)
        yield server.until(lambda: len(server.reasons("lost")) == 2)
        self.assertEqual(server.connected(), [node_id(4)] * 2)

    def test_no_certificate(self):
        """No certificate."""
        return self.refused("^TLS failure: peer did not return a certificate$")

    def test_rsa(self):
        """An RSA certificate."""
        key = rsa.generate_private_key(65537, 2048)
        return self.refused("^TLS failure: certificate verify failed$", key=key, algorithm=hashes.SHA256())

    def test_no_alpn(self):
        """No ALPN, and another protocol's."""
        key = Ed25519PrivateKey.from_private_bytes(seed(4))
        refused = self.refused("^wrong ALPN$", key=key, alpn=())
        return refused.addCallback(lambda _: self.refused("^wrong ALPN$", key=key, alpn=("h2",)))

    def test_tls12(self):
        """TLS 1.2."""
        key = Ed25519PrivateKey.from_private_bytes(seed(4))
        return self.refused("^TLS failure: .*protocol", key=key, newest=ssl.TLSVersion.TLSv1_2)
