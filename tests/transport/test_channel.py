"""What one read of a socket may hold: one record, several, pieces of some, and records without content."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.trial.unittest import SynchronousTestCase

from positron.transport import TLSIdentity
from positron.transport.channel import ENCRYPTED, HEADER_SIZE, RECORD_COST
from positron.transport.frames import pack_length
from tests.transport.owners import Pair, seed
from tests.transport.test_tls import Stranger


class Disguising(TLSIdentity):
    """Gives OpenSSL `instead` of what came from the socket, once."""

    instead = None

    def serverConnectionForTLS(self, tlsProtocol):
        connection = super().serverConnectionForTLS(tlsProtocol)
        write = connection.bio_write

        def bio_write(data):
            data, self.instead = self.instead or data, None
            return write(data)

        connection.bio_write = bio_write
        return connection


def framed(frame):
    """What a frame is on the wire."""
    return pack_length(len(frame)) + frame


def header(size):
    """The header of a record of so many bytes in all."""
    return (ENCRYPTED + size - HEADER_SIZE).to_bytes(HEADER_SIZE)


class RecordTests(SynchronousTestCase):
    def link(self, **sides):
        self.pair = Pair(**sides).establish()
        self.tls = self.pair.client.connection.transport.getHandle()

    def record(self, content):
        """A record of it by the client, which is not under way yet."""
        self.tls.send(content)
        return self.tls.bio_read(2**15)

    def close(self):
        """The record that closes the client's TLS."""
        self.tls.shutdown()
        return self.tls.bio_read(2**15)

    def read(self, *chunks):
        """The server reads these from its socket, one at a time: what frames they brought."""
        before = len(self.pair.server.frames)
        for chunk in chunks:
            self.pair.far.inbox += chunk
            self.pair.settle()
        return self.pair.server.frames[before:]

    def test_a_record_is_what_we_think(self):
        """Its header, and what it adds to its content."""
        self.link()
        for size in (5, 300, 16384):
            record = self.record(bytes(size))
            self.assertEqual((record[:HEADER_SIZE], len(record)), (header(len(record)), size + RECORD_COST))

    def test_several_records(self):
        """All that one read brought is passed up, however many records it was in."""
        self.link()
        first, second, third = (
            self.record(framed(frame)) for frame in (b"\x01one", b"\x02two", b"\x03three")
        )
        self.assertEqual(self.read(first), [b"\x01one"])
        self.assertEqual(self.read(second + third), [b"\x02two", b"\x03three"])

    def test_pieces(self):
        """Two records cut in two anywhere are two frames after the second piece, one as long as the first, too."""
        self.link()
        long, short = b"\x01" * 60, b"\x02"
        for cut in range(2 * RECORD_COST + len(framed(long) + framed(short)) + 1):
            both = self.record(framed(long)) + self.record(framed(short))
            self.assertEqual(self.read(both[:cut], both[cut:]), [long, short])

    def test_a_frame_in_many_records(self):
        """Records that complete no frame alone."""
        self.link()
        wire = framed(b"\x01" * 40)
        self.assertEqual(
            self.read(*(self.record(wire[at : at + 7]) for at in range(0, 44, 7))), [b"\x01" * 40]
        )

    def test_a_close_alone(self):
        """A peer that closes is gone at once, whether or not it said something in the read before."""
        self.link()
        self.assertEqual(self.read(self.record(framed(b"\x01")), self.close()), [b"\x01"])
        self.assertEqual(self.pair.server.reasons("lost"), ["closed by peer"])

    def test_a_close_after_content(self):
        """So is one whose last words came with its close."""
        self.link()
        self.assertEqual(self.read(self.record(framed(b"\x01")) + self.close()), [b"\x01"])
        self.assertEqual(self.pair.server.reasons("lost"), ["closed by peer"])

    def test_a_forged_record(self):
        """A record that is not the peer's ends the link with OpenSSL's word for it, and the peer is told."""
        self.link()
        record = self.record(framed(b"\x01"))
        self.assertEqual(self.read(record[:-1] + bytes([record[-1] ^ 1])), [])
        self.assertRegex(self.pair.server.reasons("lost")[0], "^TLS failure: .")
        self.assertRegex(self.pair.client.reasons("lost")[0], "^TLS failure: .*bad record mac")

    def test_records_in_disguise(self):
        """What looks like one record and is several, as a peer can have it who begins within another, is read."""
        tls = Disguising(seed(2))
        self.link(server_tls=tls)
        tls.instead = self.record(framed(b"\x01one")) + self.record(framed(b"\x02two"))
        self.assertEqual(
            self.read(header(len(tls.instead)).ljust(len(tls.instead))), [b"\x01one", b"\x02two"]
        )

    def test_records_without_content(self):
        """Session tickets, one a read, are passed over, and what comes after them is read."""
        pair = Pair(server_tls=Stranger(Ed25519PrivateKey.from_private_bytes(seed(4))))
        while not pair.server.calls:
            pair.near.turn()
            pair.far.turn()
        pair.far.turn()
        tickets = bytes(pair.near.inbox)
        size = HEADER_SIZE + int.from_bytes(tickets[HEADER_SIZE - 2 : HEADER_SIZE])
        self.assertEqual((pair.client.names(), tickets[:HEADER_SIZE]), (["connected"], header(size)))
        for chunk in (tickets[:size], tickets[size:]):
            pair.near.inbox[:] = chunk
            pair.settle()
        pair.server.connection.send(b"\x01")
        pair.settle()
        self.assertEqual((pair.client.frames, pair.client.reasons("lost")), ([b"\x01"], []))

    def test_after_hang_up(self):
        """What still comes while the link is closing is not passed up, and the peer's close is seen."""
        self.link()
        last, close = self.record(framed(b"\x01")), self.close()
        self.pair.near.frozen = True
        self.pair.server.connection.hang_up("enough")
        self.assertEqual(self.read(last, close), [])
        self.assertEqual(self.pair.server.reasons("lost"), ["enough"])
