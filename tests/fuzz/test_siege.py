"""Nothing that peers send stops a node, fills it, or keeps an honest neighbour from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from positron.core import events
from positron.core.messages import BY_TAG
from tests.fuzz.checked import Breach
from tests.fuzz.siege import Failure, Siege, play, shortest

SEEDS = range(8)
STEPS = range(60)


class SiegeTests(SynchronousTestCase):
    def test_holds_out(self) -> None:
        """A few sieges, the same every time; `make fuzz` lays others. They are worth something."""
        told: Counter[str] = Counter()
        for seed in SEEDS:
            siege = Siege(seed)
            self.assertIsNone(play(siege, STEPS))
            told.update(siege.victim.swarm.stats().counters)
        for name in ("received", "gaps", "direct_received", "equivocations", "rejected:malformed"):
            self.assertGreater(told[name], 10, name)


class WatchTests(SynchronousTestCase):
    """What would be the matter is seen."""

    def setUp(self) -> None:
        self.siege = Siege(1)
        self.node = self.siege.victim

    def test_a_table_too_large(self) -> None:
        """More than the documented bound."""
        self.node.look()
        muted = {number.to_bytes(32, "big"): 0.0 for number in range(257)}
        self.node.swarm.gossip.acceptance.muted.update(muted)
        self.assertRaises(Breach, self.node.look)

    def test_spinning(self) -> None:
        """A part that is never content with its tick."""
        self.node.swarm._vouching.tick = lambda: None
        self.node.swarm._vouching.deadline = self.siege.world.now
        self.node.step(events.Tick())
        self.assertRaises(Breach, self.siege.world.run, 1)

    def test_a_link_that_is_not_there(self) -> None:
        """A frame for it."""
        self.assertRaises(Breach, self.node._send, events.Send(999, b"\x05\x90"))

    def test_answers_that_nobody_asked_for(self) -> None:
        """More than questions and budgets allow."""
        account = next(iter(self.node.accounts.values()))
        account.came.clear()
        for _ in range(2):
            account.say(b"\x04\x93\x01\x00\x00")
        self.assertRaises(Breach, self.node.look)

    def test_a_message_lost(self) -> None:
        """Owed to the neighbour, and not delivered."""
        self.siege.wild = False
        self.siege.said[self.node.node_id] = [(0.0, b"lost")]
        self.assertRaises(Breach, self.siege.rest)


class FramesTests(SynchronousTestCase):
    def test_every_message(self) -> None:
        """A hostile peer says each message that there is."""
        siege = Siege(1)
        tongue = siege.hostile[0].tongue
        said = {made[0] for made in (tongue.anything() for _ in range(3000)) if made}
        self.assertLessEqual(set(BY_TAG), said)


class ShortestTests(SynchronousTestCase):
    def test_cut(self) -> None:
        """What the failure does not need is cut out."""

        def replay(seed: int, steps: Sequence[int]) -> Failure | None:
            return Failure(seed, list(steps), "Breach: so") if {3, 40} <= set(steps) else None

        failure = shortest(Failure(1, list(range(100)), "Breach: so"), replay=replay)
        self.assertEqual(failure.steps, [3, 40])
