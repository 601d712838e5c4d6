"""What happens when one side sends more than the other takes, or nothing worth taking; and that nothing is left."""

from twisted.trial.unittest import SynchronousTestCase

from positron.transport import ANNOUNCEMENT, HIGH_WATER, LOW_WATER, QUEUE_LIMIT, TLSIdentity
from positron.transport.channel import Straight
from positron.transport.frames import pack_length
from tests.transport.owners import Owner, Pair, node_id, seed


class Swallowing(TLSIdentity):
    """A TLS that stops yielding anything once `swallow` is set, as if all that came were key updates."""

    swallow = False

    def serverConnectionForTLS(self, tlsProtocol):
        connection = super().serverConnectionForTLS(tlsProtocol)
        write = connection.bio_write
        connection.bio_write = lambda data: None if self.swallow else write(data)
        return connection


class HollowTLSTests(SynchronousTestCase):
    def test_tls_without_content(self):
        """TLS that brings no content is cut after 64 KiB of it, at whatever pace it comes."""
        tls = Swallowing(seed(2))
        pair = Pair(server_tls=tls).establish()
        tls.swallow = True
        for _ in range(15):
            pair.client.connection.send(bytes(4096))
            pair.settle()
        self.assertEqual(pair.server.reasons("lost"), [])
        pair.client.connection.send(bytes(8192))
        pair.settle()
        self.assertEqual(pair.server.reasons("lost"), ["empty TLS"])

    def test_small_frames(self):
        """The smallest frames, each in a record of its own and for long, are content enough."""
        pair = Pair().establish()
        for _ in range(4000):
            pair.client.connection.transport.write(pack_length(1) + b"\x01")
        pair.settle()
        self.assertEqual((len(pair.server.frames), pair.server.reasons("lost")), (4000, []))


class Eager(Owner):
    """Says something as soon as it is linked."""

    def link_connected(self, connection):
        super().link_connected(connection)
        connection.send(b"\x01", more=True)
        connection.flush()


class AtOnceTests(SynchronousTestCase):
    def test_nothing_is_overtaken(self):
        """What is said first comes after the end of the handshake, which waits for the reactor then."""
        pair = Pair(client=Eager(), server=Eager()).establish()
        self.assertEqual((pair.client.frames, pair.server.frames), ([b"\x01"], [b"\x01"]))

    def test_written_at_once(self):
        """What is flushed is in the socket then, and the reactor is not asked to look whether it is writable."""
        pair = Pair().establish()
        self.write_straight(pair)

    def write_straight(self, pair):
        pair.wires.addWriter = None
        before = len(pair.far.inbox)
        pair.client.connection.send(b"\x01" * 100, more=True)
        pair.client.connection.flush()
        self.assertGreater(len(pair.far.inbox), before + 100)
        del pair.wires.addWriter

    def test_a_full_socket(self):
        """What the socket does not take at once waits for the reactor, and nothing overtakes it."""
        pair = Pair().establish()
        pair.near.capacity = len(pair.far.inbox) + 50
        frames = [bytes([n]) * 100 for n in range(1, 6)]
        for frame in frames:
            pair.client.connection.send(frame, more=True)
            pair.client.connection.flush()
        self.assertIn(pair.near, pair.wires.writers)
        pair.near.capacity = 256 * 1024
        pair.client.connection.send(b"\x06", more=True)
        pair.client.connection.flush()
        pair.settle()
        self.assertEqual(pair.server.frames, [*frames, b"\x06"])
        self.write_straight(pair)

    def test_a_broken_socket(self):
        """It is the reactor that says so, after the call that wrote."""
        pair = Pair().establish()
        pair.server.connection.hang_up("bye", abort=True)
        pair.wires.clock.advance(0)
        pair.client.connection.send(b"\x01", more=True)
        pair.client.connection.flush()
        self.assertEqual(pair.client.reasons("lost"), [])
        pair.settle()
        self.assertEqual(pair.client.reasons("lost"), ["connection lost"])

    def test_a_lost_socket(self):
        """What is written while the reactor tells of its end goes nowhere."""
        pair = Pair().establish()
        straight = Straight(pair.near)
        pair.server.connection.hang_up("bye", abort=True)
        pair.settle()
        self.assertFalse(pair.near.connected)
        pair.near.writeSomeData = None
        straight.gather()
        straight.write(b"late")
        straight.write_out()
        self.assertEqual(pair.wires.leftovers(), ([], []))

    def test_a_closing_socket(self):
        """What is written while the reactor is about to close it does not keep it open."""
        pair = Pair().establish()
        pair.server.connection.hang_up("bye")
        while not pair.near.disconnecting:
            pair.far.turn()
            pair.near.doRead()
        pair.client.connection.send(b"\x01", more=True)
        pair.client.connection.flush()
        pair.settle()
        self.assertEqual(pair.client.reasons("lost"), ["closed by peer"])
        self.assertEqual(pair.wires.leftovers(), ([], []))


class BackPressureTests(SynchronousTestCase):
    def test_pause_holds_frames(self):
        """No frame is passed up while paused, none is lost, and they come in order after `resume`."""
        pair = Pair().establish()
        pair.server.on_frames = lambda connection, frames: connection.pause()
        frames = [bytes([n]) * 4092 for n in range(1, 100)]
        for frame in frames:
            pair.client.connection.send(frame)
        pair.settle()
        self.assertEqual(len(pair.server.frames), 12)
        for _ in range(40):
            pair.server.connection.resume()
            pair.settle()
        self.assertEqual(pair.server.frames, frames)

    def test_pause_reaches_the_sender(self):
        """A paused reader fills the sender's queue, which is bounded: announcements go first, payloads stay."""
        pair = Pair().establish()
        pair.server.connection.pause()
        connection = pair.client.connection
        for n in range(400):
            connection.send(bytes([1]) + n.to_bytes(2, "big") + bytes(10_000), droppable=ANNOUNCEMENT)
            pair.settle()
            self.assertLessEqual(connection.queued, QUEUE_LIMIT)
        self.assertGreater(connection.dropped, 200)
        for _ in range(10):
            connection.send(b"\x02" + bytes(50_000))
        pair.server.connection.resume()
        pair.settle()
        self.assertEqual([frame[0] for frame in pair.server.frames[-10:]], [2] * 10)
        self.assertEqual(connection.queued, 0)

    def test_control_overflow(self):
        """A peer that makes us queue more control than the bound is cut."""
        pair = Pair().establish()
        pair.server.connection.pause()
        for _ in range(60):
            pair.client.connection.send(bytes(100_000))
            pair.settle()
        self.assertEqual(pair.client.reasons("lost"), ["send queue overflow"])

    def test_a_burst_on_a_free_link_is_not_dropped(self):
        """What a link takes at once it gets, more than its queue would hold for a stalled one."""
        pair = Pair().establish()
        pair.client.connection.send(b"\x01" * 40_000, droppable=True)
        pair.client.connection.send(b"\x02" * 40_000, droppable=True)
        self.assertEqual(pair.client.connection.queued, 0)
        pair.settle()
        self.assertEqual(len(pair.server.frames), 2)

    def test_drained(self):
        """`drained` comes once, after the queue was above the high mark and fell below the low one."""
        pair = Pair().establish()
        connection = pair.client.connection
        pair.server.connection.pause()
        while connection.queued <= HIGH_WATER:
            connection.send(bytes(20_000))
            pair.settle()
        self.assertNotIn("drained", pair.client.names())
        pair.server.connection.resume()
        pair.settle()
        self.assertEqual(pair.client.names().count("drained"), 1)
        self.assertLess(connection.queued, LOW_WATER)
        connection.send(bytes(20_000))
        pair.settle()
        self.assertEqual(pair.client.names().count("drained"), 1)

    def test_stalled_peer(self):
        """A stopped process is cut when it has taken nothing for 30 s, and what waited for it is freed."""
        pair = Pair().establish()
        pair.far.frozen = True
        for _ in range(9):
            pair.client.connection.send(bytes(100_000))
        pair.wires.advance(29, step=1)
        self.assertEqual(pair.client.reasons("lost"), [])
        pair.wires.advance(2, step=1)
        self.assertEqual(pair.client.reasons("lost"), ["stalled"])
        self.assertEqual(pair.client.connection.queued, 0)

    def test_slow_peer(self):
        """A peer that takes something now and then is not stalled."""
        pair = Pair().establish()
        for _ in range(4):
            pair.far.frozen = True
            for _ in range(5):
                pair.client.connection.send(bytes(100_000))
            pair.wires.advance(20, step=1)
            pair.far.frozen = False
            pair.settle()
        pair.wires.advance(60, step=5)
        self.assertEqual((pair.client.reasons("lost"), len(pair.server.frames)), ([], 20))

    def test_pause_and_resume_out_of_turn(self):
        """Repeated, early and late calls change nothing."""
        pair = Pair().establish()
        connection = pair.server.connection
        connection.resume()
        connection.pause()
        connection.pause()
        connection.resume()
        connection.resume()
        pair.client.connection.send(b"\x01")
        pair.settle()
        self.assertEqual(pair.server.frames, [b"\x01"])
        connection.hang_up("bye")
        connection.pause()
        pair.settle()
        connection.pause()
        connection.resume()
        connection.established()
        self.assertEqual(pair.server.reasons("lost"), ["bye"])
        self.assertEqual(pair.wires.leftovers(), ([], []))


class LeakTests(SynchronousTestCase):
    def test_a_hundred_links(self):
        """After a hundred links that ended in different ways, no end is open and no call is pending."""
        for n in range(100):
            pair = Pair(expected=node_id(2 if n % 10 else 8)).settle()
            if n % 10:
                pair.client.connection.send(bytes(n * 1000 + 1))
                side = pair.client if n % 2 else pair.server
                side.connection.hang_up("bye", abort=n % 3 == 0)
                pair.settle()
            self.assertEqual(pair.wires.leftovers(), ([], []))
            for owner in (pair.client, pair.server):
                self.assertEqual(len(owner.reasons("lost") + owner.reasons("refused")), 1)
