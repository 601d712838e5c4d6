"""No room: who is refused, who goes, and addresses that misbehave. All by the rule of docs/design.rst."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from positron.core.links import CLOSING, Link
from positron.core.messages import Goodbye, Welcome
from tests.core.overlay_world import Node, World, id_of


def guest(node: Node, number: int, group: int) -> Link:
    """An inbound link from the /16 of that number that is up, or was refused."""
    return node.link_by_hand(number, number=number, address=f"{group}.1.{number % 250}.{number // 250}:40000")


def full(seconds_between: float = 1.0, **parameters: object) -> tuple[World, Node, list[Link]]:
    """A node of 42 inbound links, each of a group of its own, all of them off probation."""
    world = World()
    node = world.node(0, "9.9.9.9:9000", **parameters)
    links = []
    for number in range(1, 43):
        links.append(guest(node, number, 10 + number if number != 1 else 8))
        world.advance(seconds_between)
        keep_alive(node)
    for _ in range(10):
        world.advance(10)
        keep_alive(node)
    return world, node, links


def keep_alive(node: Node) -> None:
    for link in node.context.links:
        node.overlay.heard(link)


class FullTests(SynchronousTestCase):
    def test_capacity(self) -> None:
        """50 links: 42 inbound, and the newcomer of a group as large as any is refused, not another."""
        _world, node, links = full()
        self.assertEqual(len(node.peers), 42)
        late = guest(node, 100, 200)
        self.assertEqual(node.said(Welcome)[-1].refusal, "full")
        self.assertEqual(late.state, CLOSING)
        self.assertEqual(node.peers, {link.node_id for link in links})

    def test_small_capacity(self) -> None:
        """max_peers 2: one may come in."""
        node = World().node(0, "9.9.9.9:9000", max_peers=2)
        guest(node, 1, 11)
        guest(node, 2, 12)
        self.assertEqual(node.peers, {id_of(1)})
        self.assertEqual(node.said(Welcome)[-1].refusal, "full")

    def test_youngest_of_the_largest_group_goes(self) -> None:
        """Two of one group among the unprotected: the younger of them makes room for somebody else."""
        world, node, links = full()
        node.run(node.overlay.hang_up, links[20], "idle")
        twin = guest(node, 70, int(links[41].address.split(".")[0]))
        self.assertEqual(twin.state, "up")
        world.advance(1)
        guest(node, 100, 200)
        self.assertIn(id_of(100), node.peers)
        self.assertEqual(twin.state, CLOSING)
        self.assertEqual(node.said(Goodbye)[-1].reason, "evicted")
        self.assertEqual(len(node.peers), 42)

    def test_attacker_of_one_group_gets_no_foot_in(self) -> None:
        """A thousand newcomers of a group that is there twice: nobody else goes."""
        _world, node, links = full()
        node.run(node.overlay.hang_up, links[30], "idle")
        before = {link.node_id for link in links} - {links[30].node_id}
        for number in range(1000, 2000):
            guest(node, number, 250)
        self.assertEqual(len(node.peers), 42)
        self.assertEqual(len(node.peers & before), 41)

    def test_age_nearness_and_use_protect(self) -> None:
        """Of a group of twelve, the youngest goes that is neither old, nor near, nor useful."""
        world = World()
        node = world.node(0, "9.9.9.9:9000")
        links = []
        for number in range(1, 43):
            links.append(guest(node, number, 11 if number > 30 else 20 + number))
            world.advance(1)
            keep_alive(node)
        for _ in range(10):
            world.advance(10)
            keep_alive(node)
        for link in links:
            link.rtt = 0.5
        for near in links[34:]:
            near.rtt = 0.001
        for useful in links[32:34]:
            useful.last_useful = world.now
        guest(node, 100, 200)
        gone = [link for link in links if link.state == CLOSING]
        self.assertEqual(gone, [links[31]])

    def test_the_twelve_oldest_stay(self) -> None:
        """Though the two oldest are the only ones of one group, the newcomer does not displace them."""
        _world, node, links = full()
        links[1].group = links[0].group
        guest(node, 100, 200)
        self.assertEqual(links[1].state, "up")
        self.assertNotIn(id_of(100), node.peers)

    def test_doubtful_goes_first(self) -> None:
        """A first-hand score below 0.3 outweighs age; the doubtful newcomer itself is refused."""
        _world, node, links = full()
        node.opinions.scores[links[0].node_id] = 0.25
        guest(node, 100, 200)
        self.assertEqual(links[0].state, CLOSING)
        node.opinions.scores[id_of(101)] = 0.2
        guest(node, 101, 201)
        self.assertNotIn(id_of(101), node.peers)
        self.assertIn(id_of(100), node.peers)

    def test_probation_does_not_protect(self) -> None:
        """Near and useful for a moment is no protection: two of one group, the younger goes though it is near."""
        world, node, links = full()
        node.run(node.overlay.hang_up, links[20], "idle")
        twin = guest(node, 70, int(links[41].address.split(".")[0]))
        twin.rtt, twin.last_useful = 0.0001, world.now
        guest(node, 100, 200)
        self.assertEqual(twin.state, CLOSING)

    def test_inbound_per_address_and_group(self) -> None:
        """In `wan` three links from one public address and ten from one group; private ranges may have more."""
        node = World().node(0, "9.9.9.9:9000", profile="wan")
        for number in range(1, 6):
            node.link_by_hand(number, number=number, address="8.1.1.1:40000")
        self.assertEqual(len(node.peers), 3)
        for number in range(10, 30):
            node.link_by_hand(number, number=number, address=f"8.1.2.{number}:40000")
        self.assertEqual(len(node.peers), 10)
        for number in range(40, 50):
            node.link_by_hand(number, number=number, address="192.168.1.1:40000")
        self.assertEqual(len(node.peers), 20)


class MisbehaviourTests(SynchronousTestCase):
    def offend(self, node: Node, count: int, address: str) -> None:
        for number in range(500, 500 + count):
            link = node.link_by_hand(number, number=number, address=address)
            node.run(node.overlay.violation, link, "test")

    def test_three_offenders_of_one_address(self) -> None:
        """After three violating ids an unknown id from there is refused, for ten minutes; others are not."""
        world = World()
        node = world.node(0, "9.9.9.9:9000")
        friend = node.link_by_hand(1, number=1, address="8.8.8.8:1")
        self.offend(node, 2, "8.8.8.8:40000")
        self.assertEqual(node.link_by_hand(2, number=2, address="8.8.8.8:2").state, "up")
        self.offend(node, 3, "8.8.8.8:40000")
        self.assertEqual(node.link_by_hand(3, number=3, address="8.8.8.8:3").state, CLOSING)
        self.assertEqual(node.said(Welcome)[-1].refusal, "banned")
        self.assertEqual(node.link_by_hand(4, number=4, address="8.8.4.4:3").state, "up")
        self.assertEqual(friend.state, "up")
        world.advance(601)
        self.assertEqual(node.link_by_hand(5, number=5, address="8.8.8.8:3").state, "up")

    def test_tried_ids_and_private_ranges_pass(self) -> None:
        """Whom we have dialled before may come from such an address, and private ones never become such."""
        node = World().node(0, "9.9.9.9:9000")
        node.book.proven(id_of(7), "8.8.8.8:9000")
        self.offend(node, 3, "8.8.8.8:40000")
        self.assertEqual(node.link_by_hand(7, address="8.8.8.8:3").state, "up")
        self.offend(node, 5, "192.168.0.1:40000")
        self.assertEqual(node.link_by_hand(8, number=8, address="192.168.0.1:3").state, "up")

    def test_slow_offenders(self) -> None:
        """Three ids within more than ten minutes are three accidents."""
        world = World()
        node = world.node(0, "9.9.9.9:9000")
        for number in range(500, 503):
            link = node.link_by_hand(number, number=number, address="8.8.8.8:1")
            node.run(node.overlay.violation, link, "test")
            world.advance(400)
        self.assertEqual(node.link_by_hand(3, number=3, address="8.8.8.8:3").state, "up")

    def test_tables_are_bounded(self) -> None:
        """Offenders of ten thousand addresses do not fill the memory."""
        node = World().node(0, "9.9.9.9:9000")
        admission = node.overlay._admission
        link = node.link_by_hand(1)
        for number in range(10_000):
            link.address = f"{11 + number // 65536}.{number // 256 % 256}.{number % 256}.1:1"
            for peer in range(3 if number % 2 else 1):
                link.node_id = id_of(peer)
                admission.note_violation(link)
        self.assertLessEqual(len(admission._violators), 1024)
        self.assertLessEqual(len(admission._refused_until), 1024)
