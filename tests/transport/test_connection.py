"""One link between two nodes over a pipe, in virtual time."""

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.protocol import Protocol
from twisted.trial.unittest import SynchronousTestCase

from positron.transport import (
    MAX_FRAME,
    address_text,
)
from positron.transport.frames import pack_length
from tests.transport.owners import Owner, Pair, node_id


class MeetingTests(SynchronousTestCase):
    def test_two_identities_meet(self):
        """Each sees the other's node id, both see one binding, and the Deferred has the dialler's connection."""
        pair = Pair(expected=node_id(2)).settle()
        near, far = pair.client.connection, pair.server.connection
        self.assertIs(self.successResultOf(pair.dialled), near)
        self.assertEqual((near.node_id, far.node_id), (node_id(2), node_id(1)))
        self.assertEqual(near.binding, far.binding)
        self.assertEqual(len(near.binding), 32)
        self.assertEqual((near.outbound, far.outbound), (True, False))
        self.assertEqual((near.address, far.address), ("10.0.0.2:8888", "10.0.0.1:40000"))

    def test_bindings_differ(self):
        """A second channel between the same two has another binding."""
        self.assertNotEqual(
            Pair().settle().client.connection.binding, Pair().settle().client.connection.binding
        )

    def test_frames_both_ways(self):
        """What is sent in one turn arrives as one list, in order, and the bytes are counted alike on both ends."""
        pair = Pair().establish()
        frames = [bytes([n]) * (n + 1) for n in range(1, 60)]
        for frame in frames:
            pair.client.connection.send(frame)
        pair.server.connection.send(b"\x01back")
        pair.settle()
        self.assertEqual([call[2] for call in pair.server.calls if call[0] == "frames"], [frames])
        self.assertEqual(pair.client.frames, [b"\x01back"])
        sent = sum(len(frame) + 4 for frame in frames)
        self.assertEqual((pair.client.connection.bytes_out, pair.server.connection.bytes_in), (sent, sent))
        self.assertEqual((pair.client.connection.bytes_in, pair.server.connection.bytes_out), (9, 9))

    def test_first_words_in_link_connected(self):
        """An owner may speak from within `link_connected`; nothing it says is lost."""

        class Greeter(Owner):
            def link_connected(self, connection):
                super().link_connected(connection)
                connection.send(b"\x01hello")

        pair = Pair(client=Greeter(), server=Greeter()).settle()
        self.assertEqual((pair.client.frames, pair.server.frames), ([b"\x01hello"], [b"\x01hello"]))

    def test_largest_frames(self):
        """Frames of the limit pass, several at once."""
        pair = Pair().establish()
        frames = [bytes([n]) + bytes(MAX_FRAME - 1) for n in range(3)]
        for frame in frames:
            pair.client.connection.send(frame)
        pair.settle()
        self.assertEqual(pair.server.frames, frames)

    def test_a_callers_fault(self):
        """A frame that the wire does not allow is refused at the call."""
        connection = Pair().establish().client.connection
        self.assertRaises(ValueError, connection.send, b"")
        self.assertRaises(ValueError, connection.send, bytes(MAX_FRAME + 1))
        connection.send(b"\x01fine")

    def test_wrong_identity(self):
        """A dialled id that is not proved ends in `link_refused`, which names both, and never in a greeting."""
        pair = Pair(expected=node_id(9)).settle()
        self.assertEqual(pair.client.names(), ["refused"])
        (reason,) = pair.client.reasons("refused")
        self.assertRegex(reason, r"^wrong identity: expected [a-z2-7]{8}, got [a-z2-7]{8}$")
        self.assertEqual(len(pair.server.reasons("refused") + pair.server.reasons("lost")), 1)
        self.assertEqual(pair.wires.leftovers(), ([], []))

    def test_own_identity_is_passed_up(self):
        """Meeting oneself is for the core to judge."""
        pair = Pair()
        self.assertEqual(Pair(server_tls=pair.client_tls).settle().client.connection.node_id, node_id(1))

    def test_address_text(self):
        """Addresses as the project writes them."""
        self.assertEqual(address_text(IPv4Address("TCP", "1.2.3.4", 5)), "1.2.3.4:5")
        self.assertEqual(address_text(IPv6Address("TCP", "::1", 5)), "[::1]:5")
        self.assertIn("/tmp/x", address_text(UNIXAddress("/tmp/x")))


class EndTests(SynchronousTestCase):
    def ends(self, pair):
        """How each side ended; asserts that it did once."""
        for owner in (pair.client, pair.server):
            self.assertEqual(owner.names().count("lost"), 1)
            self.assertNotIn("refused", owner.names())
        self.assertEqual(pair.wires.leftovers(), ([], []))
        return pair.client.reasons("lost")[0], pair.server.reasons("lost")[0]

    def test_hang_up_flushes(self):
        """What was sent before `hang_up` arrives, more than any buffer holds, and what comes after it does not."""
        pair = Pair().establish()
        frames = [bytes([n]) * 100_000 for n in range(9)]
        for frame in frames:
            pair.client.connection.send(frame)
        pair.client.connection.hang_up("enough")
        pair.client.connection.send(b"\x01too late")
        pair.settle()
        self.assertEqual(pair.server.frames, frames)
        self.assertEqual(self.ends(pair), ("enough", "closed by peer"))

    def test_hang_up_twice(self):
        """The first reason stays, and the end is told once."""
        pair = Pair().establish()
        pair.client.connection.hang_up("first")
        pair.client.connection.hang_up("second", abort=True)
        pair.settle()
        pair.client.connection.hang_up("third")
        self.assertEqual(self.ends(pair)[0], "first")

    def test_both_at_once(self):
        """Both sides hang up in the same turn."""
        pair = Pair().establish()
        pair.client.connection.hang_up("mine")
        pair.server.connection.hang_up("yours")
        pair.settle()
        self.assertEqual(self.ends(pair), ("mine", "yours"))

    def test_abort(self):
        """`abort` does not wait for anything, and the owner does not hear of it inside the call."""
        pair = Pair().establish()
        pair.far.frozen = True
        pair.client.connection.hang_up("now", abort=True)
        self.assertEqual(pair.client.reasons("lost"), [])
        pair.settle()
        self.assertEqual(pair.client.reasons("lost"), ["now"])
        pair.far.frozen = False
        pair.settle()
        self.assertEqual(self.ends(pair), ("now", "connection lost"))

    def test_no_frames_after_hang_up(self):
        """An owner that hangs up on the first of many reads hears nothing more, whatever is under way."""
        pair = Pair().establish()
        pair.server.on_frames = lambda connection, frames: connection.hang_up("enough")
        for _ in range(16):
            # With its length a quarter of a TLS record. A read of 64 KiB has three whole records.
            pair.client.connection.send(b"\x01" * 4092)
        pair.settle()
        self.assertEqual(len(pair.server.frames), 12)
        self.assertEqual(self.ends(pair)[1], "enough")

    def test_unanswered_close(self):
        """A peer that does not answer our close is aborted after 5 s."""
        pair = Pair().establish()
        pair.far.frozen = True
        pair.client.connection.hang_up("bye")
        pair.wires.advance(4.5)
        self.assertEqual(pair.client.reasons("lost"), [])
        pair.wires.advance(1)
        self.assertEqual(pair.client.reasons("lost"), ["bye"])
        pair.far.frozen = False
        pair.settle()
        self.ends(pair)

    def test_peer_vanishes(self):
        """A cut line is a lost link with no reason of ours."""
        pair = Pair().establish()
        pair.far.abortConnection()
        pair.settle()
        self.assertEqual(self.ends(pair), ("connection lost", "connection lost"))

    def test_peer_closes_while_we_are_blocked(self):
        """A peer that closes while we wait to write to it leaves no socket open.

        Twisted never closes a socket whose paused producer it has just resumed.
        """
        pair = Pair().establish()
        pair.server.connection.pause()
        for _ in range(9):
            pair.client.connection.send(b"\x01" * 100_000)
        pair.settle()
        self.assertGreater(pair.client.connection.queued, 0)
        pair.server.connection.hang_up("tired")
        pair.settle()
        self.assertEqual(self.ends(pair), ("closed by peer", "tired"))

    def test_hang_up_while_paused(self):
        """A link we do not read from closes as quickly as any other, on either side's wish."""
        for side in ("client", "server"):
            pair = Pair().establish()
            pair.client.connection.pause()
            getattr(pair, side).connection.hang_up("bye")
            pair.settle()
            if side == "server":
                # We do not look while we do not read: the peer's close waits for us, or for its own 5 s.
                self.assertEqual(pair.client.reasons("lost"), [])
                pair.client.connection.resume()
                pair.settle()
            self.ends(pair)

    def test_owners_fault(self):
        """An exception of the owner's own ends that link, is logged, and is told like every end."""
        pair = Pair().establish()

        def fail(connection, frames):
            raise ZeroDivisionError

        pair.server.on_frames = fail
        pair.client.connection.send(b"\x01")
        pair.settle()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.ends(pair)[1], "connection lost")


class TimerTests(SynchronousTestCase):
    def raw(self, pair, data):
        """Send bytes that are no frames through the client's TLS."""
        pair.client.connection.transport.write(data)
        pair.settle()

    def test_handshake_timer(self):
        """A link that is not established in 5 s is aborted, on both sides, although TLS is done."""
        pair = Pair().settle()
        pair.wires.advance(4.5)
        self.assertEqual(pair.server.names(), ["connected"])
        pair.wires.advance(1)
        self.assertEqual(pair.client.reasons("lost") + pair.server.reasons("lost"), ["handshake timeout"] * 2)
        self.assertEqual(pair.wires.leftovers(), ([], []))

    def test_established(self):
        """An established link stays, silent as it is."""
        pair = Pair().establish()
        pair.wires.advance(60, step=5)
        self.assertEqual(pair.client.names() + pair.server.names(), ["connected"] * 2)
        self.assertEqual(pair.wires.clock.getDelayedCalls(), [])

    def test_silence_before_tls(self):
        """A server that says nothing refuses the dialler's link after 5 s."""
        pair = Pair()
        pair.far.frozen = True
        pair.wires.advance(6)
        self.assertEqual(pair.client.calls[0][0::2], ("refused", "handshake timeout"))
        self.assertEqual(len(pair.client.calls), 1)

    def test_oversize(self):
        """The fourth byte of a length over the limit cuts the link; the frame before it is passed up."""
        pair = Pair().establish()
        self.raw(pair, pack_length(3) + b"\x01ok" + pack_length(MAX_FRAME + 1)[:3])
        self.assertEqual(pair.server.reasons("lost"), [])
        self.raw(pair, pack_length(MAX_FRAME + 1)[3:])
        self.assertEqual(pair.server.reasons("lost"), ["oversize frame"])
        self.assertEqual(pair.server.frames, [b"\x01ok"])

    def test_empty_frame(self):
        """A zero length cuts the link."""
        pair = Pair().establish()
        self.raw(pair, bytes(4) + pack_length(1) + b"\x01")
        self.assertEqual((pair.server.reasons("lost"), pair.server.frames), (["empty frame"], []))

    def test_drip(self):
        """A frame that is not complete 10 s after its first byte cuts the link, however it drips."""
        pair = Pair().establish()
        self.raw(pair, pack_length(100))
        for _ in range(9):
            self.raw(pair, b"\x01")
            pair.wires.advance(1)
        self.assertEqual(pair.server.reasons("lost"), [])
        pair.wires.advance(1.5)
        self.assertEqual(pair.server.reasons("lost"), ["frame timeout"])

    def test_frame_timer_is_per_frame(self):
        """Each frame has its own 10 s: a stream that is always in the middle of one goes on."""
        pair = Pair().establish()
        self.raw(pair, pack_length(2) + b"\x01")
        for _ in range(6):
            pair.wires.advance(8, step=2)
            self.raw(pair, b"x" + pack_length(2) + b"\x01")
        self.assertEqual((len(pair.server.frames), pair.server.reasons("lost")), (6, []))

    def test_frame_timer_ends_with_the_frame(self):
        """A peer that is silent after the last piece of a frame stays."""
        pair = Pair().establish()
        self.raw(pair, pack_length(2) + b"\x01")
        self.raw(pair, b"x")
        pair.wires.advance(60, step=5)
        self.assertEqual((pair.server.frames, pair.server.reasons("lost")), ([b"\x01x"], []))

    def test_frame_timer_waits_while_we_paused(self):
        """What a peer cannot send because we do not read is not held against it."""
        pair = Pair().establish()
        self.raw(pair, pack_length(2) + b"\x01")
        pair.server.connection.pause()
        pair.wires.advance(60, step=5)
        self.raw(pair, b"x")
        pair.server.connection.resume()
        pair.settle()
        self.assertEqual((pair.server.frames, pair.server.reasons("lost")), ([b"\x01x"], []))

    def test_garbage_instead_of_tls(self):
        """A server that answers with something else is refused with OpenSSL's word for it."""

        class Gibberish(Protocol):
            def connectionMade(self):
                self.transport.write(b"HTTP/1.0 400 no\r\n\r\n")

        pair = Pair()
        pair.far.protocol = Gibberish()
        pair.far.protocol.makeConnection(pair.far)
        pair.settle()
        (reason,) = pair.client.reasons("refused")
        self.assertRegex(reason, "^TLS failure: ")
