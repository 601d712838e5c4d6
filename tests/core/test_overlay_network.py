"""Whole networks of overlays: they form by themselves, stay, heal and clean up."""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from positron.core.identity import to_text
from positron.core.notices import PeerDown, PeerUp
from positron.core.overlay.slots import MAX_DIALS
from tests.core.overlay_world import Node, World, agree, is_connected

BOOTSTRAP = "127.0.9.9:9000"


def late_bootstrap(seed: int, **parameters: object) -> tuple[World, list[Node]]:
    """Nineteen nodes whose bootstrap starts ten seconds after them."""
    world = World(seed)
    nodes = [world.node(number, bootstrap=(BOOTSTRAP,), **parameters) for number in range(19)]
    world.advance(10)
    nodes.append(world.node(99, BOOTSTRAP, **parameters))
    return world, nodes


def settled(nodes: list[Node]) -> bool:
    return is_connected(nodes) and all(len(node.peers) >= 5 for node in nodes)


class FormingTests(SynchronousTestCase):
    def test_twenty_with_the_bootstrap_last(self) -> None:
        """One network within 30 s of the bootstrap's start, everybody with at least min_peers links."""
        for seed in range(5):
            world, nodes = late_bootstrap(seed)
            world.until(lambda nodes=nodes: settled(nodes), 30)
            world.advance(5)
            self.assertTrue(agree(nodes), seed)

    def test_twenty_on_one_address(self) -> None:
        """The same where all of them share one IP address and differ by port."""
        world = World(4)
        boot = "127.0.0.1:8888"
        nodes = [world.node(number, f"127.0.0.1:{9000 + number}", bootstrap=(boot,)) for number in range(19)]
        world.advance(10)
        nodes.append(world.node(99, boot))
        world.until(lambda: settled(nodes), 30)
        world.advance(5)
        self.assertTrue(agree(nodes))

    def test_slow_links(self) -> None:
        """The same where each message takes 150 ms."""
        world = World(5, latency=0.15)
        nodes = [world.node(number, bootstrap=(BOOTSTRAP,)) for number in range(19)]
        world.advance(10)
        nodes.append(world.node(99, BOOTSTRAP))
        world.until(lambda: settled(nodes), 30)
        world.advance(5)
        self.assertTrue(agree(nodes))

    def test_bootstrap_dies(self) -> None:
        """The others stay one network when the bootstrap is killed, and it comes back into it."""
        world, nodes = late_bootstrap(1)
        world.until(lambda: settled(nodes), 30)
        boot = nodes.pop()
        boot.kill()
        for _ in range(30):
            world.advance(1)
            self.assertTrue(settled(nodes))
        world.restart(boot)
        world.until(lambda: settled([*nodes, boot]), 30)

    def test_small_networks(self) -> None:
        """Two to five nodes all link to each other, without anybody below its target for ever."""
        for size in range(2, 6):
            world = World(size)
            nodes = [world.node(0, BOOTSTRAP)]
            nodes += [world.node(number, bootstrap=(BOOTSTRAP,)) for number in range(1, size)]
            everybody = {node.node_id for node in nodes}
            world.until(
                lambda nodes=nodes, everybody=everybody: all(
                    node.peers | {node.node_id} == everybody for node in nodes
                ),
                5,
            )
            self.assertTrue(all(node.overlay.target == min(5, size - 1) for node in nodes))

    def test_latecomer(self) -> None:
        """A node that comes five minutes later is in at once."""
        world, nodes = late_bootstrap(2)
        world.advance(300)
        self.assertTrue(settled(nodes))
        newcomer = world.node(50, bootstrap=(BOOTSTRAP,))
        world.until(lambda: len(newcomer.peers) >= 5, 10)

    def test_no_storm(self) -> None:
        """Never more than eight dials under way, and few in all once the network stands."""
        world, nodes = late_bootstrap(3)
        for _ in range(400):
            world.advance(0.1)
            self.assertLessEqual(max(len(node.overlay._slots.dialling) for node in nodes), MAX_DIALS)
        before = sum(len(node.dials) for node in nodes)
        world.advance(180)
        self.assertLess((sum(len(node.dials) for node in nodes) - before) / len(nodes) / 3, 4)


class QuietTests(SynchronousTestCase):
    def test_idle_network_is_idle(self) -> None:
        """A network that stands wakes each node at most twice a second, and nobody flaps."""
        world, nodes = late_bootstrap(6)
        world.until(lambda: settled(nodes), 30)
        world.advance(30)
        for node in nodes:
            node.notices.clear()
            node.ticks = 0

            def ticking(node: Node = node, tick: object = node.overlay.tick) -> None:
                node.ticks += 1
                tick()

            node.overlay.tick = ticking
        world.advance(120)
        for node in nodes:
            self.assertEqual(node.told(PeerDown), [])
            links = len(node.peers)
            self.assertLess(node.ticks / 120, 2 * links)


class HealingTests(SynchronousTestCase):
    def test_partition_of_a_minute(self) -> None:
        """Two halves that were cut apart for a minute are one network again within 30 s."""
        world, nodes = late_bootstrap(7)
        world.until(lambda: settled(nodes), 30)
        left, right = nodes[:10], nodes[10:]
        for one in left:
            for other in right:
                world.cut(one, other)
        world.advance(60)
        self.assertFalse(is_connected(nodes))
        self.assertTrue(is_connected(left) and is_connected(right))
        world.mend()
        world.until(lambda: is_connected(nodes), 30)
        world.advance(200)
        self.assertTrue(settled(nodes))
        self.assertTrue(agree(nodes))

    def test_long_partition(self) -> None:
        """Longer than anybody remembers the lost: the minute's feeler finds the other half again."""
        world = World(8)
        nodes = [world.node(number, bootstrap=(BOOTSTRAP,), max_peers=6) for number in range(10)]
        nodes.append(world.node(99, BOOTSTRAP, max_peers=6))
        world.until(lambda: is_connected(nodes), 30)
        left, right = nodes[:5], nodes[5:]
        for one in left:
            for other in right:
                world.cut(one, other)
        world.advance(700)
        self.assertFalse(is_connected(nodes))
        world.mend()
        world.until(lambda: is_connected(nodes), 600)

    def test_restart(self) -> None:
        """A node that is killed and starts again at once is linked anew, with its new epoch, on both sides."""
        world, nodes = late_bootstrap(9)
        world.until(lambda: settled(nodes), 30)
        node = nodes[3]
        friends = [other for other in nodes if other.node_id in node.peers]
        node.kill()
        world.advance(0.5)
        world.restart(node)
        world.until(lambda: len(node.peers) >= 5, 10)
        world.advance(20)
        self.assertTrue(agree(nodes))
        for friend in friends:
            link = friend.context.links.up.get(node.node_id)
            if link is not None:
                self.assertEqual(link.hello.epoch, node.context.epoch)

    def test_restart_while_the_old_link_seems_alive(self) -> None:
        """A crash nobody heard of: the newer epoch replaces the old link at once, one down, one up."""
        world = World(10)
        one = world.node(1, BOOTSTRAP)
        other = world.node(2, bootstrap=(BOOTSTRAP,))
        world.until(lambda: bool(one.peers), 5)
        other.alive = False
        for end in other.ends.values():
            end.open = False
        world.advance(3)
        self.assertEqual(one.peers, {other.node_id})
        world.restart(other)
        world.until(lambda: other.peers == {one.node_id}, 5)
        self.assertEqual(one.link_to(other).hello.epoch, other.context.epoch)
        kinds = [type(notice) for notice in one.notices if isinstance(notice, PeerUp | PeerDown)]
        self.assertEqual(kinds, [PeerUp, PeerDown, PeerUp])
        self.assertEqual(one.told(PeerDown)[0].reason, "restarted")

    def test_churn(self) -> None:
        """Nodes that die and return for five minutes: afterwards one network again, and both sides of all agree."""
        rng = Random(11)
        world, nodes = late_bootstrap(11)
        for _ in range(60):
            node = rng.choice(nodes)
            if node.alive:
                node.kill()
            else:
                world.restart(node)
            world.advance(5)
        for node in nodes:
            if not node.alive:
                world.restart(node)
        world.until(lambda: settled(nodes), 60)
        world.advance(20)
        self.assertTrue(agree(nodes))


class LeavingTests(SynchronousTestCase):
    def test_leave(self) -> None:
        """Who leaves says so: the others know at once, and nobody dials it."""
        world, nodes = late_bootstrap(12)
        world.until(lambda: settled(nodes), 30)
        node = nodes[0]
        friends = [other for other in nodes if other.node_id in node.peers]
        node.run(node.overlay.leave)
        world.advance(0.1)
        node.kill()
        for friend in friends:
            self.assertIn(PeerDown(node_id=to_text(node.node_id), reason="leaving"), friend.told(PeerDown))
        dials = [len([1 for _, address in other.dials if address == node.address]) for other in nodes]
        world.advance(20)
        self.assertEqual(
            dials, [len([1 for _, address in other.dials if address == node.address]) for other in nodes]
        )

    def test_every_table_is_empty_after_the_last_link(self) -> None:
        """When everybody else is gone for good, nothing about any link is left."""
        world, nodes = late_bootstrap(13)
        world.until(lambda: settled(nodes), 30)
        world.advance(30)
        last = nodes[0]
        for node in nodes[1:]:
            node.kill()
        world.advance(900)
        overlay = last.overlay
        self.assertEqual(last.context.links.all, {})
        self.assertEqual(last.context.links.up, {})
        self.assertEqual(len(last.ups), len(last.downs))
        for table in (
            overlay._greeting._talks,
            overlay._greeting._asked,
            overlay._liveness._pinged,
            overlay._clocks._offsets,
            overlay._discovery._known,
            overlay._slots._attempts,
            overlay._draining,
            overlay._slots.lost._lost,
        ):
            self.assertEqual(len(table), 0, table)
        self.assertTrue(all(slot.link is None for slot in overlay._slots._slots))
