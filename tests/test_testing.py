"""The memory network itself: its pipes behave like TCP's."""

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError, TimeoutError
from twisted.internet.interfaces import IConsumer, IListeningPort, IPushProducer, ITransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from positron.config import Config
from positron.testing import MemoryNetwork, _Place


class Recorder(Protocol):
    """Keeps what it is told; the other end answers nothing by itself."""

    def __init__(self):
        self.data = []
        self.lost = []

    def dataReceived(self, data):
        self.data.append(data)

    def connectionLost(self, reason):
        self.lost.append(reason.type)


class PipesTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.network = MemoryNetwork(self.clock, latency=0.1)
        self.servers = []
        self.factory = Factory.forProtocol(self.build)
        self.factory.noisy = False
        (endpoint,) = self.place("server").servers(Config(port=8888))
        self.port = self.successResultOf(endpoint.listen(self.factory))

    def place(self, name):
        return _Place(self.network._wires, self.network._host(name))

    def build(self):
        self.servers.append(Recorder())
        return self.servers[-1]

    def dial(self, address="10.0.0.1:8888"):
        client = self.place("client").client(address)
        return client.connect(Factory.forProtocol(Recorder))

    def connect(self):
        client = self.network.wait(self.dial())
        return client, self.servers[-1]

    def test_interfaces(self):
        """What pretends to be Twisted's is checked against Twisted's interfaces."""
        client, _ = self.connect()
        for interface in (ITransport, IConsumer, IPushProducer):
            verifyObject(interface, client.transport)
        verifyObject(IListeningPort, self.port)

    def test_latency(self):
        """A connection takes a round trip, data one way, and an end comes after what was written."""
        client, server = self.connect()
        self.assertApproximates(self.clock.seconds(), 0.2, 1e-6)
        client.transport.write(b"a")
        client.transport.writeSequence([b"b", b"c"])
        client.transport.loseConnection()
        client.transport.write(b"too late")
        self.network.run(0.09)
        self.assertEqual((server.data, client.lost), ([], [ConnectionDone]))
        self.network.run(0.02)
        self.assertEqual((server.data, server.lost), ([b"a", b"bc"], [ConnectionDone]))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_abort(self):
        """The other end sees a lost connection."""
        client, server = self.connect()
        client.transport.abortConnection()
        self.network.run(1)
        self.assertEqual(server.lost, [ConnectionLost])

    def test_nobody_there(self):
        """Refused after a round trip; timed out when nothing passes; cancelled when given up."""
        self.assertRaises(ConnectionRefusedError, self.network.wait, self.dial("10.0.0.9:1"))
        self.network.partition(["client"], ["server"])
        self.assertRaises(TimeoutError, self.network.wait, self.dial())
        dialling = self.dial()
        dialling.cancel()
        self.failureResultOf(dialling, CancelledError)
        self.network.run(1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_refused_by_the_factory(self):
        """A factory that builds nothing closes the connection, as a port does."""
        self.factory.buildProtocol = lambda address: None
        client = self.network.wait(self.dial())
        self.network.run(1)
        self.assertEqual(client.lost, [ConnectionLost])

    def test_port(self):
        """An address is taken once, and free after it was closed."""
        (endpoint,) = self.place("server").servers(Config(port=8888))
        self.failureResultOf(endpoint.listen(self.factory))
        self.successResultOf(self.port.stopListening())
        self.successResultOf(endpoint.listen(self.factory))

    def test_partition(self):
        """What is sent into a partition waits, and arrives in order after it; so does an end."""
        client, server = self.connect()
        self.network.partition(["client"])
        client.transport.write(b"a")
        client.transport.loseConnection()
        self.network.run(100)
        self.assertEqual((server.data, server.lost), ([], []))
        self.network.heal()
        self.network.run(1)
        self.assertEqual((server.data, server.lost), ([b"a"], [ConnectionDone]))

    def test_loss(self):
        """A lost chunk makes the stream late, and never changes its order."""
        client, server = self.connect()
        self.network.loss = 0.5
        for number in range(100):
            client.transport.write(b"%d" % number)
        began = self.clock.seconds()
        while len(server.data) < 100:
            self.network.run(0.1)
        self.assertEqual(server.data, [b"%d" % number for number in range(100)])
        self.assertGreater(self.clock.seconds() - began, 0.5)

    def test_pressure(self):
        """A receiver that pauses holds its sender's producer up, and nothing is lost."""
        client, server = self.connect()
        told = []

        class Producer:
            def pauseProducing(self):
                told.append("pause")

            def resumeProducing(self):
                told.append("resume")

            def stopProducing(self):
                told.append("stop")

        server.transport.pauseProducing()
        client.transport.registerProducer(Producer(), True)
        for _ in range(10):
            client.transport.write(b"x" * 50_000)
        self.network.run(1)
        self.assertEqual((told, server.data), (["pause"], []))
        server.transport.resumeProducing()
        self.network.run(1)
        self.assertEqual((told, len(b"".join(server.data))), (["pause", "resume"], 500_000))
        client.transport.loseConnection()
        self.network.run(1)
        self.assertEqual(server.lost, [])
        client.transport.unregisterProducer()
        self.network.run(1)
        self.assertEqual(server.lost, [ConnectionDone])


class MemoryNetworkTests(SynchronousTestCase):
    def test_names(self):
        """A name has one address and one identity, whoever asks first and in whatever network."""
        network, other = MemoryNetwork(Clock()), MemoryNetwork(Clock())
        self.assertEqual(
            [network.address(name) for name in "aba"], ["10.0.0.1:8888", "10.0.0.2:8888", "10.0.0.1:8888"]
        )
        self.assertEqual(network.identity("a").node_id, other.identity("a").node_id)
        self.assertNotEqual(network.identity("a").node_id, network.identity("b").node_id)

    def test_one_node_of_a_name(self):
        """A second node of a name is refused, or `stop` would miss the first; once that is stopped, it is not."""
        network = MemoryNetwork(Clock())
        first = network.node("a")
        for act in (lambda: None, first.startService, lambda: network.run(1)):
            act()
            error = self.assertRaises(ValueError, network.node, "a")
            self.assertIn("'a'", str(error))
        self.assertIs(network.nodes["a"], first)
        network.wait(first.stopService())
        second = network.node("a", max_peers=7)
        second.startService()
        network.wait(second.when_ready())
        self.assertRaises(ValueError, network.node, "a")
        self.assertEqual(second.node_id, first.node_id)
        network.stop()
        self.assertEqual(network.clock.getDelayedCalls(), [])
        second.startService()
        network.wait(second.when_ready())
        self.assertRaises(ValueError, network.node, "a")
        network.stop()

    def test_wait(self):
        """A result, an error, or an assertion that nothing came."""
        network = MemoryNetwork(Clock())
        never = Deferred()
        self.assertRaises(AssertionError, network.wait, never, 5)
        failing = Deferred()
        network.clock.callLater(1, failing.errback, KeyError("x"))
        self.assertRaises(KeyError, network.wait, failing)

    def test_run_goes_from_call_to_call(self):
        """Each delayed call sees its own time."""
        clock = Clock()
        network = MemoryNetwork(clock)
        seen = []
        for delay in (0.1, 0.2, 3.0):
            clock.callLater(delay, lambda: seen.append(clock.seconds()))
        network.run(1)
        self.assertEqual(seen, [0.1, 0.2])
        self.assertEqual(clock.seconds(), 1.0)

    def test_same_seed_same_world(self):
        """A network of the same seed does the same things at the same moments."""

        def history(seed):
            network = MemoryNetwork(Clock(), loss=0.1, seed=seed)
            nodes = [network.node(name, bootstrap=["a"] if name != "a" else []) for name in "abcd"]
            heard = []
            for node in nodes:
                node.subscribe("#", lambda message: heard.append((network.clock.seconds(), message.data)))
                node.startService()
            network.run(3)
            for number in range(20):
                nodes[number % 4].publish("t", number)
                network.run(0.3)
            network.stop()
            return heard

        self.assertEqual(history(1), history(1))
        self.assertNotEqual(history(1), history(2))
