"""One real node, and everybody who does not keep to the protocol: refused, cut, banned, and nothing left of them."""

from __future__ import annotations

import shutil
import socket
import ssl
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fleet import Fleet, wait_for
from hostile import Client, connect, ed25519_key, framed, hello, read_to_end, rsa_key, talk, tls
from twisted.trial.unittest import SynchronousTestCase

from positron.core.messages import Goodbye, Hello, Ping, Welcome, encode

HANDSHAKE = 5.0
MARGIN = 3.0
"""Seconds that a busy computer may be late."""
ROUNDS = 20
"""How often each quick attack is repeated, so that a leak shows."""
MIB = 1 << 20
GOODBYE = framed(encode(Goodbye("leaving", True)))


class HostileTests(SynchronousTestCase):
    """After each test the node answers, holds no more files than before and has logged no traceback."""

    def setUp(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="positron-"))
        self.addCleanup(shutil.rmtree, self.root)
        self.fleet = Fleet(self.root)
        self.addCleanup(self.fleet.close)
        self.node = self.fleet.node().start().ready()
        self.address = self.node.address
        self.descriptors = self.node.descriptors()
        self.addCleanup(self.check_unharmed)

    def check_unharmed(self) -> None:
        """It runs, answers, and nothing of anybody is left."""
        wait_for("its descriptors are back", lambda: self.node.descriptors() <= self.descriptors)
        status = self.node.status()
        assert status is not None
        self.assertTrue(status["ready"])
        self.assertEqual(status["peers"]["up"], 0)
        self.assertEqual(self.node.stop(), 0)

    def refused(self) -> dict[str, int]:
        """What the node counted of those it turned away, by reason."""
        counted: dict[str, int] = self.node.ask("GET", "/v1/stats")["links_refused"]
        return counted

    def turned_away(self, context: ssl.SSLContext, reason: str) -> None:
        """A TLS client so made hears no message of ours; the node counts and logs why."""
        before = self.refused().get(reason.partition(":")[0], 0)
        for _ in range(ROUNDS):
            heard, seconds = talk(self.address, context, hello())
            self.assertEqual(heard, [])
            self.assertLess(seconds, MARGIN)
        self.assertEqual(self.refused()[reason.partition(":")[0]] - before, ROUNDS)
        self.assertIn(reason, self.node.log())

    def test_tls_that_is_not_ours(self) -> None:
        """No certificate, an RSA certificate, no ALPN, another ALPN, TLS 1.2: refused, and it costs no memory."""
        rsa = tls(rsa_key())
        good = ed25519_key("good")
        self.turned_away(tls(), "TLS failure: peer did not return a certificate")
        memory = self.node.memory()
        self.turned_away(tls(), "TLS failure: peer did not return a certificate")
        self.turned_away(rsa, "TLS failure: certificate verify failed")
        self.turned_away(tls(good, alpn=""), "wrong ALPN")
        self.turned_away(tls(good, alpn="h2"), "wrong ALPN")
        self.turned_away(tls(good, newest=ssl.TLSVersion.TLSv1_2), "TLS failure: unsupported protocol")
        self.assertLess(self.node.memory() - memory, 4 * MIB)

    def test_the_same_client_done_right(self) -> None:
        """The control: with key, ALPN and HELLO the very same client is greeted and welcomed."""
        self.link("good")

    def link(self, name: str, garbage: bytes = GOODBYE) -> float:
        """Be a good peer until the link is up, then say this; the seconds it took in all."""
        with Client(self.address, tls(ed25519_key(name))) as client:
            client.say(hello())
            greeting, answer = client.hear(2)[:2]
            self.assertIsInstance(greeting, Hello)
            self.assertEqual(getattr(answer, "refusal", None), "")
            client.say(framed(encode(Welcome(1))))
            client.hear(3)
            client.say(garbage)
            return client.wait()

    def test_garbage_instead_of_tls(self) -> None:
        """What does not begin as TLS is cut at its first byte; what only begins so, within the handshake time."""
        for _ in range(ROUNDS):
            with connect(self.address) as sock:
                begun = time.monotonic()
                sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
                self.assertEqual(read_to_end(sock), b"")
                self.assertLess(time.monotonic() - begun, MARGIN)
        self.assertEqual(self.refused()["not TLS"], ROUNDS)
        for garbage in (b"\x16" + bytes(200), b"\x16" * 20_000):
            with connect(self.address) as sock:
                begun = time.monotonic()
                sock.sendall(garbage)
                read_to_end(sock)
                self.assertLess(time.monotonic() - begun, HANDSHAKE + MARGIN)

    def lifetime(self, begin: bytes) -> float:
        """How long a connection lasts that says this and falls silent, seconds."""
        with connect(self.address) as sock:
            begun = time.monotonic()
            sock.sendall(begin)
            read_to_end(sock)
            return time.monotonic() - begun

    def half_shaken(self) -> bytes:
        """The first bytes of a good TLS handshake, which then stops."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        channel = tls(ed25519_key("good")).wrap_bio(incoming, outgoing)
        self.assertRaises(ssl.SSLWantReadError, channel.do_handshake)
        return outgoing.read()

    def test_silence(self) -> None:
        """Nothing said, half a TLS record, half a handshake: cut when the handshake time is over, not before."""
        cases = [b"", b"\x16\x03\x01", self.half_shaken()] * 10
        memory = self.node.memory()
        with ThreadPoolExecutor(len(cases)) as pool:
            for seconds in pool.map(self.lifetime, cases):
                self.assertGreater(seconds, HANDSHAKE - 0.5)
                self.assertLess(seconds, HANDSHAKE + MARGIN)
        self.assertLess(self.node.memory() - memory, 8 * MIB)

    def test_never_says_hello(self) -> None:
        """A peer of good TLS that says nothing, and one that says HELLO and no WELCOME, are cut in that time too."""
        peers = [(tls(ed25519_key("mute")), ()), (tls(ed25519_key("half")), (hello(),))]
        with ThreadPoolExecutor(2) as pool:
            results = list(pool.map(lambda peer: talk(self.address, peer[0], *peer[1]), peers))
        for heard, seconds in results:
            self.assertIsInstance(heard[0], Hello)
            self.assertGreater(seconds, HANDSHAKE - 0.5)
            self.assertLess(seconds, HANDSHAKE + MARGIN)
        # Slowness is no offence.
        self.assertEqual(self.node.status()["peers"]["banned"], 0)  # type: ignore[index]

    def test_garbage_inside_tls(self) -> None:
        """A peer that proves its id and then talks nonsense is cut at once and banned: next time it is told so."""
        nonsense = {
            "not msgpack": framed(b"\x01\xc1\xc1\xc1"),
            "a ping before the greeting": framed(encode(Ping(1))),
            "a frame too long": b"\xff" * 100,
            "an empty frame": bytes(4),
            "two greetings": hello() + hello(),
        }
        for number, (name, garbage) in enumerate(nonsense.items(), 1):
            context = tls(ed25519_key(name))
            _, seconds = talk(self.address, context, garbage)
            self.assertLess(seconds, MARGIN, name)
            wait_for(name, lambda n=number: self.node.status()["peers"]["banned"] == n, 5)  # type: ignore[misc,index]
            heard, seconds = talk(self.address, context, hello())
            refusals = [message.refusal for message in heard if isinstance(message, Welcome)]
            self.assertEqual(refusals, ["banned"], name)
            self.assertLess(seconds, MARGIN, name)

    def test_garbage_once_linked(self) -> None:
        """The same of one that was greeted and welcomed."""
        self.assertLess(self.link("late", framed(b"\x01\xc1")), MARGIN)
        self.assertEqual(self.node.status()["peers"]["banned"], 1)  # type: ignore[index]
        self.node.logs("No longer linked to")
        self.assertIn("violation", self.node.log())

    def test_wrong_network(self) -> None:
        """A node of another network is told so."""
        heard, _ = talk(self.address, tls(ed25519_key("good")), hello("another"))
        self.assertEqual([m.refusal for m in heard if isinstance(m, Welcome)], ["network"])

    def test_a_pinned_id_that_another_node_has(self) -> None:
        """`id@host:port` with the wrong id is no link, and the dialler's log says whom it expected and who answered."""
        expected = self.fleet.node("--network", "other").start().ready()
        expected_id = expected.node_id
        expected.kill()
        dialler = self.fleet.node("--bootstrap", f"{expected_id}@{self.address}").start().ready()
        dialler.logs(
            f"No link to {self.address}: wrong identity: "
            f"expected {expected_id[:8]}, got {self.node.node_id[:8]}"
        )
        self.assertEqual(dialler.up(), 0)
        right = self.fleet.node("--bootstrap", f"{self.node.node_id}@{self.address}").start().ready()
        wait_for("the right id is a link", lambda: right.up() >= 1, 10)
        for node in (right, dialler):
            self.assertEqual(node.stop(), 0)
        wait_for("they are gone", lambda: self.node.up() == 0, 10)

    def test_a_flood_of_sockets(self) -> None:
        """More silent sockets than may be half-open: the oldest go, somebody honest still comes in."""
        # Where one address may take all the room there is.
        self.node = self.fleet.node("--profile", "local").start().ready()
        self.address = self.node.address
        sockets: list[socket.socket] = []
        try:
            sockets += [connect(self.address) for _ in range(400)]
            # Not only once the silent ones have run out of time.
            self.assertLess(self.link("good"), MARGIN)
            self.assertLess(self.node.descriptors(), self.descriptors + 200)
        finally:
            for sock in sockets:
                sock.close()
