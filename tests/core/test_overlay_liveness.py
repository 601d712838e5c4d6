"""Silence: PINGs, suspects, who is gone and when, doubt of ourselves, and clocks that disagree."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from positron.core import messages
from positron.core.events import Hangup
from positron.core.messages import Ping, Pong
from positron.core.notices import ClockSkewed, PeerDown
from tests.core.overlay_world import Node, World

HUB = "127.0.0.1:9001"


def star(world: World, leaves: int, **parameters: object) -> tuple[Node, list[Node]]:
    """A hub, and nodes that know nobody else."""
    hub = world.node(0, HUB)
    others = [
        world.node(number, bootstrap=(HUB,), discovery=False, **parameters) for number in range(1, leaves + 1)
    ]
    world.until(lambda: len(hub.peers) == leaves, 5)
    return hub, others


class SilenceTests(SynchronousTestCase):
    def test_silent_peer_is_gone_on_both_sides(self) -> None:
        """A channel that carries nothing any more: both sides have given it up within 15 s."""
        for leaves in (1, 3, 6):
            world = World(leaves)
            hub, others = star(world, leaves)
            world.advance(20)
            world.cut(hub, others[0])
            world.advance(15)
            self.assertNotIn(others[0].node_id, hub.peers)
            self.assertEqual(others[0].peers, set())
            self.assertEqual(len(hub.peers), leaves - 1)
            self.assertEqual([notice.reason for notice in hub.told(PeerDown)], ["silent"])

    def test_idle_peers_stay(self) -> None:
        """An idle link costs few PINGs and stays for ever."""
        world = World()
        hub, others = star(world, 3)
        world.advance(600)
        self.assertEqual(len(hub.peers), 3)
        self.assertEqual(hub.told(PeerDown), [])
        self.assertLess(len(others[0].said(Ping)), 600 / 4)

    def test_times(self) -> None:
        """PING after 5 s, then every 3 s; suspect from the second; gone at 14 s, aborted."""
        world = World()
        node = world.node(1, HUB)
        link = node.link_by_hand(5)
        before = len(node.said(Ping))
        for seconds, pings, suspects in ((4.9, 0, 0), (0.2, 1, 0), (2.8, 1, 0), (0.2, 2, 1), (3.0, 3, 1)):
            world.advance(seconds)
            self.assertEqual(len(node.said(Ping)) - before, pings)
            self.assertEqual(len(node.overlay.suspects), suspects)
        world.advance(2.8)
        self.assertEqual(node.peers, {link.node_id})
        aborts: list[bool] = []
        perform = node._perform
        node._perform = lambda action: (
            aborts.append(action.abort) if isinstance(action, Hangup) else None,
            perform(action),
        )
        world.advance(0.2)
        self.assertEqual(node.peers, set())
        self.assertEqual(aborts, [True])

    def test_one_tick_for_many_links(self) -> None:
        """Links that fell silent within a second are pinged together; each is gone at its own time."""
        world = World()
        node = world.node(1, HUB)
        links = []
        for number in (5, 6, 7):
            links.append(node.link_by_hand(number, number=number))
            world.advance(0.8)
        before = len(node.said(Ping))
        for seconds, pings in ((2.5, 0), (0.2, 2), (1.4, 2), (0.2, 3)):
            world.advance(seconds)
            self.assertEqual(len(node.said(Ping)) - before, pings)
        world.advance(13.9 - 6.7)
        for gone in range(3):
            self.assertEqual(node.peers, {link.node_id for link in links[gone:]})
            world.advance(0.2)
            self.assertEqual(node.peers, {link.node_id for link in links[gone + 1 :]})
            world.advance(0.6)

    def test_suspect_that_speaks_is_none(self) -> None:
        """Any frame ends the suspicion."""
        world = World()
        node = world.node(1, HUB)
        link = node.link_by_hand(5)
        world.advance(9)
        self.assertEqual(node.overlay.suspects, {link.node_id})
        node.hears(link, messages.PeersGet())
        self.assertEqual(node.overlay.suspects, frozenset())

    def test_paused_link_is_not_silent(self) -> None:
        """While we do not read we cannot hear; the silence counts from when we read again."""
        world = World()
        node = world.node(1, HUB)
        link = node.link_by_hand(5)
        link.paused = True
        world.advance(60)
        self.assertEqual(node.peers, {link.node_id})
        self.assertEqual(node.overlay.suspects, frozenset())
        link.paused = False
        world.advance(9)
        self.assertEqual(node.peers, {link.node_id})
        world.advance(11)
        self.assertEqual(node.peers, set())

    def test_rtt(self) -> None:
        """The round trip is measured at once and follows; a PONG to no PING of ours says nothing."""
        world = World()
        node = world.node(1, HUB)
        link = node.link_by_hand(5)
        world.advance(0.1)
        node.hears(link, Pong(node.said(Ping)[-1].nonce, 0, 0))
        self.assertAlmostEqual(link.rtt, 0.1)
        node.hears(link, Pong(12345, 0, 0))
        self.assertAlmostEqual(link.rtt, 0.1)


class FrozenTests(SynchronousTestCase):
    def test_stopped_for_a_minute(self) -> None:
        """SIGSTOP: gone at the others within 15 s; after SIGCONT it knows within 15 s, and is back."""
        world = World()
        hub, others = star(world, 5)
        world.advance(30)
        others[0].freeze()
        world.advance(15)
        self.assertNotIn(others[0].node_id, hub.peers)
        world.advance(45)
        others[0].thaw()
        self.assertEqual(len(others[0].told(PeerDown)), 1)
        world.until(lambda: others[0].node_id in hub.peers, 15)

    def test_stopped_hub_blames_nobody(self) -> None:
        """A node that stood still for 8 s keeps all of its links: nobody was silent but itself."""
        world = World()
        hub, _others = star(world, 6)
        world.advance(30)
        hub.freeze()
        world.advance(8)
        hub.thaw()
        self.assertTrue(hub.overlay.self_suspicion)
        world.advance(30)
        self.assertEqual(hub.told(PeerDown), [])
        self.assertFalse(hub.overlay.self_suspicion)

    def test_a_late_tick_is_noticed_by_itself(self) -> None:
        """Even if the shell says nothing: a tick that comes a minute late accuses nobody."""
        world = World()
        node = world.node(1, HUB)
        links = [node.link_by_hand(number, number=number, address=f"127.0.1.{number}:4") for number in (5, 6)]
        world.advance(1)
        node.frozen = True
        world.advance(60)
        node.frozen = False
        node.inbox.clear()
        node.run(lambda: None)
        self.assertEqual(len(node.peers), len(links))

    def test_short_lateness_is_nothing(self) -> None:
        """A loop that is late by less than a second is no reason to doubt."""
        node = World().node(1, HUB)
        node.run(node.overlay.loop_late, 0.9)
        self.assertFalse(node.overlay.self_suspicion)


class DoubtTests(SynchronousTestCase):
    def silence(self, links: int, silent: int) -> tuple[World, Node, list[bytes]]:
        world = World()
        hub, others = star(world, links)
        world.advance(30)
        for other in others[:silent]:
            world.cut(hub, other)
        return world, hub, [other.node_id for other in others[:silent]]

    def test_half_of_the_links_at_once(self) -> None:
        """Half of four fall silent: the node doubts itself for one period, waits twice as long, then gives up."""
        world, hub, silent = self.silence(4, 2)
        world.advance(10)
        self.assertTrue(hub.overlay.self_suspicion)
        world.advance(9)
        self.assertTrue(hub.peers.issuperset(silent))
        world.advance(10)
        self.assertFalse(hub.overlay.self_suspicion)
        self.assertEqual(len(hub.peers), 2)

    def test_the_end_of_doubt_is_the_end_of_patience(self) -> None:
        """Who was silent for too long, if it were not for the doubt, is gone with it and not at the next PING."""
        world = World()
        node = world.node(1, HUB)
        for number in range(4):
            node.link_by_hand(number + 5, number=number, address=f"127.0.1.{number}:4")
            world.advance(0.5)
        world.advance(20.4)
        self.assertTrue(node.overlay.self_suspicion)
        self.assertEqual(len(node.peers), 4)
        world.advance(0.2)
        self.assertFalse(node.overlay.self_suspicion)
        self.assertEqual(node.peers, set())

    def test_too_few_links_for_doubt(self) -> None:
        """With three links, or with less than half silent, there is no doubt and no delay."""
        for links, silent in ((3, 2), (5, 2), (3, 3)):
            world, hub, gone = self.silence(links, silent)
            world.advance(15)
            self.assertFalse(hub.overlay.self_suspicion)
            self.assertFalse(hub.peers & set(gone))

    def test_closed_connections_are_no_silence(self) -> None:
        """Peers whose channels closed are gone at once, however many."""
        world = World()
        hub, others = star(world, 6)
        world.advance(30)
        for other in others:
            other.kill()
        world.advance(0.1)
        self.assertEqual(hub.peers, set())


class ClockTests(SynchronousTestCase):
    def test_skew_is_measured_and_told_once(self) -> None:
        """A node whose clock is 15 s ahead says so, and the others do not mind it."""
        world = World()
        hub, others = star(world, 5)
        wrong = world.node(20, bootstrap=(HUB,), wall_error=15.0)
        world.advance(30)
        self.assertApproximates(wrong.overlay.clock_skew, 15.0, 0.5)
        self.assertEqual([round(notice.seconds) for notice in wrong.told(ClockSkewed)], [15])
        for node in (hub, *others):
            self.assertApproximates(node.overlay.clock_skew, 0.0, 0.5)
            self.assertEqual(node.told(ClockSkewed), [])

    def test_setting_the_clock_helps_at_once(self) -> None:
        """The skew is gone with the next look at our clock, and a new one is told anew."""
        world = World()
        star(world, 5)
        wrong = world.node(20, bootstrap=(HUB,), wall_error=15.0)
        world.advance(10)
        wrong.context.wall_offset -= 15.0
        self.assertApproximates(wrong.overlay.clock_skew, 0.0, 0.5)
        world.advance(10)
        wrong.context.wall_offset -= 40.0
        world.advance(10)
        self.assertEqual([round(notice.seconds) for notice in wrong.told(ClockSkewed)], [15, -40])

    def test_skewed_out(self) -> None:
        """Only three outbound peers of different groups say that we are out, not peers that came to us."""
        world = World()
        others = [world.node(number) for number in range(1, 6)]
        wrong = world.node(20, bootstrap=tuple(other.address for other in others[:2]), wall_error=30.0)
        world.advance(1)
        self.assertFalse(wrong.overlay.skewed_out)
        for other in others[3:]:
            other.run(other.overlay.add_peer, wrong.address)
        world.advance(1)
        self.assertGreaterEqual(len(wrong.peers), 4)
        wrong.run(wrong.overlay.add_peer, others[2].address)
        world.advance(1)
        self.assertTrue(wrong.overlay.skewed_out)
        wrong.context.wall_offset -= 15.0
        self.assertFalse(wrong.overlay.skewed_out)
