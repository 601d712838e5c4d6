"""Who is pushed to: all who asked, near the author more, and of what is large or late only who ranked us first."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from positron.core import messages
from positron.core.envelope import DIRECT, MAX_PAYLOAD, Envelope
from positron.core.gossip.recents import RECENT_SECONDS
from positron.core.gossip.relay import BIG, LATE_MS
from positron.core.gossip.state import MAX_SKIPPED, LinkGossip
from positron.core.limits import LINK_FULL, Rate
from tests.core.gossip_parts import BOB, ME, WALL, Node, entries_of, sealed, sent_on

LINKS = 6


class RelayTests(SynchronousTestCase):
    def setUp(self) -> None:
        """Link 1 brings envelopes; 2 ranked us first, 3 second, 4 and on did not ask."""
        self.node = Node()
        self.links = {number: self.node.link(number) for number in range(1, LINKS + 1)}
        for number, rank in ((2, 1), (3, 2)):
            self.node.gossip.sources.graft(self.links[number], messages.Graft(rank))

    def pushed(self, **envelope: Any) -> list[int]:
        """Who gets such an envelope, that comes on link 1 from its author."""
        self.node.context.actions.clear()
        raw = sealed(self.node.context, **envelope).raw
        self.node.gossip.push(self.links[1], 0, raw)
        return [
            number for number, state in self.links.items() if sent_on(self.node.context, state, messages.Push)
        ]

    def test_all_who_asked(self) -> None:
        """Both, and nobody who did not ask: the next hop is not flooded before it is known to pay."""
        self.assertGreaterEqual(set(self.pushed()), {2, 3})

    def test_large(self) -> None:
        """A large one goes to who ranked us first alone; the others hear of it and ask."""
        self.assertEqual(self.pushed(size=BIG), [2])

    def test_a_large_one_of_our_own(self) -> None:
        """It goes to all who asked: were it announced to most of them, no full queue would say that they lag behind."""
        self.node.context.actions.clear()
        own = sealed(self.node.context, ME, size=BIG)
        self.node.gossip.originate(own, entries_of(own), 1)
        pushed = [
            number for number, state in self.links.items() if sent_on(self.node.context, state, messages.Push)
        ]
        self.assertEqual(pushed, [2, 3])

    def test_late(self) -> None:
        """So does what was made long ago: it comes in a heap, after a cut, and nobody waits for it so closely."""
        late = LATE_MS / 1000 + 0.001
        self.assertEqual(self.pushed(age=late, epoch=(WALL - 60) * 1000), [2])

    def test_a_clock_that_is_off(self) -> None:
        """An author whose clock is as far behind as any may be is pushed like any other."""
        age = LATE_MS / 1000
        self.assertGreaterEqual(set(self.pushed(age=age, epoch=(WALL - 60) * 1000)), {2, 3})

    def test_nobody_waits_for_the_rank(self) -> None:
        """Who is not pushed a late one is told of it at once or within a second."""
        self.pushed(age=LATE_MS / 1000 + 1, epoch=(WALL - 60) * 1000)
        self.node.wait(1.1)
        for number in range(3, LINKS + 1):
            self.assertTrue(sent_on(self.node.context, self.links[number], messages.Have), number)


class DrainTests(SynchronousTestCase):
    """Link 1 brings envelopes, link 2 grafted us and does not keep up for a while."""

    def setUp(self) -> None:
        self.node = Node()
        self.source, self.full = self.node.link(1), self.node.link(2)
        self.node.gossip.sources.graft(self.full, messages.Graft(1))
        self.node.gossip.congestion(2, True)
        self.seq = 0

    def bring(self, count: int = 1, size: int = 1) -> list[Envelope]:
        """So many new envelopes come."""
        brought = []
        for _ in range(count):
            self.seq += 1
            brought.append(sealed(self.node.context, seq=self.seq, size=size))
            self.node.gossip.push(self.source, 0, brought[-1].raw)
        return brought

    def pushed(self) -> list[bytes]:
        """What link 2 was pushed so far."""
        return [push.envelope for push in sent_on(self.node.context, self.full, messages.Push)]

    def drain(self) -> None:
        self.node.gossip.congestion(2, False)

    def test_what_it_missed_is_pushed_when_it_drains(self) -> None:
        """In order, once, and before its timer makes it ask."""
        missed = self.bring(3)
        self.assertEqual(self.pushed(), [])
        self.drain()
        self.assertEqual(self.pushed(), [envelope.raw for envelope in missed])
        self.drain()
        self.assertEqual(len(self.pushed()), 3)

    def test_not_what_it_asked_for_or_showed(self) -> None:
        """It has what it wanted meanwhile, and what it announced itself."""
        asked, showed, missed = self.bring(3)
        self.node.wait(0.03)
        self.node.gossip.want(self.full, messages.Want(asked.id))
        self.node.gossip.have(self.full, [showed.id])
        self.assertEqual(self.pushed(), [asked.raw])
        self.drain()
        self.assertEqual(self.pushed(), [asked.raw, missed.raw])

    def test_not_who_pruned_us_meanwhile(self) -> None:
        """Who wants no more pushes gets none."""
        self.bring(2)
        self.node.gossip.sources.prune(self.full, messages.Prune(0))
        self.drain()
        self.assertEqual(self.pushed(), [])

    def test_no_more_than_fills_it_again(self) -> None:
        """The rest when that is gone: nobody fills a queue for a link that stands still."""
        missed = self.bring(10, size=MAX_PAYLOAD - 100)
        self.drain()
        first = self.pushed()
        sizes = [len(raw) for raw in first]
        self.assertTrue(sum(sizes[:-1]) <= LINK_FULL < sum(sizes), sizes)
        self.node.gossip.congestion(2, True)
        self.drain()
        self.assertEqual(self.pushed(), [envelope.raw for envelope in missed[: 2 * len(first)]])

    def test_all_of_it_where_nothing_fills_it_again(self) -> None:
        """The rest goes a moment later if the socket took everything, and what is new goes behind it."""
        missed = self.bring(10, size=MAX_PAYLOAD - 100)
        self.drain()
        self.assertLess(len(self.pushed()), 10)
        missed += self.bring()
        self.node.wait(0)
        self.node.wait(0)
        self.assertEqual(self.pushed(), [envelope.raw for envelope in missed])

    def test_not_what_left_memory(self) -> None:
        """A slow reader costs no memory: what is older than the last seconds it hears of and asks for."""
        self.bring(3)
        self.node.wait(RECENT_SECONDS)
        missed = self.bring(2)
        self.node.wait(1.5)
        self.drain()
        self.assertEqual(self.pushed(), [envelope.raw for envelope in missed])

    def test_only_the_last_ones(self) -> None:
        """Nor does one that never reads: no more ids than these are kept for it."""
        missed = self.bring(MAX_SKIPPED + 5)
        self.drain()
        self.assertEqual(self.pushed(), [envelope.raw for envelope in missed[5:]])


class BeyondTests(SynchronousTestCase):
    def test_beyond_its_ttl(self) -> None:
        """T18: hops that say that it went far enough keep a broadcast from being pushed, and not from being told."""
        node = Node()
        liar, *others = (node.link(number) for number in range(1, LINKS + 1))
        for state in others:
            node.gossip.sources.graft(state, messages.Graft(1))
        node.context.actions.clear()
        envelope = sealed(node.context)
        node.gossip.push(liar, 255, envelope.raw)
        node.wait(1.1)
        for state in others:
            self.assertEqual(sent_on(node.context, state, messages.Push), [])
            self.assertEqual(
                [have.ids for have in sent_on(node.context, state, messages.Have)], [envelope.id]
            )


class Relaying(Node):
    """A node for which nothing sealed is meant."""

    def hand_on(self, state: LinkGossip, envelope: Envelope, hops: int) -> bool:
        """Flood it."""
        return self.gossip.relay.flood_sealed(envelope, hops, state)


class SealedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.node = Relaying(limits={"direct": Rate(1, 2)})
        self.liar, self.honest, self.onward = (self.node.link(number) for number in (1, 2, 3))
        self.node.context.actions.clear()

    def seal(self, seq: int) -> Envelope:
        return sealed(self.node.context, seq=seq, kind=DIRECT, recipient=BOB.node_id, body=b"sealed")

    def onwards(self) -> list[bytes]:
        """What was passed on to the third link since last asked."""
        found = sent_on(self.node.context, self.onward, messages.Push)
        self.node.context.actions.clear()
        return [push.envelope for push in found]

    def test_hops_that_are_a_lie(self) -> None:
        """T18: a copy said to have crossed all its links is not passed on, and does not keep another from it."""
        envelope = self.seal(1)
        self.node.gossip.push(self.liar, 255, envelope.raw)
        self.assertEqual(self.onwards(), [])
        self.node.gossip.push(self.honest, 1, envelope.raw)
        self.assertEqual(self.onwards(), [envelope.raw])
        self.node.gossip.push(self.liar, 1, envelope.raw)
        self.assertEqual(self.onwards(), [], "once")

    def test_hops_that_are_nearly_all(self) -> None:
        """T18: a copy said to have a hop left is passed on, and so is one with more that comes after it, once."""
        envelope = self.seal(1)
        self.node.gossip.push(self.liar, envelope.ttl - 2, envelope.raw)
        self.assertEqual(self.onwards(), [envelope.raw])
        self.node.gossip.push(self.honest, 1, envelope.raw[:-1] + bytes(1))
        (again,) = sent_on(self.node.context, self.onward, messages.Push)
        self.assertEqual(
            (again.hops, again.envelope), (2, envelope.raw), "what was verified, whatever the copy is"
        )
        self.onwards()
        self.node.gossip.push(self.honest, 0, envelope.raw)
        self.assertEqual(self.onwards(), [])

    def test_hops_that_are_half(self) -> None:
        """A copy that had half its hops left is not passed on anew for one that has more: honest ones differ, too."""
        envelope = self.seal(1)
        self.node.gossip.push(self.liar, envelope.ttl // 2 - 1, envelope.raw)
        self.assertEqual(self.onwards(), [envelope.raw])
        self.node.gossip.push(self.honest, 0, envelope.raw)
        self.assertEqual(self.onwards(), [])

    def test_a_link_over_its_budget(self) -> None:
        """T16: nor does a copy for which its link has no budget left: whoever has some brings it."""
        for seq in (1, 2):
            self.node.gossip.push(self.liar, 1, self.seal(seq).raw)
        self.assertEqual(len(self.onwards()), 2)
        envelope = self.seal(3)
        self.node.gossip.push(self.liar, 1, envelope.raw)
        self.assertEqual(self.onwards(), [])
        self.assertEqual(self.node.count("rejected:budget"), 1)
        self.node.gossip.push(self.honest, 1, envelope.raw)
        self.assertEqual(self.onwards(), [envelope.raw])
