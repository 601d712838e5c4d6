"""Envelopes that wait while lanes verify them: whole nodes over memory, and threads that work when told to."""

from collections import deque
from itertools import pairwise
from random import Random

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from positron.config import Config
from positron.core import messages
from positron.core.envelope import BROADCAST, Sealer, encode_entries, network_id_of
from positron.core.identity import to_text
from positron.core.notices import PeerDown
from positron.node import Node
from positron.node.clocks import Clocks
from positron.services.inbox import MAX_FRAMES
from positron.services.payload import encode
from positron.store.memory import MemoryStore
from positron.testing import WALL_START, MemoryNetwork, _Place
from positron.transport import TLSIdentity, dial
from tests.services.test_lanes import HeldThreads

READ = 64 * 1024
"""Bytes that one read brings at most."""


class Neighbour:
    """Greets as a node does, and then says what a test wants said. `heard` is what it was told."""

    def __init__(self, network, name):
        self.identity = network.identity(name)
        self.connection = None
        self.heard = []
        self._network_id = network_id_of("positron")
        self._clock = network.clock
        self._place = _Place(network._wires, network._host(name))

    def dial(self, address):
        endpoint = self._place.client(address)
        dial(self._clock, endpoint, TLSIdentity(self.identity.seed), self, address)

    def send(self, *said):
        for each in said:
            frame = each if isinstance(each, bytes) else messages.encode(each)
            self.connection.send(frame)

    def burst(self, *said):
        """Send, and let it arrive in pieces as large as a busy node reads them from a socket."""
        self.send(*said)
        self._clock.advance(0)
        pipe = self.connection.transport.transport._out
        at, _ = pipe._chunks[-1]
        whole = b"".join(chunk for _, chunk in pipe._chunks)
        pipe._chunks = deque((at, whole[start : start + READ]) for start in range(0, len(whole), READ))

    def link_connected(self, connection):
        self.connection = connection
        wall_ms = int(WALL_START * 1000)
        self.send(messages.Hello(1, 1, self._network_id, "neighbour", wall_ms, 0, (), wall_ms, "10.0.0.9:1"))

    def frames_received(self, connection, frames):
        for message in filter(None, map(messages.decode, frames)):
            self.heard.append(message)
            if isinstance(message, messages.Hello):
                self.send(messages.Welcome(1))
            elif isinstance(message, messages.Welcome):
                connection.established()

    def link_lost(self, connection, reason):
        self.heard.append(reason)

    link_refused = link_lost

    def drained(self, connection):
        pass


class NodeLanesTests(SynchronousTestCase):
    def setUp(self):
        self.network = MemoryNetwork(Clock(), latency=0.001)
        self.threads = HeldThreads()
        self.node = self.start(self.threads)
        self.neighbour = self.join("neighbour")
        self.addCleanup(self.stop)

    def stop(self):
        self.network.wait(self.node.stopService())
        self.network.run(1)
        self.assertEqual(self.network.clock.getDelayedCalls(), [])

    def start(self, threads):
        clock = self.network.clock
        node = Node(
            clock,
            Config(port=8888, profile="local"),
            network=_Place(self.network._wires, self.network._host("node")),
            identity=self.network.identity("node"),
            store=MemoryStore(clock, quota=1 << 30, retention=3600),
            rng=Random(0),
            clocks=Clocks(clock, WALL_START),
            threads=threads,
        )
        self.got, self.notices = [], []
        node.subscribe("t", lambda message: self.got.append(message.data[0]))
        node.on_event(self.notices.append)
        node.startService()
        self.network.wait(node.when_ready())
        return node

    def join(self, name):
        neighbour = Neighbour(self.network, name)
        neighbour.dial(self.network.address("node"))
        self.network.run(0.1)
        self.assertIn(to_text(neighbour.identity.node_id), [peer.node_id for peer in self.node.peers()])
        neighbour.heard.clear()
        return neighbour

    def pushes(self, first, count, author=None):
        """Frames of envelopes with one message each, which is its sequence number, of one author."""
        sealer, wall_ms = Sealer(network_id_of("positron")), int(WALL_START * 1000)
        frames = []
        for seq in range(first, first + count):
            envelope = sealer.seal(
                author or self.neighbour.identity,
                BROADCAST,
                epoch=wall_ms,
                seq=seq,
                created_ms=wall_ms,
                expires_ms=wall_ms + 60_000,
                ttl=16,
                body=encode_entries([("t", encode([seq, bytes(170)]))]),
            )
            frames.append(messages.push_frame(1, envelope.raw))
        return frames

    def pongs(self):
        return [each.nonce for each in self.neighbour.heard if isinstance(each, messages.Pong)]

    def work(self):
        """Let time pass, and have threads do all they are asked, the last first."""
        for _ in range(1000):
            self.network.run(0.005)
            if not self.threads.waiting:
                return
            self.threads.finish(-1)
        self.fail("there is no end of it")

    def downs(self):
        return [notice.reason for notice in self.notices if isinstance(notice, PeerDown)]

    def test_few(self):
        """A handful is handled where it is read, and no thread hears of it."""
        self.neighbour.burst(*self.pushes(1, 4))
        self.network.run(0.002)
        self.assertEqual((self.got, self.threads.waiting), ([1, 2, 3, 4], []))

    def test_order(self):
        """Whatever order the threads end in, each link's order is kept, with what follows its envelopes."""
        half = self.pushes(1, 200)
        self.neighbour.burst(*half[:100], messages.Ping(7), *half[100:], messages.Ping(8))
        self.network.run(0.05)
        self.assertEqual(len(self.threads.waiting), 2)
        begun = len(self.got)
        self.assertTrue(0 < begun < 100)
        self.assertEqual(self.pongs(), [])
        self.threads.finish(1)
        self.neighbour.send(messages.Ping(9))
        self.network.run(0.05)
        self.assertEqual((len(self.got), self.pongs()), (begun, []))
        self.work()
        self.assertEqual(self.got, list(range(1, 201)))
        self.assertEqual(self.pongs(), [7, 8, 9])
        self.assertEqual(self.node.stats().rejected, {})

    def test_other_links(self):
        """What comes over another link meanwhile waits its turn, so that no link gets ahead in an author's sequence."""
        other = self.join("other")
        self.neighbour.burst(*self.pushes(1, 200))
        self.network.run(0.05)
        other.send(*self.pushes(201, 1, author=self.neighbour.identity), messages.Ping(1))
        self.network.run(0.05)
        self.assertEqual([each for each in other.heard if isinstance(each, messages.Pong)], [])
        self.work()
        self.assertEqual(self.got, list(range(1, 202)))
        self.assertIn(messages.Pong, map(type, other.heard))

    def test_forged(self):
        """What is before a forged envelope is accepted; the link is cut for it; what is behind it is not heard."""
        frames = self.pushes(1, 200)
        frames[99] = frames[99][:-1] + bytes([frames[99][-1] ^ 1])
        self.neighbour.burst(*frames)
        self.work()
        self.assertEqual(self.got, list(range(1, 100)))
        self.assertEqual(self.node.stats().rejected, {"signature": 1})
        self.assertEqual(self.downs(), ["violation: signature"])
        self.assertEqual(self.node.known_peers()[0].state, "banned")

    def test_believed(self):
        """The core takes a thread's word: of one that finds everything good it accepts what is forged."""
        frames = self.pushes(1, 200)
        frames[-1] = frames[-1][:-1] + bytes([frames[-1][-1] ^ 1])
        self.neighbour.burst(*frames)
        self.network.run(0.05)
        while self.threads.waiting:
            work, done = self.threads.waiting.pop()
            claims = work.args[0]
            done([{signature: (author, message) for author, message, signature in each} for each in claims])
            self.network.run(0.05)
        self.assertEqual(self.got, list(range(1, 201)))

    def test_the_link_ends(self):
        """A link that its neighbour closes with envelopes in threads: they are accepted, then the link is down."""
        self.neighbour.burst(*self.pushes(1, 200))
        self.network.run(0.05)
        self.assertEqual(len(self.threads.waiting), 2)
        self.neighbour.connection.hang_up("bye")
        self.network.run(0.05)
        self.assertEqual(self.got, list(range(1, 201)))
        self.assertEqual(self.downs(), ["closed by peer"])
        received = self.node.stats().messages["received_total"]
        self.work()
        self.assertEqual(self.node.stats().messages["received_total"], received)

    def test_cut_by_us(self):
        """A link that we end with envelopes in threads: they are dropped."""
        self.neighbour.burst(*self.pushes(1, 200))
        self.network.run(0.05)
        begun = len(self.got)
        self.node.drop_peer(self.neighbour.identity.node_id)
        self.work()
        self.network.run(2)
        self.assertEqual(len(self.got), begun)
        self.assertEqual(len(self.downs()), 1)

    def test_stop(self):
        """A node that stops with envelopes in threads lets the threads go, and nothing happens when they end."""
        self.neighbour.burst(*self.pushes(1, 200))
        self.network.run(0.05)
        self.network.wait(self.node.stopService())
        self.assertEqual(self.threads.stops, 1)
        begun, calls = len(self.got), self.network.clock.getDelayedCalls()
        while self.threads.waiting:
            self.threads.finish()
        self.assertEqual(self.network.clock.getDelayedCalls(), calls)
        self.network.run(1)
        self.assertEqual(len(self.got), begun)

    def test_started_again(self):
        """After a stop and a start lanes work as before."""
        self.neighbour.burst(*self.pushes(1, 200))
        self.network.run(0.05)
        self.network.wait(self.node.stopService())
        self.threads.waiting.clear()
        self.node.startService()
        self.network.wait(self.node.when_ready())
        self.neighbour = self.join("another")
        self.got.clear()
        self.neighbour.burst(*self.pushes(1, 200))
        self.network.run(0.05)
        self.assertEqual(len(self.threads.waiting), 2)
        self.work()
        self.assertEqual(self.got, list(range(1, 201)))

    def test_caps(self):
        """With threads that stand still a neighbour is read up to 256 envelopes and a read more; then all arrive."""
        self.neighbour.burst(*self.pushes(1, 2000))
        self.network.run(1)
        (queue,) = self.node._peers._inbox._queues.values()
        self.assertGreater(queue.frames, MAX_FRAMES)
        self.assertLess(queue.size, MAX_FRAMES * 400 + READ)
        self.assertGreater(self.neighbour.connection.queued, 0)
        self.work()
        self.assertEqual(self.got, list(range(1, 2001)))
        self.assertEqual(self.downs(), [])

    def test_nothing_for_nothing(self):
        """Envelopes that are held already are verified by no thread."""
        frames = self.pushes(1, 200)
        self.neighbour.burst(*frames)
        self.work()
        self.neighbour.burst(*frames)
        self.network.run(0.05)
        self.assertEqual(self.threads.waiting, [])
        self.assertEqual(self.node.stats().messages["duplicate_total"], 200)

    def test_turns(self):
        """With no threads at all, a large read leaves others their turn in between, and all arrives in order."""
        self.network.wait(self.node.stopService())
        self.node = self.start(None)
        self.neighbour = self.join("another")
        clock = self.network.clock
        seen = []

        def look(*_):
            seen.append(len(self.got))
            if seen[-1] < 200:
                clock.callLater(0, look)

        first = self.node.subscribe("t", lambda message: first.cancel() or look())
        self.neighbour.burst(*self.pushes(1, 200))
        self.network.run(0.1)
        self.assertEqual(self.got, list(range(1, 201)))
        steps = [after - before for before, after in pairwise(seen)]
        self.assertLess(max(steps), 100)
        self.assertGreater(len([step for step in steps if step]), 2)
