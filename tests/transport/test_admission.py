"""Who may come in, who must wait, and who goes to make room."""

from twisted.internet.protocol import Protocol
from twisted.trial.unittest import SynchronousTestCase

from positron.transport.gate import HELLO_LIMIT
from tests.transport.owners import Entrance

CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01"
"""Six bytes that begin a TLS handshake and never end one."""


class Talker(Protocol):
    """Says something once connected, and notes how it ends."""

    def __init__(self, words=b""):
        self.words = words
        self.over = False

    def connectionMade(self):
        if self.words:
            self.transport.write(self.words)

    def connectionLost(self, reason):
        self.over = True


class GateTests(SynchronousTestCase):
    def test_let_in(self):
        """A node comes through the gate as if there were none, and is half-open until it is established."""
        entrance = Entrance()
        guest = entrance.visit(1)
        entrance.wires.settle()
        self.assertEqual((entrance.factory.half_open, entrance.factory.inbound), (1, 1))
        entrance.owner.connection.established()
        guest.connection.established()
        self.assertEqual((entrance.factory.half_open, entrance.factory.inbound), (0, 1))
        guest.connection.send(b"\x01hi")
        entrance.wires.settle()
        self.assertEqual(entrance.owner.frames, [b"\x01hi"])
        self.assertEqual(entrance.owner.connection.address, "10.0.0.1:40000")
        guest.connection.hang_up("bye")
        entrance.wires.settle()
        self.assertEqual(entrance.owner.reasons("lost"), ["closed by peer"])
        self.assertEqual((entrance.factory.half_open, entrance.factory.inbound, entrance.refused), (0, 0, []))
        self.assertEqual(entrance.wires.leftovers(), ([], []))

    def test_silence(self):
        """Who says nothing for 5 s is closed, and never had a TLS object or a place in the owner's ear."""
        entrance = Entrance()
        talker = Talker()
        entrance.knock(talker)
        entrance.wires.advance(4.5)
        self.assertFalse(talker.over)
        entrance.wires.advance(1)
        self.assertTrue(talker.over)
        self.assertEqual((entrance.reasons(), entrance.owner.calls), (["silent"], []))
        self.assertEqual(entrance.wires.leftovers(), ([], []))

    def test_garbage(self):
        """Anything that does not begin as TLS is closed at its first byte."""
        entrance = Entrance()
        for words in (b"GET / HTTP/1.1\r\n\r\n", b"\x00", b"\x80\x2e\x01"):
            talker = Talker(words)
            entrance.knock(talker)
            entrance.wires.settle()
            self.assertTrue(talker.over)
        self.assertEqual((entrance.reasons(), entrance.owner.calls), (["not TLS"] * 3, []))

    def test_half_a_hello(self):
        """A handshake that is begun and not ended is refused 5 s after accept, in whatever state."""
        entrance = Entrance()
        talker = Talker(CLIENT_HELLO)
        entrance.knock(talker)
        entrance.wires.advance(5.5)
        self.assertTrue(talker.over)
        self.assertEqual((entrance.owner.reasons("refused"), entrance.refused), (["handshake timeout"], []))
        self.assertEqual(entrance.wires.leftovers(), ([], []))

    def test_the_timer_runs_from_accept(self):
        """Waiting before the first byte is not given back."""
        entrance = Entrance()
        talker = Talker()
        end = entrance.knock(talker)
        entrance.wires.advance(4)
        end.write(CLIENT_HELLO)
        entrance.wires.advance(0.5)
        self.assertFalse(talker.over)
        entrance.wires.advance(1)
        self.assertTrue(talker.over)

    def test_endless_hello(self):
        """Nobody may send more than the limit before proving an identity, at once or bit by bit."""
        entrance = Entrance()
        talker = Talker(CLIENT_HELLO + bytes(HELLO_LIMIT))
        entrance.knock(talker)
        entrance.wires.settle()
        self.assertTrue(talker.over)
        self.assertEqual((entrance.reasons(), entrance.owner.calls), (["oversize handshake"], []))
        # A handshake message of 64 KiB in records of 4 KiB, as OpenSSL would take it.
        record = b"\x16\x03\x01\x10\x00"
        end = entrance.knock(Talker(record + b"\x01\x00\xff\xff" + bytes(4092)))
        entrance.wires.settle()
        for _ in range(4):
            end.write(record + bytes(4096))
            entrance.wires.settle()
        self.assertTrue(end.disconnected)
        self.assertEqual(len(entrance.owner.reasons("refused")), 1)
        self.assertEqual(entrance.wires.leftovers(), ([], []))

    def test_an_eager_dialler(self):
        """What a dialler sends behind its handshake does not count as handshake, however much it is."""
        entrance = Entrance()
        guest = entrance.visit(1)
        frames = [bytes([n + 1]) * 50_000 for n in range(10)]
        guest.link_connected = lambda connection: [connection.send(frame) for frame in frames]
        entrance.wires.settle()
        self.assertEqual(entrance.owner.frames, frames)

    def test_gone_before_its_turn(self):
        """Who closes again at once is counted, and leaves nothing."""
        entrance = Entrance()
        entrance.knock(Talker()).loseConnection()
        entrance.wires.settle()
        self.assertEqual(entrance.reasons(), ["closed early"])
        self.assertEqual(entrance.wires.leftovers(), ([], []))
        self.assertEqual(entrance.factory.inbound, 0)

    def test_owners_fault(self):
        """An owner that raises when it is told of an end does not keep the place taken."""
        entrance = Entrance()

        def fail(connection, reason):
            raise ZeroDivisionError

        entrance.owner.link_refused = fail
        entrance.knock(Talker(CLIENT_HELLO + b"\x00garbage"))
        with self.assertRaises(ZeroDivisionError):
            entrance.wires.advance(6)
        self.assertEqual((entrance.factory.inbound, entrance.factory.half_open), (0, 0))


class CapTests(SynchronousTestCase):
    def let_in(self, entrance, host, words=b""):
        """Whether a visitor from `host` was let in."""
        entrance.wires.settle()
        return entrance.knock(Talker(words), host) is not None

    def test_inbound_of_address(self):
        """At most so many sockets of one address, established or not; a place that is freed is free."""
        entrance = Entrance(inbound_address=2)
        guests = [entrance.visit(n, "10.0.0.1") for n in (1, 3)]
        entrance.wires.settle()
        for call in entrance.owner.calls:
            call[1].established()
        self.assertFalse(self.let_in(entrance, "10.0.0.1"))
        self.assertTrue(self.let_in(entrance, "10.0.0.9"))
        guests[0].connection.hang_up("bye")
        entrance.wires.settle()
        self.assertTrue(self.let_in(entrance, "10.0.0.1"))
        self.assertEqual(entrance.refused, [("10.0.0.1:40001", "inbound limit of address")])

    def test_inbound_of_group(self):
        """At most so many sockets of one group, whatever their addresses."""
        entrance = Entrance(inbound_group=3)
        self.assertEqual([self.let_in(entrance, f"10.0.0.{n}") for n in range(5)], [True] * 3 + [False] * 2)
        self.assertTrue(self.let_in(entrance, "10.9.0.1"))
        self.assertEqual(entrance.reasons(), ["inbound limit of group"] * 2)
        entrance.wires.advance(6)
        self.assertTrue(self.let_in(entrance, "10.0.0.5"))

    def test_half_open_of_address(self):
        """At most so many half-open ones of an address; established ones do not count."""
        entrance = Entrance(half_open_address=2)
        entrance.visit(1, "10.0.0.1")
        entrance.wires.settle()
        entrance.owner.connection.established()
        self.assertEqual([self.let_in(entrance, "10.0.0.1") for _ in range(3)], [True, True, False])
        self.assertTrue(self.let_in(entrance, "10.0.0.2"))
        self.assertEqual(entrance.reasons(), ["half-open limit of address"])

    def test_refused_at_once(self):
        """A refused visitor's socket is closed, and nothing was built for it."""
        entrance = Entrance(inbound_address=0)
        guest = entrance.visit(1)
        entrance.wires.settle()
        self.assertEqual(guest.reasons("refused"), ["connection lost"])
        self.assertEqual(entrance.owner.calls, [])
        self.assertEqual(entrance.wires.leftovers(), ([], []))

    def test_silent_go_above_half(self):
        """Above half the limit each newcomer costs the oldest silent one of the largest group its place."""
        entrance = Entrance(half_open_all=8)
        talkers = {host: Talker() for host in ("10.1.0.1", "10.2.0.1", "10.1.0.2", "10.3.0.1")}
        for host, talker in talkers.items():
            entrance.knock(talker, host)
        self.assertEqual(entrance.factory.half_open, 4)
        guest = entrance.visit(1, "10.4.0.1")
        entrance.wires.settle()
        self.assertEqual([host for host, talker in talkers.items() if talker.over], ["10.1.0.1"])
        self.assertEqual(guest.names(), ["connected"])
        self.assertEqual(entrance.refused, [("10.1.0.1:40001", "evicted")])

    def test_those_who_speak_stay_below_the_limit(self):
        """Below the limit nobody who has begun TLS is evicted."""
        entrance = Entrance(half_open_all=8)
        self.assertEqual([self.let_in(entrance, f"10.{n}.0.1", CLIENT_HELLO) for n in range(8)], [True] * 8)
        self.assertEqual((entrance.factory.half_open, entrance.refused), (8, []))

    def test_at_the_limit(self):
        """At the limit the oldest of the largest group goes, one that has proved nothing before one that has."""
        entrance = Entrance(half_open_all=4)
        proved = entrance.visit(1, "10.1.0.9")
        entrance.wires.settle()
        for host in ("10.1.0.1", "10.1.0.2", "10.2.0.1"):
            self.assertTrue(self.let_in(entrance, host, CLIENT_HELLO))
        entrance.wires.settle()
        for host in ("10.3.0.1", "10.4.0.1"):
            self.assertIsNotNone(entrance.knock(Talker(CLIENT_HELLO), host))
            # At once, before the evicted one's socket is closed.
            self.assertEqual(entrance.factory.half_open, 4)
            entrance.wires.settle()
        self.assertEqual(proved.reasons("lost"), [])
        self.assertEqual(
            [(call[1].address, call[2]) for call in entrance.owner.calls if call[0] == "refused"],
            [("10.1.0.1:40001", "evicted"), ("10.1.0.2:40002", "evicted")],
        )

    def test_all_have_proved(self):
        """When everybody has proved an identity and nobody has said HELLO, the oldest still makes room."""
        entrance = Entrance(half_open_all=2)
        guests = []
        for n in (1, 3, 4):
            guests.append(entrance.visit(n, f"10.{n}.0.1"))
            entrance.wires.settle()
        self.assertEqual([guest.names()[-1] for guest in guests], ["lost", "connected", "connected"])
        self.assertEqual(entrance.owner.reasons("lost"), ["evicted"])

    def test_a_thousand_silent(self):
        """A thousand silent sockets, each a group of its own, never hold more than the limit nor keep a node out."""
        entrance = Entrance(half_open_all=64, group_of=lambda ip: ip, handshakes_all=20, handshakes_address=2)
        for n in range(1000):
            entrance.knock(Talker(), f"127.0.{n // 250}.{n % 250}")
            self.assertLessEqual(entrance.factory.half_open, 64)
        guest = entrance.visit(1, "127.9.9.9")
        entrance.wires.advance(0.5)
        self.assertEqual(guest.names(), ["connected"])
        entrance.wires.advance(6)
        self.assertEqual(entrance.factory.inbound, 0)
        self.assertEqual(len(entrance.refused), 1000)
        self.assertEqual(entrance.wires.leftovers(), ([], []))

    def test_zero(self):
        """A limit of nobody lets nobody in."""
        entrance = Entrance(half_open_all=0)
        self.assertFalse(self.let_in(entrance, "10.0.0.1"))
        self.assertEqual(entrance.reasons(), ["half-open limit"])


class CloseTests(SynchronousTestCase):
    def test_nobody_there(self):
        """With nobody there it fires at once, and lets nobody in."""
        entrance = Entrance()
        self.successResultOf(entrance.factory.close())
        self.assertIsNone(entrance.knock(Talker()))
        self.assertEqual(entrance.reasons(), ["closing"])

    def test_everybody_goes(self):
        """Half-open ones are aborted, and it fires when the established ones, hung up by their owner, are gone."""
        entrance = Entrance(handshakes_address=1)
        guest = entrance.visit(1)
        entrance.wires.settle()
        entrance.owner.connection.established()
        for words in (b"", CLIENT_HELLO, CLIENT_HELLO, CLIENT_HELLO):
            entrance.knock(Talker(words))
        entrance.wires.settle()
        closed = entrance.factory.close()
        entrance.wires.settle()
        self.assertNoResult(closed)
        self.assertEqual(entrance.factory.inbound, 1)
        entrance.owner.connection.hang_up("leaving")
        entrance.wires.settle()
        self.successResultOf(closed)
        self.assertEqual(guest.reasons("lost"), ["closed by peer"])
        self.assertEqual(entrance.wires.leftovers(), ([], []))
