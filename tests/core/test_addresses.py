"""Addresses as text, and the address book with its quotas."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from positron.core.addresses import (
    AddressBook,
    group_of,
    is_dialable,
    is_private,
    join_address,
    parse_bootstrap,
    reach_of,
    split_address,
)
from positron.core.addresses.book import MAX_CONTESTED, MAX_IN_GROUP, MAX_OF_SOURCE, MAX_RECORDS
from positron.core.context import Context, Parameters
from positron.core.events import Remember
from positron.core.identity import to_text
from positron.core.links import Link
from positron.core.records import PeerForgotten, PeerKept, StateKept
from positron.core.statements import AddressRecord, sign_address_record
from tests.core.overlay_world import Signer, id_of, verify

WALL = 1_700_000_000.0


def new_book(number: int = 0) -> tuple[Context, AddressBook]:
    context = Context(
        me=Signer(id_of(number)), parameters=Parameters(), rng=Random(1), epoch=1, verify=verify, now=1000.0
    )
    context.wall_offset = WALL
    return context, AddressBook(context)


def record(number: int, *addresses: str, seq: int = 1, time: float = WALL) -> AddressRecord:
    return sign_address_record(Signer(id_of(number)), bytes(32), addresses, seq, int(time * 1000))


def kept(context: Context) -> dict[bytes, PeerKept]:
    """What the store would hold after all that was remembered."""
    found: dict[bytes, PeerKept] = {}
    for action in context.actions:
        if isinstance(action, Remember) and isinstance(action.record, PeerKept):
            found[action.record.node_id] = action.record
        elif isinstance(action, Remember) and isinstance(action.record, PeerForgotten):
            found.pop(action.record.node_id, None)
    return found


class TextTests(SynchronousTestCase):
    def test_split(self) -> None:
        """Names, IPv4, IPv6 in its shortest form, IPv4 in IPv6 clothes undressed."""
        for text, expected in (
            ("seed.example:8888", ("seed.example", 8888)),
            ("127.0.0.1:1", ("127.0.0.1", 1)),
            ("[2001:DB8:0:0::1]:65535", ("2001:db8::1", 65535)),
            ("[::ffff:10.0.0.1]:80", ("10.0.0.1", 80)),
            ("node_1:0", ("node_1", 0)),
        ):
            self.assertEqual(split_address(text), expected)

    def test_refused(self) -> None:
        """Whatever is neither is a ValueError, spelling tricks included."""
        for text in (
            "",
            "host",
            ":80",
            "host:",
            "host:65536",
            "host:-1",
            "host:٣",
            "host: 80",
            "::1:80",
            "[127.0.0.1]:80",
            "[host]:80",
            "10.0.0.256:80",
            "10.0.1:80",
            "a b:80",
            "a\n:80",
            "-a:80",
            "[fe80::1%\x1b[31m]:80",
            "x" * 254 + ":80",
        ):
            self.assertRaises(ValueError, split_address, text)

    @given(st.text(max_size=40))
    def test_nothing_else_is_raised(self, text: str) -> None:
        """Any text is an address or a ValueError, and every function takes it."""
        try:
            host, port = split_address(text)
        except ValueError:
            self.assertFalse(is_dialable(text))
        else:
            self.assertEqual(split_address(join_address(host, port)), (host, port))
        group_of(text)
        is_private(text)
        reach_of(text)

    def test_bootstrap(self) -> None:
        """With and without a pinned id."""
        pin = to_text(id_of(1))
        self.assertEqual(parse_bootstrap(f"{pin}@[::1]:80"), (id_of(1), "[::1]:80"))
        self.assertEqual(parse_bootstrap("a.example:80"), (None, "a.example:80"))
        for bad in (f"{pin[:-1]}@h:80", "@h:80", "h:0", f"{pin}@"):
            self.assertRaises(ValueError, parse_bootstrap, bad)

    def test_groups(self) -> None:
        """A /16, a /32 of IPv6; a private address, or a name, by itself."""
        for text, group in (
            ("8.8.1.1:80", "8.8/16"),
            ("8.8.9.9", "8.8/16"),
            ("[2001:4860:1::1]:80", "2001:4860::/32"),
            ("2001:4860:ffff::2", "2001:4860::/32"),
            ("10.1.2.3:80", "10.1.2.3"),
            ("127.0.0.1:80", "127.0.0.1"),
            ("127.0.0.2:80", "127.0.0.2"),
            ("[fe80::1]:80", "fe80::1"),
            ("[fd00::1]:80", "fd00::1"),
            ("100.64.0.1:80", "100.64.0.1"),
            ("Seed.example:80", "seed.example"),
        ):
            self.assertEqual(group_of(text), group)

    def test_private(self) -> None:
        """Private, loopback, link-local, shared; not the ranges for documents, which stand for public ones."""
        for host in (
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "127.9.9.9",
            "169.254.1.1",
            "100.64.0.1",
            "::1",
        ):
            self.assertTrue(is_private(host), host)
        for host in ("8.8.8.8", "172.32.0.1", "203.0.113.1", "2001:db8::1", "seed.example"):
            self.assertFalse(is_private(host), host)
        self.assertTrue(is_private("localhost"))

    def test_dialable(self) -> None:
        """No port 0, no wildcard, no multicast, no broadcast."""
        for text in ("8.8.8.8:1", "[::1]:1", "localhost:1", "127.0.0.1:65535"):
            self.assertTrue(is_dialable(text), text)
        for text in (
            "8.8.8.8:0",
            "0.0.0.0:1",
            "0.1.2.3:1",
            "[::]:1",
            "224.0.0.1:1",
            "239.1.1.1:1",
            "255.255.255.255:1",
            "[ff02::1]:1",
            "nonsense",
        ):
            self.assertFalse(is_dialable(text), text)


class LearnTests(SynchronousTestCase):
    def test_newest_wins(self) -> None:
        """A higher sequence replaces, a lower or equal one changes nothing."""
        _context, book = new_book()
        self.assertTrue(book.learn(record(1, "8.1.1.1:9000", seq=5), "9.9.9.9:1"))
        self.assertFalse(book.learn(record(1, "8.1.1.2:9000", seq=5), "9.9.9.9:1"))
        self.assertFalse(book.learn(record(1, "8.1.1.2:9000", seq=4), "9.9.9.9:1"))
        self.assertTrue(book.learn(record(1, "8.2.1.2:9000", seq=6), "9.9.9.9:1"))
        self.assertEqual(book.get(id_of(1)).kept.addresses, ("8.2.1.2:9000",))
        self.assertEqual(book.groups(), ["8.2/16"])

    def test_hearsay_does_not_displace_what_is_proven(self) -> None:
        """A later record of a proven node adds addresses behind the proven one."""
        _context, book = new_book()
        book.proven(id_of(1), "8.1.1.1:9000")
        book.learn(record(1, "8.2.1.1:9000", seq=9), "9.9.9.9:1")
        entry = book.get(id_of(1))
        self.assertEqual(entry.kept.addresses, ("8.1.1.1:9000", "8.2.1.1:9000"))
        self.assertEqual(entry.group, "8.1/16")
        self.assertTrue(entry.kept.tried)

    def test_own_record(self) -> None:
        """What others tell of us is not for the book."""
        _context, book = new_book(7)
        self.assertFalse(book.learn(record(7, "8.1.1.1:9000"), "9.9.9.9:1"))

    def test_old_records(self) -> None:
        """A record that was not renewed for 30 days is of a node that is gone."""
        _context, book = new_book()
        self.assertFalse(book.learn(record(1, "8.1.1.1:9000", time=WALL - 31 * 86400), "9.9.9.9:1"))

    def test_reach(self) -> None:
        """The internet cannot make us dial into our network, nor a neighbour into our own machine."""
        for source, believed in (
            ("9.9.9.9:1", ("8.1.1.1:9000",)),
            ("192.168.0.9:1", ("8.1.1.1:9000", "192.168.0.1:9000")),
            ("127.0.0.1:1", ("8.1.1.1:9000", "192.168.0.1:9000", "127.0.0.1:9000")),
        ):
            _context, book = new_book()
            book.learn(record(1, "8.1.1.1:9000", "192.168.0.1:9000", "127.0.0.1:9000"), source)
            self.assertEqual(book.get(id_of(1)).kept.addresses, believed)

    def test_useless_addresses(self) -> None:
        """Low ports and what cannot be dialled are left out; a record of nothing else is no record."""
        _context, book = new_book()
        self.assertFalse(
            book.learn(record(1, "8.1.1.1:80", "224.0.0.1:9000", "junk", "8.1.1.1:0"), "9.9.9.9:1")
        )
        self.assertEqual(len(book), 0)

    def test_everything_is_kept(self) -> None:
        """The store holds exactly what the book holds, and a new book takes it over."""
        context, book = new_book()
        for number in range(1, 60):
            book.learn(record(number, f"8.{number % 3}.1.{number}:9000"), f"9.{number}.9.9:1")
        book.proven(id_of(200), "7.1.1.1:9000")
        book.failed(id_of(1), 5.0)
        book.forget(id_of(2))
        stored = kept(context)
        self.assertEqual(stored, {entry.node_id: entry.kept for entry in book})
        _context, again = new_book()
        again.load(list(stored.values()))
        self.assertEqual({entry.node_id for entry in again}, set(stored))
        self.assertTrue(again.get(id_of(200)).kept.tried)

    def test_what_was_handed_over_stays(self) -> None:
        """The store may write a record later: whatever happens to the entry meanwhile, that record does not change."""
        context, book = new_book()
        book.learn(record(1, "8.1.1.1:9000"), "9.9.9.9:1")
        (handed,) = kept(context).values()
        before = repr(handed)
        book.learn(record(1, "8.2.1.1:9000", seq=2), "9.9.9.9:1")
        book.failed(id_of(1), 5.0)
        book.proven(id_of(1), "8.3.1.1:9000")
        self.assertEqual(repr(handed), before)
        self.assertEqual(book.get(id_of(1)).kept, kept(context)[id_of(1)])


class QuotaTests(SynchronousTestCase):
    def test_per_group(self) -> None:
        """32 records of one group, whoever told them; the first ones stay, and others are not touched."""
        context, book = new_book()
        book.learn(record(9999, "8.8.8.8:9000"), "9.9.9.9:1")
        for number in range(1, 200):
            book.learn(record(number, f"8.1.{number}.1:9000"), f"{number}.9.9.9:1")
        self.assertEqual(len(book.of_group("8.1/16")), MAX_IN_GROUP)
        self.assertIn(id_of(1), book)
        self.assertIn(id_of(9999), book)
        self.assertLessEqual(len(book.contested), MAX_CONTESTED)
        self.assertEqual(len(kept(context)), len(book))

    def test_per_source(self) -> None:
        """64 untried records from one teller's group, of however many groups they speak."""
        _context, book = new_book()
        for number in range(1, 200):
            book.learn(record(number, f"{number % 99 + 11}.{number}.1.1:9000"), f"9.9.{number}.9:1")
        self.assertEqual(len(book), MAX_OF_SOURCE)
        book.proven(id_of(1), "12.1.1.1:9000")
        self.assertTrue(book.learn(record(500, "99.1.1.1:9000"), "9.9.9.9:1"))

    def test_test_before_evict(self) -> None:
        """Only who failed three times, or was not heard of for 30 days, makes room; never who is linked."""
        context, book = new_book()
        for number in range(1, 33):
            book.learn(record(number, f"8.1.1.{number}:9000"), f"{number}.9.9.9:1")
        for _ in range(2):
            book.failed(id_of(5), 1.0)
        self.assertFalse(book.learn(record(100, "8.1.2.1:9000"), "9.9.9.9:1"))
        book.failed(id_of(5), 1.0)
        self.assertTrue(book.learn(record(100, "8.1.2.1:9000"), "9.9.9.9:1"))
        self.assertNotIn(id_of(5), book)
        link = Link(1, id_of(6), False, "8.1.1.6:1", "8.1/16", b"", 0.0)
        context.links.up[id_of(6)] = link
        for _ in range(3):
            book.failed(id_of(6), 1.0)
        self.assertFalse(book.learn(record(101, "8.1.2.2:9000"), "9.9.9.9:1"))

    def test_proven_displaces_untested(self) -> None:
        """A node that our own handshake proved gets its place, at the cost of one that nobody tested."""
        _context, book = new_book()
        for number in range(1, 33):
            book.learn(record(number, f"8.1.1.{number}:9000"), f"{number}.9.9.9:1")
        book.proven(id_of(100), "8.1.2.1:9000")
        self.assertIn(id_of(100), book)
        self.assertEqual(len(book.of_group("8.1/16")), MAX_IN_GROUP)

    def test_moving_into_a_full_group(self) -> None:
        """A record that moves its node into a full group is not believed: the quota has no back door."""
        _context, book = new_book()
        for number in range(1, 33):
            book.learn(record(number, f"8.1.1.{number}:9000"), f"{number}.9.9.9:1")
        book.learn(record(100, "8.2.1.1:9000"), "9.9.9.9:1")
        self.assertFalse(book.learn(record(100, "8.1.9.9:9000", seq=2), "9.9.9.9:1"))
        self.assertEqual(len(book.of_group("8.1/16")), MAX_IN_GROUP)
        self.assertEqual(book.get(id_of(100)).kept.addresses, ("8.2.1.1:9000",))

    def test_full(self) -> None:
        """8,192 records, then the largest group loses; an attacker of ten groups cannot displace the others."""
        _context, book = new_book()
        number = 0
        for group in range(256):
            for member in range(32):
                number += 1
                book.learn(
                    record(number, f"8.{group}.1.{member}:9000"), f"{number % 200 + 20}.{number // 200}.1.1:1"
                )
        self.assertEqual(len(book), MAX_RECORDS)
        self.assertTrue(book.learn(record(100_000, "7.1.1.1:9000"), "10.0.0.1:1"))
        self.assertEqual(len(book), MAX_RECORDS)
        for extra in range(500):
            book.learn(record(200_000 + extra, f"8.{extra % 10}.9.9:9000"), f"10.0.0.{extra % 250}:1")
        self.assertEqual(len(book), MAX_RECORDS)
        self.assertIn(id_of(100_000), book)
        self.assertLessEqual(max(len(book.of_group(group)) for group in book.groups()), MAX_IN_GROUP)

    def test_load_within_quotas(self) -> None:
        """A store that holds too much does not overfill the book; the tried come first, stale ones not at all."""
        peers = [
            PeerKept(id_of(number), (f"8.1.1.{number}:9000",), tried=number > 80, last_seen=WALL)
            for number in range(1, 100)
        ]
        peers.append(PeerKept(id_of(500), ("8.2.1.1:9000",), last_seen=WALL - 40 * 86400))
        peers.append(PeerKept(id_of(501), ("junk",), last_seen=WALL))
        _context, book = new_book()
        book.load(peers)
        self.assertEqual(len(book), MAX_IN_GROUP)
        self.assertTrue(all(id_of(number) in book for number in range(81, 100)))

    def test_dials_noted_are_bounded(self) -> None:
        """However many addresses are dialled, what is remembered of it stays small."""
        context, book = new_book()
        for number in range(20_000):
            context.now += 0.001
            book.note_dial(f"8.1.1.1:{number + 1}")
        self.assertLessEqual(len(book._dials), 8192)


class SampleTests(SynchronousTestCase):
    def test_sample(self) -> None:
        """At most as many as asked, signed ones only, not the asker's own, nothing that fails."""
        _context, book = new_book()
        for number in range(1, 31):
            book.learn(record(number, f"8.{number}.1.1:9000"), f"{number}.9.9.9:1")
        book.proven(id_of(100), "8.100.1.1:9000")
        for _ in range(3):
            book.failed(id_of(2), 1.0)
        found = book.sample(100, id_of(1), "7.7.7.7:1")
        self.assertEqual(len(found), 28)
        self.assertEqual(len(set(book.sample(10, id_of(1), "7.7.7.7:1"))), 10)

    def test_sample_is_up_to_date(self) -> None:
        """The newest record of each, not of who was forgotten, and again of who answers again."""
        _context, book = new_book()
        for number in (1, 2, 3):
            book.learn(record(number, f"8.{number}.1.1:9000"), f"{number}.9.9.9:1")
        newer = record(1, "8.1.1.2:9000", seq=2)
        book.learn(newer, "1.9.9.9:1")
        book.forget(id_of(2))
        for _ in range(3):
            book.failed(id_of(3), 1.0)
        self.assertEqual(book.sample(100, id_of(9), "7.7.7.7:1"), [newer.raw])
        book.proven(id_of(3), "8.3.1.1:9000")
        self.assertEqual(len(book.sample(100, id_of(9), "7.7.7.7:1")), 2)

    def test_sample_after_sample(self) -> None:
        """Drawing changes the order of the book and nothing else: who is forgotten in between is told no more."""
        _context, book = new_book()
        left = {number: record(number, f"8.{number}.1.1:9000") for number in range(1, 31)}
        for each in left.values():
            book.learn(each, each.addresses[0])
        for number in range(1, 30):
            self.assertEqual(len(set(book.sample(5, id_of(99), "7.7.7.7:1"))), min(5, len(left)))
            book.forget(id_of(number))
            del left[number]
            found = book.sample(100, id_of(99), "7.7.7.7:1")
            self.assertEqual(sorted(found), sorted(each.raw for each in left.values()))

    def test_sample_of_what_was_kept(self) -> None:
        """What the store gave back is told like what was learned."""
        context, book = new_book()
        book.learn(record(1, "8.1.1.1:9000"), "1.9.9.9:1")
        _context, later = new_book()
        later.load(kept(context).values())
        self.assertEqual(later.sample(100, id_of(9), "7.7.7.7:1"), [record(1, "8.1.1.1:9000").raw])

    def test_a_record_told_abroad_moves_home(self) -> None:
        """With its addresses changes whom it is told to."""
        _context, book = new_book()
        book.learn(record(1, "8.1.1.1:9000"), "192.168.0.2:1")
        book.learn(record(1, "192.168.0.1:9000", seq=2), "192.168.0.2:1")
        self.assertEqual(book.sample(100, id_of(9), "7.7.7.7:1"), [])
        self.assertEqual(len(book.sample(100, id_of(9), "192.168.0.9:1")), 1)

    def test_private_addresses_stay_at_home(self) -> None:
        """A peer on the internet is not told of nodes that it cannot reach."""
        _context, book = new_book()
        book.learn(record(1, "192.168.0.1:9000"), "192.168.0.2:1")
        self.assertEqual(book.sample(100, id_of(9), "7.7.7.7:1"), [])
        self.assertEqual(len(book.sample(100, id_of(9), "192.168.0.9:1")), 1)


class AnchorTests(SynchronousTestCase):
    def test_two_are_kept(self) -> None:
        """The first two, filled up with the former ones; written only when they change; read back."""
        context, book = new_book()
        book.keep_anchors([(id_of(1), "8.1.1.1:1"), (id_of(2), "[::1]:2"), (id_of(3), "c.example:3")])
        book.keep_anchors([(id_of(1), "8.1.1.1:1")])
        states = [action.record for action in context.actions if isinstance(action, Remember)]
        self.assertEqual(len(states), 1)
        (state,) = states
        assert isinstance(state, StateKept)
        _context, again = new_book()
        again.load([], {state.key: state.value})
        self.assertEqual(again.anchors, [(id_of(1), "8.1.1.1:1"), (id_of(2), "[::1]:2")])

    def test_damaged_state(self) -> None:
        """A damaged value is no anchor and no error."""
        _context, book = new_book()
        book.load([], {"anchors": "zz@1.1.1.1:1," + "zz" * 32 + "@8.1.1.1:1,,@,"})
        self.assertEqual(book.anchors, [])
