"""HELLO and WELCOME: when a link is up, every refusal, closed networks, and one link per node."""

from __future__ import annotations

import hashlib
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from positron.core import messages
from positron.core.links import CLOSING
from positron.core.messages import Goodbye, Hello, Welcome
from positron.core.notices import PeerDown, PeerUp
from positron.core.notices import Refused as RefusedNotice
from positron.core.overlay import secret_proof
from positron.core.statements import sign_address_record
from positron.errors import MessageError
from tests.core.overlay_world import Node, Signer, World, agree, id_of

SECRET, OLD_SECRET, WRONG = b"s" * 16, b"o" * 16, b"w" * 16


def two(world: World, first: dict[str, Any], second: dict[str, Any]) -> tuple[Node, Node]:
    """An acceptor, and a node that dials it."""
    acceptor = world.node(1, "127.0.0.1:9001", **first)
    dialler = world.node(2, "127.0.0.2:9002", bootstrap=("127.0.0.1:9001",), **second)
    return acceptor, dialler


class UpTests(SynchronousTestCase):
    def test_both_sides_are_up_once(self) -> None:
        """Both sides greet, tell the application and the owner once, and establish the channel."""
        world = World()
        acceptor, dialler = two(world, {}, {})
        world.advance(1)
        self.assertEqual(acceptor.peers, {dialler.node_id})
        self.assertEqual(dialler.peers, {acceptor.node_id})
        self.assertEqual([notice.direction for notice in acceptor.told(PeerUp)], ["in"])
        self.assertEqual([notice.direction for notice in dialler.told(PeerUp)], ["out"])
        self.assertEqual((len(acceptor.ups), len(dialler.ups)), (1, 1))
        self.assertEqual(acceptor.sent[0].__class__, Hello)
        self.assertIsNotNone(dialler.link_to(acceptor).rtt)

    def test_hello_says_what_it_must(self) -> None:
        """Network, epoch, port, clock, and where this side sees the other."""
        world = World()
        _acceptor, dialler = two(world, {"network": "n"}, {"network": "n", "agent": "a/1"})
        world.advance(1)
        hello = dialler.sent[0]
        assert isinstance(hello, Hello)
        self.assertEqual(hello.network_id, dialler.context.network_id)
        self.assertEqual((hello.epoch, hello.agent, hello.port), (dialler.context.epoch, "a/1", 9002))
        self.assertEqual(hello.observed, "127.0.0.1:9001")

    def test_higher_version_speaks_ours(self) -> None:
        """A node of versions 1 to 3 and one of 1 speak 1."""
        world = World()
        node = world.node(1)
        link = node.by_hand(5)
        node.hears(link, node.hello(version_max=3))
        self.assertEqual(node.said(Welcome)[-1].version, 1)

    def test_silent_channel_ends(self) -> None:
        """Somebody who connects and says nothing is gone after 5 s."""
        world = World()
        node = world.node(1)
        node.by_hand(5)
        world.advance(5.1)
        self.assertEqual(node.context.links.all, {})


class RefusalTests(SynchronousTestCase):
    def refused(self, reason: str, first: dict[str, Any], second: dict[str, Any]) -> tuple[Node, Node]:
        """The dialler is refused for this reason, says so once with the address, and both have no link left."""
        world = World()
        acceptor, dialler = two(world, first, second)
        world.advance(1)
        self.assertEqual((acceptor.peers, dialler.peers), (set(), set()))
        notices = dialler.told(RefusedNotice)
        self.assertEqual(
            [(notice.reason, notice.address) for notice in notices], [(reason, "127.0.0.1:9001")]
        )
        self.assertEqual(acceptor.told(RefusedNotice), [])
        self.assertEqual((acceptor.context.links.all, dialler.context.links.all), ({}, {}))
        return acceptor, dialler

    def test_network(self) -> None:
        """Nodes of other networks refuse each other."""
        self.refused("network", {"network": "a"}, {"network": "b"})

    def test_member(self) -> None:
        """A closed membership refuses who is not in it."""
        self.refused("member", {"members": frozenset()}, {})

    def test_own_members(self) -> None:
        """A node does not link to a stranger either when it is the one who dials."""
        self.refused("member", {}, {"members": frozenset()})

    def test_secret(self) -> None:
        """Wrong, missing on the dialler's side, missing on the acceptor's: no link, and the reason is said."""
        self.refused("secret", {"secrets": (SECRET,)}, {"secrets": (WRONG,)})
        self.refused("secret", {"secrets": (SECRET,)}, {})
        acceptor, _ = self.refused("secret", {}, {"secrets": (SECRET,)})
        self.assertEqual(acceptor.told(PeerUp), [])

    def test_self(self) -> None:
        """A node whose bootstrap is itself finds out once, and never dials it again."""
        world = World()
        node = world.node(1, "127.0.0.1:9001", bootstrap=("127.0.0.1:9001",))
        world.advance(300)
        self.assertEqual(node.peers, set())
        self.assertEqual(len(node.dials), 1)
        self.assertEqual([notice.reason for notice in node.told(RefusedNotice)], ["self"])

    def test_banned(self) -> None:
        """Who is banned is refused until the ban ends."""
        world = World()
        acceptor = world.node(1, "127.0.0.1:9001")
        acceptor.opinions.bans[id_of(2)] = world.wall + 100
        dialler = world.node(2, bootstrap=("127.0.0.1:9001",))
        world.advance(5)
        self.assertEqual([notice.reason for notice in dialler.told(RefusedNotice)], ["banned"])
        world.advance(160)
        self.assertEqual(acceptor.peers, {dialler.node_id})

    def test_version(self) -> None:
        """No version in common."""
        world = World()
        node = world.node(1)
        link = node.by_hand(5)
        node.hears(link, node.hello(version_min=2, version_max=9))
        self.assertEqual(node.said(Welcome)[-1].refusal, "version")
        self.assertEqual(link.state, CLOSING)

    def test_invented_reasons(self) -> None:
        """A peer that ends each greeting with a word of its own makes us count no more things than there are."""
        world = World()
        node = world.node(1)
        for number in range(676):
            word = chr(97 + number // 26) + chr(97 + number % 26)
            link = node.by_hand(5, number=10 + 2 * number)
            node.hears(link, node.hello())
            node.hears(link, Welcome(0, word))
            node.hears(node.by_hand(5, number=11 + 2 * number), Goodbye(word))
        self.assertEqual(node.context.counters["refused:other"], 2 * 676)
        self.assertLess(len(node.context.counters), 10)

    def test_full_with_others_to_try(self) -> None:
        """A full node names others, and the refused one finds them."""
        world = World()
        full = world.node(1, "127.0.0.1:9001", max_peers=4)
        friends = [world.node(n, bootstrap=("127.0.0.1:9001",), max_peers=50) for n in (2, 3)]
        world.advance(3)
        late = world.node(9, bootstrap=("127.0.0.1:9001",))
        world.advance(3)
        self.assertEqual({notice.reason for notice in late.told(RefusedNotice)}, {"full"})
        self.assertEqual(late.peers & {friend.node_id for friend in friends}, {f.node_id for f in friends})
        self.assertNotIn(full.node_id, late.peers)

    def test_refused_bootstrap_is_tried_again(self) -> None:
        """A lasting refusal is asked again within a minute, not every moment."""
        world = World()
        _acceptor, dialler = two(world, {"network": "a"}, {"network": "b"})
        world.advance(600)
        self.assertGreaterEqual(len(dialler.dials), 10)
        self.assertLessEqual(len(dialler.dials), 60)

    def test_wrong_id_at_a_pinned_address(self) -> None:
        """`id@host:port` is dialled for that id, and nobody else's link comes of it."""
        world = World()
        pin = "a" * 52
        acceptor = world.node(1, "127.0.0.1:9001")
        dialler = world.node(2, bootstrap=(f"{pin}@127.0.0.1:9001",))
        world.advance(20)
        self.assertEqual((acceptor.peers, dialler.peers), (set(), set()))
        self.assertGreater(len(dialler.dials), 3)


class SecretTests(SynchronousTestCase):
    def test_one_match_suffices(self) -> None:
        """Nodes rotate their secret one after another without losing each other."""
        for first, second in (
            ((SECRET,), (SECRET,)),
            ((SECRET, OLD_SECRET), (OLD_SECRET,)),
            ((OLD_SECRET,), (SECRET, OLD_SECRET)),
        ):
            world = World()
            acceptor, dialler = two(world, {"secrets": first}, {"secrets": second})
            world.advance(1)
            self.assertEqual(acceptor.peers, {dialler.node_id})
            self.assertEqual(dialler.peers, {acceptor.node_id})

    def test_acceptor_answers_only_after_checking(self) -> None:
        """A stranger that dials sees no proof, whatever it says or does not say."""
        world = World()
        node = world.node(1, secrets=(SECRET,))
        link = node.by_hand(5)
        node.hears(link, node.hello())
        self.assertEqual([message for message in node.sent if isinstance(message, Welcome)], [])
        node.hears(link, Welcome(1, proofs=(bytes(32),)))
        self.assertEqual(node.said(Welcome)[-1].refusal, "secret")
        self.assertEqual(node.said(Welcome)[-1].proofs, ())

    def test_proof_cannot_be_sent_back(self) -> None:
        """The dialler's proof, mirrored by an acceptor without the secret, proves nothing."""
        world = World()
        node = world.node(1, secrets=(SECRET,))
        link = node.by_hand(5, outbound=True)
        node.hears(link, node.hello())
        node.hears(link, Welcome(1, proofs=node.said(Welcome)[-1].proofs))
        self.assertEqual(node.peers, set())
        self.assertEqual(link.state, CLOSING)

    def test_proof_is_what_the_page_says(self) -> None:
        """Keyed BLAKE2b-256 over tag, role, own id, peer id and the channel's binding."""
        expected = hashlib.blake2b(b"positron/secret/1\0Dab" + bytes(32), key=SECRET, digest_size=32)
        self.assertEqual(secret_proof(SECRET, b"D", b"a", b"b", bytes(32)), expected.digest())

    def test_full_is_said_to_members_only(self) -> None:
        """A closed node that is full tells a stranger of nobody."""
        world = World()
        node = world.node(1, secrets=(SECRET,), max_peers=2)
        world.node(2, bootstrap=(node.address,), secrets=(SECRET,))
        world.advance(2)
        link = node.by_hand(5)
        node.hears(link, node.hello())
        node.hears(link, Welcome(1))
        self.assertEqual((node.said(Welcome)[-1].refusal, node.said(Welcome)[-1].records), ("secret", ()))

    def test_full_dialler_names_nobody(self) -> None:
        """A closed node that has no room for its own dial does not name others to who has proved nothing."""
        for secrets, named in (((), 1), ((SECRET,), 0)):
            world = World()
            node = world.node(1, secrets=secrets, max_peers=2)
            for number in (2, 3):
                world.node(number, secrets=secrets, discovery=False)
                node.run(node.overlay.add_peer, f"127.0.0.{number + 1}:9000")
            world.advance(1)
            record = sign_address_record(
                Signer(id_of(9)), node.context.network_id, ("127.0.0.9:9000",), 1, node.context.wall_ms
            )
            node.book.learn(record, "127.0.0.1:1")
            link = node.by_hand(5, outbound=True, number=1000)
            node.hears(link, node.hello())
            self.assertEqual(node.said(Welcome)[-1].refusal, "full")
            self.assertEqual(len(node.said(Welcome)[-1].records), named)


class BreachTests(SynchronousTestCase):
    def breach(self, *said: messages.Message, outbound: bool = False) -> None:
        """The last of these is a violation: the link ends and its id is banned."""
        world = World()
        node = world.node(1)
        link = node.by_hand(5, outbound=outbound)
        for message in said[:-1]:
            node.hears(link, message)
            self.assertNotEqual(link.state, CLOSING)
        node.hears(link, said[-1])
        self.assertEqual(link.state, CLOSING)
        self.assertIn(link.node_id, node.opinions.bans)
        self.assertEqual(node.said(Goodbye)[-1].reason, "violation")

    def test_order_of_the_greeting(self) -> None:
        """HELLO twice, WELCOME before HELLO or twice, another version, HELLO or anything else out of turn."""
        node = World().node(1)
        good = node.hello()
        self.breach(good, good)
        self.breach(Welcome(1))
        self.breach(good, Welcome(1), Welcome(1))
        self.breach(good, Welcome(1), good)
        self.breach(good, Welcome(2))
        self.breach(messages.PeersGet())
        self.breach(good, messages.Peers(()))

    def test_bad_record(self) -> None:
        """A record whose signature does not hold: its bearer should have looked."""
        node = World().node(1)
        self.breach(node.hello(), Welcome(1), messages.Peers((bytes(100),)))

    def test_methods_raise_for_the_owner(self) -> None:
        """The overlay raises `MessageError`; what follows is the owner's to decide."""
        world = World()
        node = world.node(1)
        link = node.by_hand(5)
        self.assertRaises(MessageError, node.overlay.welcome, link, Welcome(1))


class DuplicateTests(SynchronousTestCase):
    def meet(self, seed: int, **parameters: Any) -> None:
        """Both are born knowing each other, in one instant, and dial."""
        world = World(seed)
        one = Node(world, seed, "127.0.0.1:9001", {}, bootstrap=("127.0.0.2:9002",), **parameters)
        other = Node(world, seed + 1000, "127.0.0.2:9002", {}, bootstrap=("127.0.0.1:9001",), **parameters)
        world.nodes = {one.address: one, other.address: other}
        one.alive = other.alive = True
        one.born()
        other.born()
        world.advance(4)
        self.assertGreaterEqual(len(one.dials) + len(other.dials), 2)
        self.check(seed, one, other)

    def test_simultaneous_dials(self) -> None:
        """Two nodes that dial each other at once: one link, the same on both sides, 100 times out of 100."""
        for seed in range(100):
            self.meet(seed)

    def test_simultaneous_dials_with_a_secret(self) -> None:
        """The same in a closed network, where the acceptor waits for the dialler's proof."""
        for seed in range(100):
            self.meet(seed, secrets=(SECRET,))

    def check(self, seed: int, one: Node, other: Node) -> None:
        """One link, the same on both sides, the lower id's dial; one PeerUp and no PeerDown."""
        for node in (one, other):
            self.assertEqual(len(node.peers), 1, seed)
            self.assertEqual(len(node.context.links.all), 1, seed)
            ups, downs = len(node.told(PeerUp)), len(node.told(PeerDown))
            self.assertEqual((ups, downs), (1, 0), seed)
            self.assertEqual(len(node.ups) - len(node.downs), 1)
        self.assertTrue(agree([one, other]), seed)
        lower = min(one, other, key=lambda node: node.node_id)
        self.assertTrue(lower.link_to(other if lower is one else one).outbound, seed)

    def test_two_dials_of_one_node(self) -> None:
        """A node dialled at two of its addresses at once keeps one link, the same on both sides."""
        for seed in range(30):
            world = World(seed)
            acceptor = world.node(1, "127.0.0.1:9001")
            world.nodes["127.0.0.3:9001"] = acceptor
            dialler = world.node(2, bootstrap=("127.0.0.1:9001", "127.0.0.3:9001"))
            world.advance(4)
            self.assertTrue(agree([acceptor, dialler]), seed)
            self.assertEqual(len(dialler.context.links.all), 1)
            world.advance(120)
            self.assertEqual(len(dialler.dials), 2, "a linked bootstrap is not dialled again")

    def test_lower_binding_of_two_dials(self) -> None:
        """Of two dials by one node the lower binding stays, in whatever order their HELLOs come."""
        for first, second in ((7, 8), (8, 7)):
            node = World().node(1)
            links = {number: node.by_hand(5, outbound=True, number=number) for number in (7, 8)}
            for number in (first, second):
                node.hears(links[number], node.hello())
            for number in (7, 8):
                node.hears(links[number], Welcome(1))
            self.assertIs(node.context.links.up[links[7].node_id], links[7])
            self.assertEqual(links[8].state, CLOSING)

    def older_link(self, node: Node) -> Any:
        link = node.link_by_hand(5)
        self.assertEqual(len(node.peers), 1)
        node.world.advance(4.9)
        node.run(node.overlay.heard, link)
        node.world.advance(1)
        return link

    def test_older_link_that_answers_stays(self) -> None:
        """An older link is asked; it answers, and the newer is refused as duplicate."""
        node = World().node(1)
        old = self.older_link(node)
        new = node.by_hand(5, number=8)
        pings = len(node.said(messages.Ping))
        node.hears(new, node.hello())
        self.assertEqual(len(node.said(messages.Ping)), pings + 1)
        node.world.advance(0.5)
        node.hears(old, messages.Pong(node.said(messages.Ping)[-1].nonce, 0, 0))
        self.assertEqual(node.said(Welcome)[-1].refusal, "duplicate")
        self.assertIs(node.context.links.up[old.node_id], old)

    def test_older_link_that_is_silent_goes(self) -> None:
        """An older link that says nothing for 2 s is replaced."""
        node = World().node(1)
        old = self.older_link(node)
        new = node.by_hand(5, number=8)
        node.hears(new, node.hello())
        node.world.advance(1.9)
        self.assertEqual(node.peers, {old.node_id})
        self.assertIs(node.context.links.up[old.node_id], old)
        node.world.advance(0.2)
        node.hears(new, Welcome(1))
        self.assertIs(node.context.links.up[old.node_id], new)
        self.assertEqual(old.state, CLOSING)

    def test_paused_link_is_not_silent(self) -> None:
        """A link that we paused ourselves stays, for we would not hear it."""
        node = World().node(1)
        old = self.older_link(node)
        old.paused = True
        new = node.by_hand(5, number=8)
        node.hears(new, node.hello())
        self.assertEqual(node.said(Welcome)[-1].refusal, "duplicate")

    def test_newer_epoch_replaces_at_once(self) -> None:
        """A node that started anew is believed: the old link ends without being asked."""
        node = World().node(1)
        old = self.older_link(node)
        new = node.by_hand(5, number=8)
        node.hears(new, node.hello(epoch=6))
        node.hears(new, Welcome(1))
        self.assertIs(node.context.links.up[old.node_id], new)
        self.assertEqual(node.said(Goodbye)[-1].reason, "duplicate")

    def test_loser_drains_for_a_second(self) -> None:
        """The link that goes hears GOODBYE at once and is closed a second later."""
        node = World().node(1)
        old = self.older_link(node)
        new = node.by_hand(5, number=8)
        node.hears(new, node.hello(epoch=6))
        node.hears(new, Welcome(1))
        self.assertEqual(old.state, CLOSING)
        node.world.advance(0.9)
        self.assertTrue(node.all_ends[old.number].open)
        node.world.advance(0.2)
        self.assertFalse(node.all_ends[old.number].open)
