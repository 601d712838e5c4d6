"""How many links get a push that nobody asked for: measured by hop, and no more than the measure allows."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from positron.core.gossip.flood import MAX_HOPS, MAX_LINKS, Flood
from positron.core.gossip.state import LinkGossip
from tests.core.gossip_parts import context_of, link_state

MANY = 200
"""So many measured pushes say what they say."""


class FloodTests(SynchronousTestCase):
    def setUp(self) -> None:
        """More links than any push goes to."""
        self.context = context_of()
        self.flood = Flood(self.context)
        self.links = [link_state(self.context, number) for number in range(1, 2 * MAX_LINKS)]

    def chosen(self, hops: int, already: int = 0) -> list[LinkGossip]:
        """Who gets the next envelope of that hop."""
        return self.flood.choose(self.links, hops, already)

    def learn(self, hops: int, duplicate: bool, count: int = MANY) -> None:
        """Others pushed to us at that hop; all of it was waste, or nothing."""
        for _ in range(count):
            self.flood.measure(hops, duplicate)

    def test_the_author_always(self) -> None:
        """Nobody asked for what is new; who pushes to 16 by request needs no more."""
        for hops in range(MAX_HOPS + 1):
            self.learn(hops, True)
        self.assertEqual(len(self.chosen(0)), MAX_LINKS)
        self.assertEqual(len(self.chosen(0, already=10)), MAX_LINKS - 10)
        self.assertEqual(self.chosen(0, already=MAX_LINKS), [])
        self.assertEqual(len({state.link.number for state in self.chosen(0)}), MAX_LINKS)

    def test_at_first(self) -> None:
        """While nothing is known, half of the links get it at the first hop and a fifth at the later ones."""
        counts = []
        for hops in range(1, MAX_HOPS + 1):
            self.flood = Flood(self.context)
            counts.append(len(self.chosen(hops)))
        self.assertEqual(counts, [8, 3, 3, 3])

    def test_while_it_is_news(self) -> None:
        """A hop without waste is flooded in full."""
        for hops in range(1, MAX_HOPS + 1):
            self.learn(hops, False)
        for hops in range(1, MAX_HOPS + 1):
            self.assertEqual(len(self.chosen(hops)), MAX_LINKS)

    def test_not_while_it_is_waste(self) -> None:
        """Nobody gets at that hop what everybody has."""
        self.learn(1, False)
        self.learn(2, True)
        self.assertEqual(self.chosen(2), [])
        self.assertEqual(len(self.chosen(1)), MAX_LINKS)

    def test_who_wants_fewer_copies(self) -> None:
        """At half of waste three sources or more flood in full, fewer to a part of the links."""
        counts = []
        for fanout in (1, 2, 3, 8):
            self.flood = Flood(context_of(fanout=fanout))
            for _ in range(MANY):
                self.learn(1, False, 1)
                self.learn(1, True, 1)
            counts.append(len(self.chosen(1)))
        self.assertEqual(counts[2:], [MAX_LINKS] * 2)
        self.assertTrue(0 < counts[0] == counts[1] < MAX_LINKS, counts)

    def test_between(self) -> None:
        """From half to two thirds of waste it fades out."""
        self.learn(1, False)
        counts = []
        for _ in range(40):
            self.flood.measure(1, True)
            counts.append(len(Flood.choose(self.flood, self.links, 1, 0)))
        self.assertEqual(counts, sorted(counts, reverse=True))
        self.assertEqual((counts[0], counts[-1]), (MAX_LINKS, 0))
        self.assertTrue(any(0 < count < MAX_LINKS for count in counts))

    def test_no_later_hop_is_better(self) -> None:
        """A noisy measure of a later hop does not reopen what an earlier one closed."""
        self.learn(1, True)
        self.learn(2, False)
        self.assertEqual(self.chosen(2), [])

    def test_beyond(self) -> None:
        """After four hops never."""
        self.assertEqual(self.chosen(MAX_HOPS + 1), [])

    def test_who_learns_nothing_stops(self) -> None:
        """Its own pushes count a little: nobody floods for ever because nobody tells."""
        self.learn(1, False)
        counts = [len(self.chosen(1)) for _ in range(200)]
        self.assertEqual(counts[0], MAX_LINKS)
        self.assertLessEqual(max(counts[100:]), 2)

    def test_it_is_tried_again(self) -> None:
        """Waste is forgotten with time: after hundreds of envelopes a closed hop is tried."""
        self.learn(1, False)
        self.learn(2, True)
        asked = next(count for count in range(10_000) if self.flood.choose(self.links, 2, 0))
        self.assertTrue(100 < asked < 1000, asked)
