"""Whose handshake is next, at the border and by itself."""

from twisted.trial.unittest import SynchronousTestCase

from positron.core.limits import HANDSHAKE_BURST
from positron.transport.turns import REMEMBERED, Turns
from tests.transport.owners import Entrance
from tests.transport.test_admission import CLIENT_HELLO, Talker


class RateTests(SynchronousTestCase):
    def connected(self, entrance):
        """How many have come through TLS."""
        return entrance.owner.names().count("connected")

    def test_newcomers_wait(self):
        """Over the address's rate visitors wait instead of being refused, and all come in."""
        entrance = Entrance(handshakes_address=2)
        burst = int(2 * HANDSHAKE_BURST)
        guests = [entrance.visit(1) for _ in range(burst + 4)]
        entrance.wires.settle()
        self.assertEqual(self.connected(entrance), burst)
        entrance.wires.advance(1.1)
        self.assertEqual(self.connected(entrance), burst + 2)
        entrance.wires.advance(1)
        self.assertEqual(self.connected(entrance), burst + 4)
        self.assertEqual({name for guest in guests for name in guest.names()}, {"connected"})

    def test_a_turn_that_never_comes(self):
        """Who still waits after 5 s is closed, and the wait of others goes on."""
        entrance = Entrance(handshakes_address=0.1)
        guests = [entrance.visit(1) for _ in range(3)]
        entrance.wires.advance(5.5)
        self.assertEqual(self.connected(entrance), 1)
        self.assertEqual(entrance.reasons(), ["handshake rate"] * 2)
        self.assertEqual(sum("refused" in guest.names() for guest in guests), 2)
        self.assertEqual(entrance.wires.leftovers(), ([], []))

    def test_waiting_ones_are_not_read(self):
        """What a waiting visitor sends stays in the kernel, beyond its first bytes."""
        entrance = Entrance(handshakes_address=0.1)
        entrance.visit(1)
        entrance.wires.settle()
        end = entrance.knock(Talker(CLIENT_HELLO))
        entrance.wires.settle()
        end.write(bytes(200_000))
        entrance.wires.settle()
        self.assertEqual(len(end.other.inbox), 200_000)
        self.assertEqual(entrance.refused, [])

    def test_known_addresses_have_half(self):
        """A flood of strangers does not keep out an address we have known."""
        entrance = Entrance(handshakes_all=2, tried=lambda ip: ip == "10.7.0.1")
        for n in range(30):
            entrance.knock(Talker(CLIENT_HELLO), f"10.0.0.{n}")
        entrance.wires.settle()
        stranger, friend = entrance.visit(1, "10.5.0.1"), entrance.visit(3, "10.7.0.1")
        entrance.wires.settle()
        self.assertEqual((stranger.names(), friend.names()), ([], ["connected"]))

    def test_groups_take_turns(self):
        """A group with one visitor waits for one turn, however many another group has waiting."""
        entrance = Entrance(handshakes_all=2)
        for n in range(30):
            entrance.knock(Talker(CLIENT_HELLO), f"10.0.0.{n}")
        entrance.wires.settle()
        guest = entrance.visit(1, "10.5.0.1")
        entrance.wires.advance(1.1)
        self.assertEqual(guest.names(), ["connected"])


class Guest:
    """What `Turns` asks of a visitor."""

    def __init__(self, ip, group="g", tried=False):
        self.ip = ip
        self.group = group
        self.tried = tried


class TurnsTests(SynchronousTestCase):
    def test_no_limits(self):
        """Without rates everybody's turn is now, in order."""
        turns = Turns(None, lambda ip: None)
        guests = [Guest(str(n)) for n in range(3)]
        for guest in guests:
            turns.join(guest)
        self.assertEqual([turns.next(0.0) for _ in range(4)], [*guests, None])

    def test_round_robin(self):
        """Groups alternate; inside a group the first who came is first."""
        turns = Turns(None, lambda ip: None)
        for name in ("a1", "a2", "a3", "b1", "b2", "c1"):
            turns.join(Guest(name, group=name[0]))
        self.assertEqual([turns.next(0.0).ip for _ in range(6)], ["a1", "b1", "c1", "a2", "b2", "a3"])

    def test_delay_is_kept(self):
        """Coming back after `delay` always finds a turn, and sooner does not."""
        turns = Turns(7, lambda ip: 2)
        now = 0.0
        for n in range(60):
            turns.join(Guest(f"ip{n % 5}", group=str(n % 3), tried=n % 4 == 0))
        while turns:
            while turns.next(now) is not None:
                pass
            if turns:
                delay = turns.delay(now)
                self.assertGreater(delay, 0)
                self.assertIsNone(turns.next(now + delay * 0.9))
                now += delay
                self.assertIsNotNone(turns.next(now))
        # 60 handshakes of 5 addresses at 2/s each, beginning with a burst of 6: 5 s or a little more.
        self.assertTrue(3 < now < 12, now)

    def test_leaving(self):
        """Who left is never served."""
        turns = Turns(None, lambda ip: None)
        guest = Guest("x")
        turns.join(guest)
        turns.leave(guest)
        turns.leave(guest)
        self.assertIsNone(turns.next(0.0))
        self.assertEqual(len(turns), 0)

    def test_memory_is_bounded(self):
        """A hundred thousand addresses of as many groups leave a bounded memory."""
        turns = Turns(500, lambda ip: 1)
        for n in range(100_000):
            turns.join(Guest(f"ip{n}", group=f"g{n}"))
            turns.next(n / 100)
        self.assertLessEqual(len(turns._addresses), REMEMBERED)
        self.assertLessEqual(len(turns._served), REMEMBERED)
