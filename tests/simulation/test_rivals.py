"""The rivals behave as their specifications say, and as the research found that they do."""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from positron.simulation.latencies import steady
from positron.simulation.rivals import FRAMING, RIVALS, RivalNetwork
from positron.simulation.rivals.gossipsub import Gossipsub, Gossipsub6
from positron.simulation.rivals.hyparview import ACTIVE, PASSIVE
from positron.simulation.rivals.push import TTL

SIZE = 1200


class Measured:
    """Messages from random good nodes, 0.2 s apart, and what became of them."""

    def __init__(self, network: RivalNetwork, warm: int = 20) -> None:
        self.network = network
        self.bad: set[int] = set()
        self.rng = Random(7)
        self.say(warm)
        network.run(5)
        self.first = len(network.published)
        self.before = network.traffic.payload_bytes, network.traffic.control_bytes

    def say(self, count: int, gap: float = 0.2) -> None:
        """So many messages."""
        for _ in range(count):
            self.network.publish(self.rng.choice(self.good), SIZE)
            self.network.run(gap)

    @property
    def good(self) -> list[int]:
        """The nodes that are up and not malicious."""
        return [
            index for index, node in enumerate(self.network.nodes) if node.up and node.behaviour == "honest"
        ]

    def spoil(self, share: float) -> list[int]:
        """Some nodes."""
        count = len(self.network.nodes)
        return self.rng.sample(range(count), int(share * count))

    def coverage(self) -> float:
        """The share of (message, good node) pairs that were delivered within 10 s."""
        self.network.run(10)
        good = set(self.good)
        said = len(self.network.published) - self.first
        got = sum(it.message >= self.first and it.node in good for it in self.network.deliveries)
        return got / (said * (len(good) - 1))

    def copies(self) -> float:
        """Payloads that arrived, for each delivery."""
        got = sum(it.message >= self.first for it in self.network.deliveries)
        return sum(self.network.copies[self.first :]) / got

    def latency(self, share: float) -> float:
        """The quantile of the delivery times, in seconds."""
        times = sorted(
            it.time - self.network.published[it.message].time
            for it in self.network.deliveries
            if it.message >= self.first
        )
        return times[int(share * len(times))]

    def total(self) -> float:
        """All bytes sent, for each delivery."""
        got = sum(it.message >= self.first for it in self.network.deliveries)
        traffic = self.network.traffic
        return (traffic.payload_bytes + traffic.control_bytes - sum(self.before)) / got


def measured(name: str, nodes: int, messages: int = 20, seed: int = 1, loss: float = 0.0) -> Measured:
    """A run without faults."""
    it = Measured(RIVALS[name](nodes=nodes, seed=seed, loss=loss))
    it.say(messages)
    return it


def degrees(network: RivalNetwork) -> list[int]:
    """How many links each node has."""
    return [len(node.links) for node in network.nodes]


class FaultlessTests(SynchronousTestCase):
    """The figures of the research, section 9, without faults."""

    def check(
        self, name: str, nodes: int, coverage: tuple[float, float], copies: tuple[float, float]
    ) -> Measured:
        """Coverage and copies within these bounds."""
        it = measured(name, nodes)
        self.assertTrue(coverage[0] <= it.coverage() <= coverage[1], f"{name} covers {it.coverage()}")
        self.assertTrue(copies[0] <= it.copies() <= copies[1], f"{name} copies {it.copies()}")
        return it

    def test_push(self) -> None:
        """A Poisson share of the nodes is pushed to by nobody: about one in twenty."""
        for nodes in (100, 300):
            self.check("push", nodes, (0.93, 0.975), (2.85, 3.15))

    def test_gossipsub(self) -> None:
        """All of it, eight times."""
        it = self.check("gossipsub", 100, (1.0, 1.0), (7.7, 8.9))
        self.assertTrue(10_000 < it.total() < 11_600, it.total())
        it = self.check("gossipsub", 300, (1.0, 1.0), (7.7, 8.9))
        self.assertTrue(0.13 < it.latency(0.99) < 0.20, it.latency(0.99))

    def test_gossipsub_with_six(self) -> None:
        """Fewer copies, later."""
        it = self.check("gossipsub6", 300, (1.0, 1.0), (5.8, 7.2))
        self.assertGreater(it.latency(0.99), measured("gossipsub", 300).latency(0.99))

    def test_plumtree(self) -> None:
        """All of it, twice, and slowly."""
        it = self.check("plumtree", 100, (1.0, 1.0), (1.6, 2.6))
        self.assertTrue(2_200 < it.total() < 3_600, it.total())
        it = self.check("plumtree", 300, (1.0, 1.0), (1.6, 2.6))
        self.assertTrue(0.5 < it.latency(0.99) < 1.0, it.latency(0.99))

    def test_hops_are_counted_from_the_author(self) -> None:
        """Over steady links a first push of hop h comes after h delays."""
        network = RIVALS["push"](nodes=100, seed=3, latency=steady(0.05))
        network.publish(0, SIZE)
        network.run(5)
        self.assertTrue(network.deliveries)
        for delivery in network.deliveries:
            self.assertAlmostEqual(delivery.time, 0.05 * delivery.hops)
            self.assertLessEqual(delivery.hops, TTL)

    def test_bytes_of_one_push(self) -> None:
        """A payload costs its size, the protocol's header and the framing; copies are those that arrived."""
        network = RIVALS["push"](nodes=50, seed=3)
        network.publish(0, SIZE)
        network.run(5)
        traffic = network.traffic
        self.assertEqual(traffic.payload_frames, network.copies[0])
        self.assertEqual(traffic.payload_bytes, traffic.payload_frames * (SIZE + 1 + FRAMING))
        self.assertEqual(traffic.control_frames, 0)


class DeterminismTests(SynchronousTestCase):
    """One seed, one result."""

    def play(self, name: str, seed: int) -> tuple[object, ...]:
        """A run with everything in it."""
        it = Measured(RIVALS[name](nodes=60, seed=seed, loss=0.05), warm=5)
        network = it.network
        network.malicious([1, 2, 3], "teasing")
        network.crash([4, 5])
        it.say(5)
        network.partition([range(30), range(30, 60)])
        it.say(5)
        network.heal()
        network.restart([4, 5])
        it.say(5)
        network.run(20)
        return network.deliveries, network.copies, network.traffic, network.now

    def test_a_seed_gives_one_result(self) -> None:
        """Twice the same, and another seed something else."""
        for name in RIVALS:
            self.assertEqual(self.play(name, 1), self.play(name, 1), name)
            self.assertNotEqual(self.play(name, 1), self.play(name, 2), name)


class OverlayTests(SynchronousTestCase):
    """What the protocols stand on."""

    def test_every_node_opens_eight(self) -> None:
        """Push and gossipsub run over the graph that positron's overlay gives, and repair it."""
        network = RIVALS["push"](nodes=100, seed=1)
        self.assertEqual(sum(degrees(network)), 2 * 8 * 100)
        network.crash(range(30))
        network.run(20)
        for node in network.nodes[30:]:
            self.assertEqual(sum(half.outbound for half in node.links.values()), 8)
            self.assertTrue(all(network.nodes[peer].up for peer in node.links))

    def test_the_mesh_keeps_its_bounds(self) -> None:
        """After settling every mesh is between D_lo and D_hi, symmetrical, with two outbound links."""
        for kind in (Gossipsub, Gossipsub6):
            network = kind(nodes=200, seed=2)
            for index, node in enumerate(network.nodes):
                peers = node.state.peers
                self.assertTrue(kind.D_LO <= len(peers) <= kind.D_HI, len(peers))
                self.assertTrue(all(index in network.nodes[peer].state.peers for peer in peers))
                self.assertGreaterEqual(sum(node.links[peer].outbound for peer in peers), 2)

    def test_views_keep_their_bounds(self) -> None:
        """Active views are small and symmetrical, passive views are filled and hold nobody twice."""
        network = RIVALS["plumtree"](nodes=200, seed=2)
        for index, node in enumerate(network.nodes):
            self.assertTrue(1 <= len(node.links) <= ACTIVE)
            self.assertTrue(all(index in network.nodes[peer].links for peer in node.links))
            passive = node.state.passive
            self.assertTrue(5 < len(passive) <= PASSIVE and len(set(passive)) == len(passive))
            self.assertFalse(set(passive) & {*node.links, index})
        self.assertGreater(sum(degrees(network)), 0.9 * ACTIVE * 200)

    def test_passive_view_replaces_the_dead(self) -> None:
        """After a crash HyParView has living neighbours again."""
        network = RIVALS["plumtree"](nodes=200, seed=2)
        network.crash(range(60))
        network.run(70)
        for node in network.nodes[60:]:
            self.assertTrue(node.links)
            self.assertTrue(all(network.nodes[peer].up for peer in node.links))


class FaultTests(SynchronousTestCase):
    """What the research says that each does under faults."""

    def covered(self, name: str, fault: str) -> float:
        """Coverage of the messages of the first seconds after a third of the nodes fails like this."""
        it = Measured(RIVALS[name](nodes=300, seed=1))
        failing = it.spoil(0.3)
        if fault == "crash":
            it.network.crash(failing, notice=10.0)
        else:
            it.network.malicious(failing, fault)
        it.say(15)
        return it.coverage()

    def test_crash(self) -> None:
        """A third is gone at once: gossipsub does not care, Plumtree loses a little, push a lot."""
        self.assertLess(self.covered("push", "crash"), 0.85)
        self.assertEqual(self.covered("gossipsub", "crash"), 1.0)
        self.assertTrue(0.9 < self.covered("plumtree", "crash") <= 1.0)

    def test_silent(self) -> None:
        """A third takes and gives nothing on."""
        self.assertLess(self.covered("push", "silent"), 0.85)
        self.assertEqual(self.covered("gossipsub", "silent"), 1.0)
        self.assertTrue(0.95 < self.covered("plumtree", "silent") <= 1.0)

    def test_teasers_announce_and_never_deliver(self) -> None:
        """Their announcements cost control bytes; nothing is given."""
        for name in ("gossipsub", "plumtree"):
            network = RIVALS[name](nodes=100, seed=1)
            network.malicious(range(1, 100), "teasing")
            network.publish(0, SIZE)
            network.run(10)
            told = len(network.nodes[0].links)
            self.assertTrue(all(it.hops == 1 for it in network.deliveries))
            self.assertEqual(network.copies[0], told)
            self.assertGreater(network.traffic.control_bytes, 35 * told)

    def test_loss_delays_and_loses_nothing(self) -> None:
        """A lost chunk comes one retransmission later, in order."""
        calm = measured("gossipsub", 100)
        lossy = measured("gossipsub", 100, loss=0.1)
        self.assertEqual(lossy.coverage(), 1.0)
        self.assertGreater(lossy.latency(0.99), calm.latency(0.99))

    def test_a_link_keeps_its_order(self) -> None:
        """On one link, what follows a lost chunk waits for it; everything arrives."""
        network = RIVALS["push"](nodes=2, seed=1, latency=steady(0.05), loss=0.3)
        for _ in range(50):
            network.publish(0, SIZE)
            network.run(0.01)
        network.run(1)
        self.assertEqual([it.message for it in network.deliveries], list(range(50)))
        late = [it.time - network.published[it.message].time for it in network.deliveries]
        self.assertAlmostEqual(min(late), 0.05)
        self.assertAlmostEqual(max(late), 0.25)

    def test_partition_never_heals(self) -> None:
        """What was said across the cut never arrives: push and Plumtree have no repair, gossipsub's lasts 3 s."""
        for name, most in (("push", 0.0), ("plumtree", 0.0), ("gossipsub", 0.25)):
            it = Measured(RIVALS[name](nodes=100, seed=1), warm=5)
            network = it.network
            network.partition([range(50), range(50, 100)])
            it.say(15, gap=2.0)
            network.heal()
            network.run(60)
            across = [
                delivery
                for delivery in network.deliveries
                if delivery.message >= it.first
                and (delivery.node < 50) != (network.published[delivery.message].node < 50)
            ]
            self.assertLessEqual(len(across), most * 15 * 50, name)
            own = len([d for d in network.deliveries if d.message >= it.first]) - len(across)
            self.assertGreater(own, 0.8 * 15 * 49, name)

    def test_heal_brings_later_messages_everywhere(self) -> None:
        """After the redial what is new crosses again."""
        it = Measured(RIVALS["gossipsub"](nodes=100, seed=1), warm=5)
        it.network.partition([range(50), range(50, 100)])
        it.network.run(30)
        it.network.heal()
        it.network.run(20)
        it.say(5)
        self.assertEqual(it.coverage(), 1.0)

    def test_restarted_nodes_take_part(self) -> None:
        """Who comes back gets what is said from then on."""
        for name in ("gossipsub", "plumtree"):
            it = Measured(RIVALS[name](nodes=100, seed=1), warm=5)
            it.network.crash(range(20))
            it.network.run(5)
            it.network.restart(range(20))
            it.network.run(20)
            it.first = len(it.network.published)
            it.say(5)
            self.assertEqual(it.coverage(), 1.0, name)


class MisuseTests(SynchronousTestCase):
    """A caller's fault is raised at the call."""

    def test_misuse(self) -> None:
        """Too few nodes, no share, no such behaviour, a node that is down."""
        self.assertRaises(ValueError, RIVALS["push"], nodes=1)
        self.assertRaises(ValueError, RIVALS["push"], nodes=2, loss=1.0)
        network = RIVALS["push"](nodes=10)
        self.assertRaises(ValueError, network.malicious, [1], "rude")
        network.crash([1])
        self.assertRaises(ValueError, network.publish, 1, SIZE)
