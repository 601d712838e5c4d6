"""Whom a node dials and when: bootstraps, slots, the lost, feelers, anchors, the operator's wishes."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from twisted.trial.unittest import SynchronousTestCase

from positron.core import messages
from positron.core.addresses import group_of
from positron.core.events import Dial
from positron.core.messages import Goodbye, Welcome
from positron.core.notices import PeerDown
from positron.core.overlay.slots import MAX_DIALS
from positron.core.statements import sign_address_record
from tests.core.overlay_world import Node, Signer, World, id_of

HUB = "127.0.0.1:9001"


def teach(node: Node, number: int, address: str, source: str = "10.0.0.1:1") -> bytes:
    """The node hears of another node from somebody at `source`."""
    signer = Signer(id_of(number))
    record = sign_address_record(signer, node.context.network_id, (address,), 1, node.context.wall_ms)
    node.book.learn(record, source)
    return signer.node_id


class BootstrapTests(SynchronousTestCase):
    def test_all_are_dialled_at_start(self) -> None:
        """Every address of the list, at most eight at a time, more than there are slots."""
        world = World()
        named = tuple(f"8.{number}.1.1:9000" for number in range(1, 31))
        node = world.node(1, bootstrap=named)
        self.assertEqual(len(node.dials), MAX_DIALS)
        world.advance(1)
        self.assertEqual({address for _, address in node.dials}, set(named))

    def test_alone_every_five_seconds(self) -> None:
        """With no peers at all the bootstrap is tried every 5 s at the latest, for ever, with jitter."""
        world = World()
        node = world.node(1, bootstrap=(HUB,))
        world.advance(3600)
        times = [time for time, _ in node.dials]
        gaps = [after - before for before, after in pairwise(times)]
        self.assertLessEqual(max(gaps), 5.1)
        self.assertGreaterEqual(min(gaps), 0.2)
        self.assertGreater(max(gaps) - min(gaps), 2.0)

    def test_too_few_every_minute(self) -> None:
        """With some peers but too few, every 60 s at the latest."""
        world = World()
        world.node(0, HUB)
        node = world.node(1, bootstrap=(HUB, "127.0.0.2:1"))
        world.advance(3600)
        times = [time for time, address in node.dials if address == "127.0.0.2:1"]
        gaps = [after - before for before, after in pairwise(times)]
        self.assertLessEqual(max(gaps), 60.2)
        self.assertLess(len(times), 400)
        self.assertEqual(node.overlay.target, 2, "an unlinked bootstrap counts as known")

    def test_linked_bootstrap_is_not_dialled(self) -> None:
        """One whose node is linked, whoever dialled, is left alone."""
        world = World()
        hub = world.node(0, HUB)
        node = world.node(1, "127.0.0.2:9000")
        hub.run(hub.overlay.add_peer, node.address)
        world.advance(1)
        self.assertEqual(len(node.peers), 1)
        world.advance(600)
        self.assertEqual(node.dials, [])

    def test_without_discovery(self) -> None:
        """Only the list and whoever dials in: nobody is asked, nobody told, nobody else dialled; all are kept."""
        world = World()
        chain = [
            world.node(
                number,
                f"127.0.0.{number + 1}:9000",
                bootstrap=(f"127.0.0.{number}:9000",) if number else (),
                discovery=False,
            )
            for number in range(4)
        ]
        world.advance(60)
        self.assertEqual([len(node.peers) for node in chain], [1, 2, 2, 1])
        for node in chain:
            self.assertEqual(node.said(messages.PeersGet), [])
            self.assertEqual(node.said(messages.Peers), [])
        chain[1].kill()
        world.advance(60)
        world.restart(chain[1])
        world.advance(16)
        self.assertEqual([len(node.peers) for node in chain], [1, 2, 2, 1])

    def test_without_discovery_more_than_slots(self) -> None:
        """A list longer than the outbound slots is linked as a whole, as the operator wished."""
        world = World()
        named = [world.node(number).address for number in range(1, 21)]
        node = world.node(30, bootstrap=tuple(named), discovery=False)
        world.advance(5)
        self.assertEqual(len(node.peers), 20)

    def test_broken_link_is_not_dialled_in_the_same_moment(self) -> None:
        """When a bootstrap dies, those that were linked to it come back spread over time."""
        world = World()
        hub = world.node(0, HUB)
        nodes = [world.node(number, bootstrap=(HUB,), discovery=False) for number in range(1, 21)]
        world.advance(2)
        hub.kill()
        for node in nodes:
            node.dials.clear()
        world.advance(0.1)
        self.assertEqual([node.dials for node in nodes], [[]] * 20)
        world.advance(2.5)
        times = sorted(node.dials[0][0] for node in nodes)
        self.assertGreater(times[-1] - times[0], 0.5)

    def test_bad_address_at_birth(self) -> None:
        """An address that is none is the operator's fault, said at birth."""
        world = World()
        for bad in ("nonsense", "host:0", "::1:80", "x@127.0.0.1:1"):
            self.assertRaises(ValueError, world.node, 1, bootstrap=(bad,))


class SlotTests(SynchronousTestCase):
    def test_eight_slots_of_distinct_groups(self) -> None:
        """Eight outbound links, of eight groups although one group has most of the nodes."""
        for seed in range(8):
            self.fill(seed)

    def fill(self, seed: int) -> None:
        """One node among thirty."""
        world = World(seed)
        node = world.node(0, "9.9.9.9:9000")
        for number in range(1, 31):
            address = f"8.1.1.{number}:9000" if number < 22 else f"{number}.1.1.1:9000"
            world.node(number, address, discovery=False)
            teach(node, number, address, f"10.0.0.{number % 3}:1")
        node.run(node.overlay._wake)
        world.advance(10)
        self.assertEqual(node.overlay.outbound, 8)
        groups = Counter(link.group for link in node.context.links)
        self.assertEqual(max(groups.values()), 1)

    def test_filled_anyway(self) -> None:
        """Where there are no other groups the slots are filled from one."""
        world = World()
        node = world.node(0, "9.9.9.9:9000")
        for number in range(1, 21):
            world.node(number, f"8.1.1.{number}:9000", discovery=False)
            teach(node, number, f"8.1.1.{number}:9000")
        node.run(node.overlay._wake)
        world.advance(10)
        self.assertEqual(node.overlay.outbound, 8)

    def test_max_peers_halved(self) -> None:
        """max_peers 6: three outbound."""
        world = World()
        node = world.node(0, "9.9.9.9:9000", max_peers=6)
        for number in range(1, 11):
            world.node(number, f"8.{number}.1.1:9000", discovery=False)
            teach(node, number, f"8.{number}.1.1:9000")
        node.run(node.overlay._wake)
        world.advance(10)
        self.assertEqual(node.overlay.outbound, 3)

    def test_last_slot_of_the_full(self) -> None:
        """Where no more may come in than are dialled, the last slot stays empty while inbound is full."""
        for max_peers, guests, expected in (
            (4, 1, 2),
            (4, 2, 1),
            (16, 8, 7),
            (5, 3, 2),
            (50, 42, 8),
            (2, 1, 0),
        ):
            self.assertEqual(self.dialled(max_peers, guests), expected)

    def test_one_slot_and_a_lost_bootstrap(self) -> None:
        """With a single slot too, but a node that is linked to no bootstrap does fill it, whoever came in."""
        self.assertEqual(self.dialled(2, 1, bootstrap=("127.0.0.2:1",)), 1)

    def dialled(self, max_peers: int, guests: int, **parameters: object) -> int:
        """Outbound links of a node that so many others dialled before it heard of anybody."""
        world = World()
        node = world.node(0, "9.9.9.9:9000", max_peers=max_peers, **parameters)
        for number in range(100, 100 + guests):
            node.link_by_hand(number, number=number, address=f"{number}.1.1.1:40000")
        for number in range(1, 11):
            world.node(number, f"8.{number}.1.1:9000", discovery=False)
            teach(node, number, f"8.{number}.1.1:9000")
        node.run(node.overlay._wake)
        world.advance(10)
        return node.overlay.outbound

    def test_trust_orders_a_group(self) -> None:
        """Of one group the most trusted is dialled, in a stable slot; trust does not choose the group."""
        world = World()
        node = world.node(0, "9.9.9.9:9000", max_peers=2)
        for number in range(1, 9):
            world.node(number, f"8.1.1.{number}:9000", discovery=False)
            node.opinions.scores[teach(node, number, f"8.1.1.{number}:9000")] = number / 10
        node.run(node.overlay._wake)
        self.assertEqual([address for _, address in node.dials], ["8.1.1.8:9000"])

    def test_never_dialled(self) -> None:
        """Nobody is dialled who is banned, or at our own address, or where nothing can be."""
        world = World()
        node = world.node(0, "9.9.9.9:9000", advertise=("9.9.9.9:9000",))
        node.opinions.bans[teach(node, 1, "8.1.1.1:9000")] = world.wall + 3600
        teach(node, 2, "9.9.9.9:9000")
        for number, address in enumerate(
            (
                "8.1.1.1:0",
                "224.0.0.1:9000",
                "0.0.0.0:9000",
                "255.255.255.255:9000",
                "[ff02::1]:9000",
                "8.1.1.1:25",
            ),
            3,
        ):
            teach(node, number, address)
        node.run(node.overlay._wake)
        world.advance(120)
        self.assertEqual(node.dials, [])

    def test_one_dial_a_minute_to_an_untried_address(self) -> None:
        """A thousand ids that name one victim: it sees one dial a minute."""
        world = World()
        node = world.node(0, "9.9.9.9:9000")
        for number in range(1, 1001):
            teach(node, number, "8.1.1.1:9000", f"10.0.{number // 60}.1:1")
        node.run(node.overlay._wake)
        world.advance(600)
        times = [time for time, _ in node.dials]
        gaps = [after - before for before, after in pairwise(times)]
        self.assertGreaterEqual(min(gaps), 60)
        self.assertGreaterEqual(len(times), 5)

    def test_failing_nodes_are_dialled_ever_less(self) -> None:
        """A book full of dead addresses costs few dials once there are enough links."""
        world = World()
        hubs = [world.node(number, discovery=False).address for number in range(1, 6)]
        node = world.node(0, "9.9.9.9:9000", bootstrap=tuple(hubs))
        for number in range(100, 132):
            teach(node, number, f"8.{number}.1.1:9000")
        world.advance(3600)
        late = [time for time, _ in node.dials if time > world.now - 600]
        self.assertLess(len(late), 600)
        self.assertEqual(len(node.peers), 5)

    def test_ranked_slots_ignore_repetition(self) -> None:
        """Hearing of an address a thousand times makes it no likelier: the same seed draws the same nodes."""
        drawn = []
        for repeats in (1, 1000):
            world = World(3)
            node = world.node(0, "9.9.9.9:9000")
            choice = node.overlay._slots._choice
            for number in range(1, 31):
                for _ in range(repeats if number == 30 else 1):
                    teach(node, number, f"{10 + number}.1.1.1:9000", f"10.0.0.{number}:1")
            drawn.append(choice.draw(b"seed", set(), False).node_id)
        self.assertEqual(drawn[0], drawn[1])

    def test_ranked_slot_takes_the_better_node(self) -> None:
        """A better ranked node replaces a settled one: the new link is up before the old one goes."""
        world = World(1)
        node = world.node(0, "9.9.9.9:9000")
        for number in range(1, 41):
            world.node(number, f"{10 + number}.1.1.1:9000", discovery=False)
            teach(node, number, f"{10 + number}.1.1.1:9000", f"10.0.0.{number}:1")
        node.run(node.overlay._wake)
        world.advance(3 * 3600)
        self.assertEqual(node.overlay.outbound, 8)
        self.assertLessEqual(len(node.told(PeerDown)), 60)
        self.assertEqual({notice.reason for notice in node.told(PeerDown)}, {"idle"})


class LostTests(SynchronousTestCase):
    def test_redialled_within_15_s(self) -> None:
        """A good peer whose process died and came back is linked again within 15 s, without a bootstrap."""
        for seed in range(5):
            world = World(seed)
            peer = world.node(1, "127.0.0.2:9000")
            node = world.node(0, HUB)
            node.run(node.overlay.add_peer, peer.address)
            world.advance(70)
            peer.kill()
            world.advance(60)
            peer.kept.clear()
            world.restart(peer)
            world.until(lambda node=node, peer=peer: node.peers == {peer.node_id}, 16)

    def test_no_herd(self) -> None:
        """Who lost everybody dials each of them ever less often, and never more than eight at once."""
        world = World()
        node = world.node(0, HUB)
        others = [world.node(number) for number in range(1, 31)]
        for other in others:
            node.run(node.overlay.add_peer, other.address)
        world.advance(1)
        for other in others:
            other.kill()
        node.dials.clear()
        for _ in range(600):
            world.advance(0.1)
            self.assertLessEqual(len(node.overlay._slots.dialling), MAX_DIALS)
        seen = Counter(address for _, address in node.dials)
        self.assertLessEqual(max(seen.values()), 14)
        self.assertEqual(len(seen), 30)

    def test_who_said_goodbye_is_left_alone(self) -> None:
        """A peer that ended the link on its own account is not dialled for half a minute."""
        world = World()
        node = world.node(0, HUB)
        peer = world.node(1, "127.0.0.2:9000", discovery=False)
        node.run(node.overlay.add_peer, peer.address)
        world.advance(1)
        peer.run(peer.overlay.drop_peer, node.node_id)
        world.advance(25)
        self.assertEqual(len(node.dials), 1)
        self.assertEqual(node.told(PeerDown)[0].reason, "idle")


class FeelerTests(SynchronousTestCase):
    def test_feeler_tests_without_a_link(self) -> None:
        """Once a minute somebody untried is tested; neither side sees a peer come and go."""
        world = World()
        node = world.node(0, "9.9.9.9:9000", max_peers=2)
        others = [world.node(number, f"{10 + number}.1.1.1:9000", discovery=False) for number in range(1, 6)]
        for number, other in enumerate(others, 1):
            teach(node, number, other.address)
        node.run(node.overlay._wake)
        world.advance(480)
        self.assertEqual(sum(entry.kept.tried for entry in node.book), 5)
        self.assertEqual(len(node.ups), 1)
        self.assertEqual(sum(len(other.ups) for other in others), 1)

    def test_contested_first(self) -> None:
        """Who stands in a newcomer's way is tested first, and goes if nobody is there."""
        world = World()
        node = world.node(0, "9.9.9.9:9000", max_peers=2)
        world.node(500, "11.1.1.1:9000", discovery=False)
        teach(node, 500, "11.1.1.1:9000")
        node.run(node.overlay._wake)
        world.advance(1)
        for number in range(1, 40):
            teach(node, number, f"8.1.1.{number}:9000", f"10.0.0.{number}:1")
            world.advance(0.001)
        self.assertEqual(list(node.book.contested), [id_of(1)])
        world.advance(400)
        self.assertNotIn(id_of(1), node.book.contested)
        self.assertGreater(node.book.get(id_of(1)).kept.failures, 0)


class AnchorTests(SynchronousTestCase):
    def test_anchors_are_dialled_first_after_a_restart(self) -> None:
        """The two oldest outbound links are kept, and dialled before anybody else."""
        world = World()
        hub = world.node(1, HUB)
        node = world.node(0, "127.0.0.9:9000", bootstrap=(HUB,))
        others = [world.node(number) for number in range(2, 5)]
        for other in others:
            world.advance(1)
            node.run(node.overlay.add_peer, other.address)
        world.advance(1)
        self.assertEqual([node_id for node_id, _ in node.book.anchors], [hub.node_id, others[0].node_id])
        node.kill()
        node.dials.clear()
        world.restart(node)
        self.assertEqual([address for _, address in node.dials][:2], [HUB, others[0].address])
        world.advance(3)
        self.assertIn(hub.node_id, node.peers)

    def test_peers_are_known_after_a_restart(self) -> None:
        """Without a bootstrap, from the book alone."""
        world = World()
        node = world.node(0, HUB)
        others = [world.node(number) for number in range(1, 5)]
        for other in others:
            node.run(node.overlay.add_peer, other.address)
        world.advance(1)
        node.kill()
        world.restart(node)
        world.advance(5)
        self.assertEqual(len(node.peers), 4)


class OperatorTests(SynchronousTestCase):
    def test_add_peer(self) -> None:
        """Dialled at once, whatever the slots; a bad address is the caller's fault."""
        world = World()
        node = world.node(0, HUB, max_peers=50)
        others = [world.node(number, discovery=False) for number in range(1, 13)]
        for other in others:
            node.run(node.overlay.add_peer, other.address)
        world.advance(1)
        self.assertEqual(len(node.peers), 12)
        self.assertRaises(ValueError, node.overlay.add_peer, "nonsense")
        world.advance(600)
        self.assertEqual(len(node.peers), 12, "what the operator added is not trimmed")

    def test_drop_ban_forget(self) -> None:
        """Drop ends the link, ban keeps it from coming back until it is lifted, forget empties the book."""
        world = World()
        node = world.node(0, HUB)
        peer = world.node(1, bootstrap=(HUB,))
        world.advance(1)
        self.assertFalse(node.overlay.drop_peer(id_of(77)))
        self.assertTrue(node.run(node.overlay.drop_peer, peer.node_id))
        self.assertEqual(node.peers, set())
        world.until(lambda: node.peers == {peer.node_id}, 61)
        node.run(node.overlay.ban_peer, peer.node_id, 3600.0)
        self.assertEqual(node.said(Goodbye)[-1].reason, "banned")
        world.advance(120)
        self.assertEqual(node.peers, set())
        node.run(node.overlay.ban_peer, peer.node_id, 0)
        world.until(lambda: node.peers == {peer.node_id}, 65)
        self.assertIn(peer.node_id, node.book)
        self.assertTrue(node.run(node.overlay.forget_peer, peer.node_id))
        self.assertNotIn(peer.node_id, node.book)
        self.assertEqual(node.peers, {peer.node_id})

    def test_reach(self) -> None:
        """A node that is known and not linked is dialled when somebody has a message for it."""
        world = World()
        node = world.node(0, HUB, max_peers=2)
        others = [world.node(number, discovery=False) for number in (1, 2)]
        for number, other in enumerate(others, 1):
            teach(node, number, other.address, "127.0.0.1:1")
        node.run(node.overlay._wake)
        world.advance(1)
        (missing,) = [other for other in others if other.node_id not in node.peers]
        self.assertTrue(node.run(node.overlay.reach, missing.node_id))
        self.assertFalse(node.run(node.overlay.reach, missing.node_id))
        self.assertFalse(node.run(node.overlay.reach, id_of(99)))

    def test_leaving_node_takes_nobody_in(self) -> None:
        """After leave nothing is dialled and whoever comes is sent away."""
        world = World()
        node = world.node(0, HUB, bootstrap=("127.0.0.3:1",))
        node.run(node.overlay.leave)
        dials = len(node.dials)
        peer = world.node(1, bootstrap=(HUB,))
        world.advance(60)
        self.assertEqual((node.peers, peer.peers), (set(), set()))
        self.assertEqual(len(node.dials), dials)
        self.assertEqual(node.said(Welcome), [])

    def test_pinned_dial(self) -> None:
        """`id@host:port` asks for that id."""
        node = World().node(0, HUB)
        pin = "a" * 52
        node.context.now = node.world.now
        node.overlay.add_peer(f"{pin}@127.0.0.5:1")
        (dial,) = [action for action in node.context.actions if isinstance(action, Dial)]
        self.assertEqual((dial.address, dial.expected), ("127.0.0.5:1", bytes(32)))
        self.assertEqual(group_of(dial.address), "127.0.0.5")
