"""The inbound link past the limit, and two dials that cross: whole nodes over memory and virtual time."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from positron.core.notices import PeerDown, PeerUp, Refused
from positron.testing import MemoryNetwork


class InboundTestCase(SynchronousTestCase):
    """A hub and nodes that know nobody else and dial it."""

    def setUp(self):
        self.network = MemoryNetwork(Clock())
        self.addCleanup(self.network.stop)
        self.notices = {}

    def place(self, name, host):
        """Let the node of this name stand at a public address, so that it has a network group."""
        self.network._hosts[name] = host
        self.network._names[host] = name

    def start(self, name, **options):
        """A node whose notices are kept."""
        node = self.network.node(name, discovery=False, **options)
        self.notices[name] = []
        node.on_event(self.notices[name].append)
        node.startService()
        self.network.wait(node.when_ready())
        return node

    def hub(self, max_peers):
        self.hub_node = self.start("hub", max_peers=max_peers)

    def join(self, name):
        """One more that dials the hub, and three seconds."""
        node = self.start(name, bootstrap=["hub"])
        self.network.run(3)
        return node

    def guests(self):
        """The names of whom the hub is linked to."""
        names = {node.node_id: name for name, node in self.network.nodes.items()}
        return {names[peer.node_id] for peer in self.hub_node.peers()}

    def told(self, name, kind):
        """What a node was told of this kind."""
        return [notice for notice in self.notices[name] if isinstance(notice, kind)]


class InboundLimitTests(InboundTestCase):
    def test_full(self):
        """All who are there are old enough to be protected: the newcomer is told `full`, and the others stay."""
        self.hub(max_peers=4)
        for name in ("a", "b"):
            self.join(name)
        late = self.join("late")
        self.assertEqual(self.guests(), {"a", "b"})
        self.assertEqual(late.peers(), [])
        hub = self.hub_node.node_id
        first = self.told("late", Refused)[0]
        self.assertEqual(first, Refused(node_id=hub, reason="full", address=self.network.address("hub")))
        for name in ("a", "b"):
            self.assertEqual(self.told(name, PeerDown), [])

    def test_room_again(self):
        """Who was refused comes in once somebody left, without being told to try again."""
        self.hub(max_peers=4)
        a, _ = self.join("a"), self.join("b")
        late = self.join("late")
        self.network.wait(a.stopService())
        self.network.wait(late.when_peers(1), 120)
        self.network.run(1)
        self.assertEqual(self.guests(), {"b", "late"})

    def test_doubtful_goes_first(self):
        """One with a first-hand score below 0.3 makes room, is told `evicted`, and is refused when it returns."""
        self.hub(max_peers=4)
        a, _ = self.join("a"), self.join("b")
        self.hub_node.set_trust(a.node_id, 0.25)
        self.join("late")
        self.assertEqual(self.guests(), {"b", "late"})
        self.assertEqual(
            self.told("a", PeerDown), [PeerDown(node_id=self.hub_node.node_id, reason="evicted")]
        )
        self.assertIn(PeerDown(node_id=a.node_id, reason="evicted"), self.told("hub", PeerDown))
        self.network.run(120)
        self.assertEqual(self.guests(), {"b", "late"})
        self.assertEqual({notice.reason for notice in self.told("a", Refused)}, {"full"})

    def test_youngest_of_the_largest_group_goes(self):
        """Beyond the twelve oldest, the largest network group pays: its youngest, or the newcomer if it is one."""
        for number in range(12):
            self.place(f"old{number}", f"1{number}.1.1.1")
        for name, host in {"x1": "8.8.0.1", "x2": "8.8.0.2", "x3": "8.8.0.3", "new": "9.9.0.1"}.items():
            self.place(name, host)
        self.hub(max_peers=22)  # 14 of them inbound
        old = {f"old{number}" for number in range(12)}
        for name in (*sorted(old), "x1", "x2"):
            self.join(name)
        self.assertEqual(self.guests(), {*old, "x1", "x2"})
        self.join("new")
        self.assertEqual(self.guests(), {*old, "x1", "new"})
        self.assertEqual([notice.reason for notice in self.told("x2", PeerDown)], ["evicted"])
        self.network.wait(self.network.nodes["x2"].stopService())
        self.join("x3")
        self.assertEqual(self.guests(), {*old, "x1", "new"})
        self.assertEqual(self.told("x3", Refused)[0].reason, "full")


class CrossingDialsTests(SynchronousTestCase):
    def cross(self, seed, latency, apart):
        """Two nodes that know each other, started `apart` seconds from each other, end with one link, in use.

        How many channels there were.
        """
        network = MemoryNetwork(Clock(), latency=latency, seed=seed)
        nodes, notices = [], {}
        for name, other in (("a", "b"), ("b", "a")):
            node = network.node(name, bootstrap=[other])
            notices[name] = []
            node.on_event(notices[name].append)
            node.startService()
            nodes.append(node)
            network.run(apart)
        network.run(10)
        a, b = nodes
        for me, other in ((a, b), (b, a)):
            self.assertEqual([peer.node_id for peer in me.peers()], [other.node_id])
            self.assertEqual(len(me._peers._links), 1, "links that are not in use")
        self.assertEqual({a.peers()[0].direction, b.peers()[0].direction}, {"in", "out"})
        for name in "ab":
            told = [notice for notice in notices[name] if isinstance(notice, PeerUp | PeerDown)]
            self.assertEqual([type(notice) for notice in told], [PeerUp], told)
        heard = []
        b.subscribe("t", heard.append)
        network.wait(a.publish("t", 1, min_peers=1))
        network.run(1)
        self.assertEqual(len(heard), 1)
        network.stop()
        self.assertEqual(network.clock.getDelayedCalls(), [])
        return next(a._peers._numbers) - 1

    def test_a_hundred(self):
        """Whatever the latency and however close the two dials are, they end in one link that never goes down."""
        crossed = 0
        for seed in range(100):
            latency = (0.0005, 0.005, 0.05, 0.25)[seed % 4] * (1 + seed / 100)
            apart = (0.0, 0.3, 0.9, 1.5, 2.2)[seed % 5] * latency
            crossed += self.cross(seed, latency, apart) > 1
        self.assertGreater(crossed, 90, "the dials hardly ever crossed")

    def test_unequal_ways(self):
        """The same where one direction is much slower than the other."""
        for seed in range(20):
            slow = 0.02 * (1 + seed)
            self.cross(seed, lambda source, target, slow=slow: slow if source == "a" else 0.001, 0.0)
