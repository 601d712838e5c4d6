"""Live links as the core hears of them."""

from twisted.internet import defer, error
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from positron.config import Config
from positron.core.envelope import Sealer
from positron.core.events import (
    Congested,
    Connected,
    Dial,
    DialFailed,
    Disconnected,
    Drained,
    Established,
    Hangup,
    Pause,
    Received,
    Resume,
    Send,
)
from positron.core.limits import PROFILES
from positron.services.lanes import Lanes
from positron.services.network import TCPNetwork
from positron.services.peers import PeerService
from positron.testing import MemoryNetwork, _Place
from positron.transport import TLSIdentity


@implementer(IStreamClientEndpoint)
class FailingEndpoint:
    def __init__(self, reason):
        self.reason = reason

    def connect(self, factory):
        return defer.fail(Failure(self.reason))


class PeerServiceTests(SynchronousTestCase):
    """Two services on a memory network; `heard` is what each core would hear."""

    def setUp(self):
        self.clock = Clock()
        self.network = MemoryNetwork(self.clock)
        self.at = lambda service, event: None
        self.a, self.b = self.service("a"), self.service("b")
        self.addCleanup(self.close)

    def close(self):
        for service in (self.a, self.b):
            self.network.wait(service.close())
        self.network.run(1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def send(self, *actions):
        """What the core of `a` says in one step."""
        for action in actions:
            self.a.send(action)
        self.a.performed()

    def service(self, name, tried=lambda ip: False):
        heard = []
        place = _Place(self.network._wires, self.network._host(name))

        def step(event):
            heard.append(event)
            self.at(service, event)

        service = PeerService(self.clock, step, place, Lanes(Sealer(bytes(32)), None))
        service.heard = heard
        service.bind(Config(port=8888))
        service.open(TLSIdentity(self.network.identity(name).seed), PROFILES["lan"], tried)
        return service

    def link(self):
        """A link from a to b that is established: its number at both."""
        self.a.dial(Dial("10.0.0.2:8888"))
        self.network.run(0.2)
        for service in (self.a, self.b):
            (connected,) = service.heard
            service.established(Established(connected.link))
            service.heard.clear()
        return 1, 1

    def test_connected(self):
        """Both sides hear of the link: who it is, who dialled, from where, and the same binding."""
        self.a.dial(Dial("10.0.0.2:8888", self.network.identity("b").node_id))
        self.network.run(0.2)
        (of_b,), (of_a,) = self.a.heard, self.b.heard
        self.assertEqual(
            of_b, Connected(1, self.network.identity("b").node_id, True, "10.0.0.2:8888", of_a.binding)
        )
        self.assertEqual((of_a.node_id, of_a.outbound), (self.network.identity("a").node_id, False))
        self.assertTrue(of_a.address.startswith("10.0.0.1:"))
        self.assertEqual(len(of_a.binding), 32)

    def test_frames(self):
        """What the core says in one step arrives together, in order; a link that is gone swallows what is sent."""
        self.link()
        self.send(Send(1, b"one"), Send(1, b"two"), Send(99, b"nobody"))
        self.network.run(0.2)
        self.assertEqual(self.b.heard, [Received(1, [b"one", b"two"])])
        self.assertEqual(self.b.traffic(1)[0], self.a.traffic(1)[1])
        self.assertEqual(self.a.traffic(99), (0, 0))

    def test_hang_up(self):
        """What is queued is sent; each side hears of the end once, with its reason, and numbers are not used again."""
        self.link()
        self.send(Send(1, b"last words"))
        self.a.hang_up(Hangup(1, "leaving"))
        self.a.hang_up(Hangup(1, "again"))
        self.network.run(1)
        self.assertEqual(self.a.heard, [Disconnected(1, "leaving")])
        self.assertEqual(self.b.heard, [Received(1, [b"last words"]), Disconnected(1, "closed by peer")])
        self.a.heard.clear()
        self.a.dial(Dial("10.0.0.2:8888"))
        self.network.run(0.2)
        self.assertEqual(self.a.heard[0].link, 2)

    def test_counted(self):
        """Links are counted as they begin and, by reason, as they end; their bytes stay counted when they are gone."""
        self.link()
        self.send(Send(1, b"x" * 1000))
        self.network.run(0.2)
        before = self.a.bytes_total()
        self.assertEqual(before, self.a.traffic(1))
        self.assertGreater(before[1], 1000)
        self.a.hang_up(Hangup(1, "leaving: now"))
        self.network.run(1)
        self.assertEqual((self.a.opened, self.a.closed), (1, {"leaving": 1}))
        self.assertEqual((self.b.opened, self.b.closed), (1, {"closed by peer": 1}))
        self.assertEqual(self.a.bytes_total(), before)
        self.a.dial(Dial("10.0.0.2:8888"))
        self.network.run(0.2)
        self.assertEqual(self.a.opened, 2)

    def test_pause(self):
        """A paused link delivers nothing until it is resumed, and loses nothing."""
        self.link()
        self.b.pause(Pause(1))
        self.send(Send(1, b"frame"))
        self.network.run(1)
        self.assertEqual(self.b.heard, [])
        self.b.resume(Resume(1))
        self.network.run(1)
        self.assertEqual(self.b.heard, [Received(1, [b"frame"])])

    def much(self, then):
        """What b hears when a sends it more than a turn takes, and it does `then` in the first turn."""
        self.link()
        self.send(*[Send(1, bytes(250))] * 60)
        self.at = lambda service, event: then() if len(service.heard) == 1 and service is self.b else None
        self.network.run(2)
        return [type(event) for event in self.b.heard]

    def test_much(self):
        """What is more than a turn takes comes in the next one."""
        self.assertEqual(self.much(lambda: None), [Received, Received])

    def test_hang_up_while_frames_wait(self):
        """What waits when the core hangs up is not heard any more."""
        self.assertEqual(self.much(lambda: self.b.hang_up(Hangup(1, "enough"))), [Received, Disconnected])

    def test_close_while_frames_wait(self):
        """The same when all is closed."""
        self.assertEqual(self.much(lambda: self.b.close()), [Received, Disconnected])

    def test_congestion(self):
        """Said once when over 256 KiB wait, and once more when they are gone."""
        self.link()
        self.b.pause(Pause(1))
        for _ in range(100):
            self.send(Send(1, b"x" * 10_000))
        self.network.run(0.5)
        congested = [event for event in self.a.heard if isinstance(event, Congested)]
        self.assertEqual(len(congested), 1)
        self.assertGreater(congested[0].queued, 256 * 1024)
        self.b.resume(Resume(1))
        self.network.run(5)
        self.assertEqual([type(event) for event in self.a.heard], [Congested, Drained])
        self.assertLess(self.a.heard[1].queued, 64 * 1024)
        self.b.pause(Pause(1))
        for _ in range(100):
            self.send(Send(1, b"x" * 10_000))
        self.network.run(0.5)
        self.assertIsInstance(self.a.heard[2], Congested)

    def test_dials_that_fail(self):
        """Each is heard once, with a reason of a few words, which is counted."""
        for address, expected in (("10.0.0.99:8888", None), ("10.0.0.2:8888", b"x" * 32), ("nonsense", None)):
            self.a.dial(Dial(address, expected))
        self.network.run(10)
        reasons = {event.address: event.reason for event in self.a.heard}
        self.assertEqual(len(self.a.heard), 3)
        self.assertEqual(reasons["10.0.0.99:8888"], "connection refused")
        self.assertIn("wrong identity: expected", reasons["10.0.0.2:8888"])
        self.assertIn("host:port", reasons["nonsense"])
        self.assertEqual(self.a.refused["connection refused"], 1)
        self.assertEqual(self.a.refused["wrong identity"], 1)

    def test_reasons(self):
        """What Twisted says of a connection that did not come about, in our words."""
        reasons = {
            error.TimeoutError(): "connection timed out",
            error.DNSLookupError(): "unknown host",
            error.ConnectError(osError=113): "cannot connect: error 113",
            OSError(): "cannot connect: OSError",
        }
        for cause, expected in reasons.items():
            self.a._network.client = lambda address, cause=cause: FailingEndpoint(cause)
            self.a.dial(Dial("10.0.0.2:8888"))
            self.assertEqual(self.a.heard.pop(), DialFailed("10.0.0.2:8888", expected))

    def test_partition(self):
        """A dial into the void ends after five seconds."""
        self.network.partition(["a"], ["b"])
        self.a.dial(Dial("10.0.0.2:8888"))
        self.network.run(6)
        self.assertEqual(self.a.heard, [DialFailed("10.0.0.2:8888", "connection timed out")])

    def test_close(self):
        """Links end, dials under way are given up, later ones are refused, and the core hears of each."""
        self.link()
        self.a.dial(Dial("10.0.0.99:8888"))
        self.a.dial(Dial("10.0.0.2:8888"))
        self.network.run(0.015)
        self.network.partition(["a"])
        began = self.clock.seconds()
        self.network.wait(self.a.close())
        self.assertLess(self.clock.seconds() - began, 1.5)
        self.network.heal()
        self.a.dial(Dial("10.0.0.2:8888"))
        kinds = sorted(type(event).__name__ for event in self.a.heard)
        self.assertEqual(kinds, ["DialFailed", "DialFailed", "DialFailed", "Disconnected"])
        self.assertEqual(self.a.listening.addresses, [])

    def test_garbled(self):
        """What is no frame ends the link, and the core is told that it was the peer's fault; other ends are not."""
        self.link()
        self.a._links[1].transport.write(b"\xff" * 100)
        self.network.run(0.2)
        self.assertEqual(self.b.heard, [Disconnected(1, "oversize frame", garbled=True)])
        self.assertEqual([event.garbled for event in self.a.heard], [False])

    def test_counted_reasons_are_bounded(self):
        """A peer cannot fill memory with reasons, nor with what follows their colons."""
        for number in range(200):
            self.a._turned_away("10.0.0.9:1", f"reason {number}")
            self.a._turned_away("10.0.0.9:1", f"one: {number}")
        self.assertLessEqual(len(self.a.refused), 65)
        self.assertLessEqual(len(self.a._reasons), 65)
        self.assertEqual(sum(self.a.refused.values()), 400)

    def test_each_new_reason_is_logged(self):
        """Though counted together; then every second, fourth, eighth time."""
        logged = []
        globalLogPublisher.addObserver(logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, logged.append)
        for reason in ["TLS failure: x"] * 9 + ["TLS failure: y"]:
            self.a._turned_away("10.0.0.9:1", reason)
        reasons = [event["reason"] for event in logged if event.get("log_source") is self.a]
        self.assertEqual(reasons, ["TLS failure: x"] * 4 + ["TLS failure: y"])
        self.assertEqual(self.a.refused, {"TLS failure": 10})


class TCPNetworkTests(SynchronousTestCase):
    def setUp(self):
        self.network = TCPNetwork(MemoryReactorClock())

    def test_client(self):
        """What to connect with follows from the host."""
        for address, kind in (
            ("127.0.0.1:1", TCP4ClientEndpoint),
            ("[::1]:1", TCP6ClientEndpoint),
            ("example.org:1", HostnameEndpoint),
        ):
            self.assertIsInstance(self.network.client(address), kind)
        self.assertRaises(ValueError, self.network.client, "example.org")

    def test_servers(self):
        """Host and port, IPv6 too, or the endpoint strings."""
        self.assertEqual(len(self.network.servers(Config(host="::1"))), 1)
        self.assertEqual(len(self.network.servers(Config(listen=["tcp:1", "tcp:2"]))), 2)
