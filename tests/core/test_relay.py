"""Who is pushed to: all who asked, near the author more, and of what is large or late only who ranked us first."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from positron.core import messages
from positron.core.gossip.relay import BIG, LATE_MS
from tests.core.gossip_parts import ME, WALL, Node, entries_of, sealed, sent_on

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
