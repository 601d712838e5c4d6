"""Our own address record, and what nodes ask and tell of others."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from positron.core.links import CLOSING
from positron.core.messages import Peers, PeersGet
from positron.core.statements import read_address_record, sign_address_record
from tests.core.overlay_world import Node, Signer, World, id_of, verify


def records(node: Node, count: int, first: int = 1000) -> tuple[bytes, ...]:
    """Signed records of that many others, each in a group of its own."""
    return tuple(
        sign_address_record(
            Signer(id_of(number)),
            node.context.network_id,
            (f"{number % 200 + 20}.{number // 200}.1.1:9000",),
            1,
            node.context.wall_ms,
        ).raw
        for number in range(first, first + count)
    )


def seen_at(node: Node, number: int, observed: str, address: str | None = None) -> None:
    """Peer `number` is linked and says that it sees this node there."""
    where = address or f"{number + 20}.1.1.1:40000"
    node.link_by_hand(number, number=number, address=where, hello={"observed": observed})


class OwnAddressTests(SynchronousTestCase):
    def test_advertise_rules(self) -> None:
        """What the operator says is said, with our port where none was given; nobody's observation changes it."""
        node = World().node(0, "9.9.9.9:9000", advertise=("me.example:7", "5.5.5.5"))
        for number in range(1, 6):
            seen_at(node, number, "6.6.6.6:1")
        self.assertEqual(node.overlay.addresses, ("me.example:7", "5.5.5.5:9000"))

    def test_one_observer_is_enough_at_first(self) -> None:
        """What the first peer sees, with our listen port, is told to it at once, signed."""
        node = World().node(0, "9.9.9.9:9000")
        seen_at(node, 1, "6.6.6.6:41234")
        self.assertEqual(node.overlay.addresses, ("6.6.6.6:9000",))
        (told,) = node.said(Peers)
        record = read_address_record(told.records[0], node.context.network_id, verify)
        self.assertEqual((record.node_id, record.addresses), (node.node_id, ("6.6.6.6:9000",)))

    def test_three_groups_outvote_a_liar(self) -> None:
        """From three groups on, what three agree on; two links of one group are one voice."""
        node = World().node(0, "9.9.9.9:9000")
        seen_at(node, 1, "66.6.6.6:1", "7.7.1.1:1")
        seen_at(node, 2, "66.6.6.6:1", "7.7.2.2:1")
        seen_at(node, 3, "6.6.6.6:1")
        self.assertEqual(node.overlay.addresses, ("6.6.6.6:9000", "66.6.6.6:9000"))
        seen_at(node, 4, "6.6.6.6:1")
        seen_at(node, 5, "6.6.6.6:1")
        self.assertEqual(node.overlay.addresses, ("6.6.6.6:9000",))
        self.assertEqual(node.overlay.observed, ["6.6.6.6", "66.6.6.6"])

    def test_useless_observations(self) -> None:
        """A name, a wildcard or nonsense tells us nothing, nor does anything when we do not listen."""
        node = World().node(0, "9.9.9.9:9000")
        for number, observed in enumerate(("seed.example:1", "0.0.0.0:1", "junk", "", "224.0.0.1:5"), 1):
            seen_at(node, number, observed)
        self.assertEqual(node.overlay.addresses, ())
        deaf = World().node(0, "9.9.9.9:0")
        seen_at(deaf, 1, "6.6.6.6:1")
        self.assertEqual(deaf.overlay.addresses, ())

    def test_change_is_told(self) -> None:
        """When our address changes everybody linked hears of it soon, with a higher sequence, but not every moment."""
        world = World()
        node = world.node(0, "9.9.9.9:9000")
        seen_at(node, 1, "66.6.6.6:1")
        world.advance(12)
        before = node.said(Peers)[-1].records[0]
        for number in range(2, 5):
            seen_at(node, number, "6.6.6.6:1")
        node.sent.clear()
        world.advance(2)
        told = {message.records[0] for message in node.said(Peers)}
        self.assertEqual(len(node.said(Peers)), 2, "those who had not heard it when their link came up")
        (newest,) = [read_address_record(raw, node.context.network_id, verify) for raw in told]
        self.assertEqual(newest.addresses, ("6.6.6.6:9000",))
        self.assertGreater(newest.seq, read_address_record(before, node.context.network_id, verify).seq)

    def test_sequence_survives_a_clock_that_goes_back(self) -> None:
        """The sequence grows even if the wall clock was set back."""
        node = World().node(0, "9.9.9.9:9000", advertise=("5.5.5.5:1",))
        discovery = node.overlay._discovery
        first = discovery.own_record()
        node.context.wall_offset -= 86400
        second = discovery.own_record()
        self.assertGreater(second.seq, first.seq)
        self.assertGreaterEqual(first.seq, node.context.epoch)


class AskingTests(SynchronousTestCase):
    def test_rhythm(self) -> None:
        """PEERS_GET at link-up, then after 1, 2, 4 ... 60 s while links are too few."""
        world = World()
        node = world.node(0, "9.9.9.9:9000")
        link = node.link_by_hand(1)
        times = []
        for _ in range(3000):
            node.sent.clear()
            world.advance(0.1)
            node.overlay.heard(link)
            times += [round(world.now - 1000)] * len(node.said(PeersGet))
        self.assertEqual(times[:7], [1, 3, 7, 15, 31, 63, 123])

    def test_rarely_when_there_are_enough(self) -> None:
        """With min_peers links every ten minutes."""
        world = World()
        node = world.node(0, "9.9.9.9:9000", min_peers=1)
        link = node.link_by_hand(1)
        node.sent.clear()
        for _ in range(1250):
            world.advance(1)
            node.overlay.heard(link)
        self.assertEqual(len(node.said(PeersGet)), 2)

    def test_answers_are_believed(self) -> None:
        """What was asked for is learned; the source's quota holds."""
        node = World().node(0, "9.9.9.9:9000")
        link = node.link_by_hand(1, address="8.8.8.8:1")
        node.hears(link, Peers(records(node, 100)))
        self.assertEqual(len(node.book), 64)

    def test_unasked_bulk_is_ignored(self) -> None:
        """A second answer to one question is not read, and costs no signature."""
        node = World().node(0, "9.9.9.9:9000")
        link = node.link_by_hand(1, address="8.8.8.8:1")
        node.hears(link, Peers(records(node, 10)))
        node.hears(link, Peers((bytes(100),) * 50))
        node.hears(link, Peers(records(node, 1, 5000)))
        self.assertEqual(len(node.book), 10)
        self.assertEqual(link.state, "up")
        self.assertEqual(node.context.counters["peers_unasked"], 2)

    def test_records_with_every_prune(self) -> None:
        """T23: PRUNE may name others, but one that says it without end has no more of them read than of PEERS."""
        node = World().node(0, "9.9.9.9:9000")
        link = node.link_by_hand(1, address="8.8.8.8:1")
        verified: list[bytes] = []
        node.context.verify = lambda node_id, message, signature: not verified.append(message)
        for place in range(50):
            node.run(node.overlay.introduced, link, records(node, 8, 1000 + 8 * place))
        self.assertEqual(len(verified), 8 * 10)
        self.assertEqual(node.context.counters["peers_unasked"], 40)
        node.run(node.overlay.introduced, link, ())
        self.assertEqual(node.context.counters["peers_unasked"], 40, "mostly it names nobody")

    def test_own_record_is_always_heard(self) -> None:
        """A peer may tell its own new address at any time, though not without end."""
        node = World().node(0, "9.9.9.9:9000")
        link = node.link_by_hand(1, address="8.8.8.8:1")
        node.hears(link, Peers(()))
        for seq in range(1, 30):
            raw = sign_address_record(
                Signer(id_of(1)),
                node.context.network_id,
                (f"8.8.8.8:{9000 + seq}",),
                seq,
                node.context.wall_ms,
            ).raw
            node.hears(link, Peers((raw,)))
        self.assertEqual(node.book.get(id_of(1)).kept.record_seq, 10)

    def test_bad_signature_cuts_the_link(self) -> None:
        """One bad record among good ones: nothing is learned, and its bearer goes."""
        node = World().node(0, "9.9.9.9:9000")
        link = node.link_by_hand(1, address="8.8.8.8:1")
        good = records(node, 3)
        node.hears(link, Peers((good[0], good[1][:-1] + b"\0", good[2])))
        self.assertEqual(link.state, CLOSING)
        self.assertEqual(len(node.book), 0)

    def test_held_records_are_not_read_again(self) -> None:
        """What is in the book byte for byte costs no signature; one bit more and it does, and its bearer goes."""
        node = World().node(0, "9.9.9.9:9000")
        link = node.link_by_hand(1, address="8.8.8.8:1")
        held = records(node, 5)
        node.run(node.overlay.introduced, link, held)
        asked: list[bytes] = []
        node.context.verify = lambda node_id, message, signature: (
            asked.append(node_id) or verify(node_id, message, signature)
        )
        (news,) = records(node, 1, 500)
        node.run(node.overlay.introduced, link, (*held, news))
        self.assertEqual(asked, [id_of(500)])
        self.assertEqual(len(node.book), 6)
        node.hears(link, Peers((bytes([held[0][0] ^ 1]) + held[0][1:],)))
        self.assertEqual(len(asked), 2)
        self.assertEqual(link.state, CLOSING)

    def test_held_record_of_the_sender_is_its_own(self) -> None:
        """A peer that says again what we know of it answered no question."""
        node = World().node(0, "9.9.9.9:9000")
        link = node.link_by_hand(1, address="8.8.8.8:1")
        own = records(node, 1, 1)
        for _ in range(2):
            node.hears(link, Peers(own))
        node.hears(link, Peers(records(node, 3, 500)))
        self.assertEqual(len(node.book), 4)

    def test_record_of_another_network(self) -> None:
        """It is a bad signature."""
        node = World().node(0, "9.9.9.9:9000")
        link = node.link_by_hand(1, address="8.8.8.8:1")
        raw = sign_address_record(Signer(id_of(2)), bytes(32), ("8.1.1.1:1",), 1, node.context.wall_ms).raw
        node.hears(link, Peers((raw,)))
        self.assertEqual(link.state, CLOSING)

    def test_greedy_asker(self) -> None:
        """Ten answers at once, then one in ten seconds."""
        world = World()
        node = world.node(0, "9.9.9.9:9000", advertise=("9.9.9.9:9000",))
        link = node.link_by_hand(1, address="8.8.8.8:1")
        node.sent.clear()
        for _ in range(100):
            node.hears(link, PeersGet())
        self.assertEqual(len(node.said(Peers)), 10)
        world.advance(10.1)
        for _ in range(5):
            node.hears(link, PeersGet())
        self.assertEqual(len(node.said(Peers)), 11)

    def test_answer_is_a_sample(self) -> None:
        """At most a hundred records, without the asker's own."""
        node = World().node(0, "9.9.9.9:9000")
        for number in range(300):
            raw = records(node, 1, 1000 + number)[0]
            record = read_address_record(raw, node.context.network_id, verify)
            node.book.learn(record, f"{number % 100 + 1}.1.1.1:1")
        link = node.link_by_hand(1000, address="8.8.8.8:1")
        node.hears(link, PeersGet())
        answer = node.said(Peers)[-1]
        self.assertEqual(len(answer.records), 100)
        self.assertNotIn(records(node, 1, 1000)[0], answer.records)

    def test_introduced(self) -> None:
        """Records that come with PRUNE are read without having been asked for, under the same quotas."""
        node = World().node(0, "9.9.9.9:9000")
        link = node.link_by_hand(1, address="8.8.8.8:1")
        node.hears(link, Peers(()))
        node.run(node.overlay.introduced, link, records(node, 8))
        self.assertEqual(len(node.book), 8)
