"""A quiet: strangers are asked whether anybody speaks, and nothing that they say costs another link its place."""

from __future__ import annotations

from math import inf

from twisted.trial.unittest import SynchronousTestCase

from positron.core.links import CLOSING, Link
from positron.core.messages import Goodbye, Peers, PeersGet
from positron.core.overlay.quiet import (
    FAST_ROUNDS,
    LONGEST,
    MAX_BRIDGES,
    PACE_SECONDS,
    PROBE_SECONDS,
    PROBES,
    SHORTEST,
    Quiet,
)
from tests.core.gossip_parts import context_of, link_state
from tests.core.overlay_world import Node, World
from tests.core.test_overlay_slots import teach

SOON = 0.2
"""How long a dial takes here."""


class Case(SynchronousTestCase):
    """`Quiet` alone: `strangers` says what each probe will do, and the last one is for all that follow."""

    def setUp(self) -> None:
        self.context = context_of()
        self.context.now = 100.0
        self.quiet = Quiet(self.context, probe=self.probe, end=self.end)
        self.ordinary = [link_state(self.context, number).link for number in (1, 2, 3)]
        self.strangers = ["silent"]
        self.asked: list[float] = []
        self.ended: list[Link] = []
        self.probes: list[Link] = []
        self._plans: list[tuple[float, str]] = []

    def probe(self) -> bool:
        """A stranger is dialled, if there is one."""
        plan = self.strangers.pop(0) if len(self.strangers) > 1 else self.strangers[0]
        if plan == "nobody":
            return False
        self.asked.append(self.context.now)
        self._plans.append((self.context.now + SOON, plan))
        return True

    def end(self, link: Link) -> None:
        """A link ends."""
        self.ended.append(link)
        link.state = CLOSING
        del self.context.links.up[link.node_id]

    def _answer(self, plan: str) -> None:
        link = link_state(self.context, 100 + len(self.probes)).link
        link.probe, link.up_since = True, self.context.now
        self.probes.append(link)
        self.context.now += 0.01
        if plan == "agrees":
            link.agreed_at = self.context.now
        elif plan == "brings":
            self.speak(link)

    def speak(self, link: Link | None = None) -> None:
        """A link brings something new; the first ordinary one if none is named."""
        link = link or self.ordinary[0]
        link.last_useful = self.context.now
        self.quiet.news(link)

    def wait(self, seconds: float) -> None:
        """Time passes, and each deadline is kept."""
        until = self.context.now + seconds
        while (due := min([self.quiet.deadline, *(at for at, _ in self._plans)])) <= until:
            self.context.now = max(self.context.now, due)
            if self._plans and self._plans[0][0] <= self.context.now:
                self._answer(self._plans.pop(0)[1])
            else:
                self.quiet.tick()
        self.context.now = max(until, self.context.now)

    def pauses(self, pause: float, times: int) -> list[int]:
        """Something is said after each pause; how many strangers were asked in each."""
        found = []
        for _ in range(times):
            before = len(self.asked)
            self.wait(pause)
            found.append(len(self.asked) - before)
            self.speak()
        return found


class QuietTests(Case):
    def test_before_anything_was_said(self) -> None:
        """Whoever never heard anything misses nothing."""
        self.assertEqual(self.quiet.deadline, inf)
        self.wait(10_000)
        self.assertEqual(self.asked, [])

    def test_while_there_is_news(self) -> None:
        """Nobody is asked."""
        self.speak()
        self.assertEqual(self.pauses(SHORTEST - 0.1, 100), [0] * 100)

    def test_two_are_asked(self) -> None:
        """After three seconds, and not before."""
        self.speak()
        self.wait(SHORTEST - 0.01)
        self.assertEqual(self.asked, [])
        self.wait(0.02)
        self.assertEqual(len(self.asked), PROBES)

    def test_nobody_speaks(self) -> None:
        """Two that agree are enough, however long the network is idle; with the next message it begins anew."""
        self.strangers = ["agrees"]
        self.speak()
        self.wait(100_000)
        self.assertEqual((len(self.asked), self.ended), (PROBES, self.probes))
        self.speak()
        self.wait(2 * LONGEST)
        self.assertEqual(len(self.asked), 2 * PROBES)

    def test_a_network_that_speaks_seldom(self) -> None:
        """Each pause that ended by itself doubles what is a pause; above a minute two are asked in each, no more."""
        self.strangers = ["agrees"]
        self.speak()
        self.assertEqual(self.pauses(20, 5), [2, 0, 0, 0, 0])
        self.assertEqual(self.pauses(1000, 5), [2] * 5)

    def test_a_network_that_is_busy_again(self) -> None:
        """After ten minutes of news three seconds are a quiet again."""
        self.strangers = ["agrees"]
        self.speak()
        self.pauses(1000, 1)
        self.assertEqual(sum(self.pauses(1.0, 600)), 0)
        self.wait(SHORTEST + 0.1)
        self.assertEqual(len(self.asked), 2 * PROBES)

    def test_liars_all_around(self) -> None:
        """Strangers that answer nothing are let go soon, two others are asked every 1.5 s, later less."""
        self.speak()
        self.wait(SHORTEST + FAST_ROUNDS * PACE_SECONDS - 0.1)
        self.assertEqual(len(self.asked), PROBES * FAST_ROUNDS)
        self.wait(PACE_SECONDS)
        self.assertTrue(all(probe.state == CLOSING for probe in self.probes[: PROBES * (FAST_ROUNDS - 1)]))
        self.wait(600)
        before = len(self.asked)
        self.wait(600)
        self.assertEqual(len(self.asked) - before, PROBES * 600 / LONGEST)
        self.assertEqual([link.state for link in self.ordinary], ["up"] * 3)

    def test_an_answer_from_among_liars(self) -> None:
        """Who agrees counts once, and those that say nothing do not count."""
        self.strangers = ["agrees", "silent", "silent", "agrees", "silent"]
        self.speak()
        self.wait(1000)
        self.assertEqual(len(self.asked), 4)

    def test_a_bridge(self) -> None:
        """Who brings something stays; the pause was none of the network's, so it does not count as one."""
        self.strangers = ["silent", "brings"]
        self.speak()
        self.wait(SHORTEST + PACE_SECONDS + 0.1)
        silent, bridge = self.probes[:2]
        self.assertEqual((self.ended, bridge.probe), ([silent], False))
        self.speak(bridge)
        asked = len(self.asked)
        self.wait(2 * SHORTEST + 0.1)
        self.assertGreater(len(self.asked), asked)

    def test_a_stranger_that_has_just_come(self) -> None:
        """It has a second before it is judged."""
        self.speak()
        self.wait(SHORTEST + 0.1)
        link = link_state(self.context, 50).link
        link.probe, link.up_since = True, self.context.now + PACE_SECONDS - 0.1 - PROBE_SECONDS / 2
        self.context.now = self.context.now + PACE_SECONDS - 0.1
        self.quiet.tick()
        self.assertNotIn(link, self.ended)
        self.wait(PACE_SECONDS)
        self.assertIn(link, self.ended)

    def test_judged_though_the_quiet_is_over(self) -> None:
        """Strangers asked just before somebody spoke do not stay for that."""
        self.speak()
        self.wait(SHORTEST + 0.5)
        self.speak()
        self.wait(SHORTEST - 0.1)
        self.assertEqual(len(self.ended), PROBES)

    def test_an_attacker_that_speaks_in_pauses(self) -> None:
        """It gains two places beside the slots, whatever it says, and two dials a minute: no other link ends for it."""
        self.strangers = ["brings"]
        self.speak()
        self.wait(600)
        asked = len(self.asked)
        self.wait(600)
        self.assertLessEqual(len(self.asked) - asked, PROBES * (600 / LONGEST + 1))
        self.strangers = ["silent"]
        self.wait(LONGEST)
        standing = [probe for probe in self.probes if probe.state != CLOSING]
        self.assertEqual(len(standing), MAX_BRIDGES)
        self.assertEqual([link.state for link in self.ordinary], ["up"] * 3)

    def test_the_least_useful_bridge_goes(self) -> None:
        """A third takes the place of the one that brought something longest ago."""
        self.strangers = ["brings"]
        self.speak()
        self.wait(SHORTEST + PACE_SECONDS + 0.1)
        first, second = self.probes
        self.assertEqual([link.probe for link in (first, second)], [False, False])
        self.strangers = ["silent", "brings", "silent"]
        self.speak(second)
        self.context.now += 0.1
        self.speak(first)
        self.wait(2 * SHORTEST + PACE_SECONDS + 0.1)
        self.assertEqual([link.state == CLOSING for link in (first, second)], [False, True])

    def test_everybody_is_linked(self) -> None:
        """In a small network there is nobody to ask: nothing happens. If one agrees and there is no other, that will
        do."""
        self.strangers = ["nobody"]
        self.speak()
        self.wait(1000)
        self.assertEqual(self.asked, [])
        self.speak()
        self.strangers = ["agrees", "nobody"]
        self.wait(1000)
        self.assertEqual(len(self.asked), 1)


class ProbeTests(SynchronousTestCase):
    """The links that a quiet makes, in a whole overlay."""

    def node(self, world: World, others: int, **parameters: object) -> tuple[Node, list[Node]]:
        """A node that knows so many others, and has its links."""
        rest = [
            world.node(number, f"8.{number}.1.1:9000", discovery=False) for number in range(2, others + 2)
        ]
        node = world.node(1, "9.9.1.1:9000", **parameters)
        for other in rest:
            teach(node, other.seed, other.address)
        node.run(lambda: node.overlay._slots.wake())
        node.run(lambda: node.overlay.tick())
        world.advance(20)
        return node, rest

    def news(self, node: Node) -> None:
        """An ordinary link brings something."""
        link = next(iter(node.context.links))
        link.last_useful = node.context.now
        node.run(node.overlay.news, link)

    def test_beside_the_slots(self) -> None:
        """Probes go out though all eight slots are taken, and are gone again; nobody else is, and nothing is asked or
        told on them but where we are."""
        world = World()
        node, _ = self.node(world, 20)
        before = node.peers
        self.assertEqual(len(before), 8)
        asked, said = len(node.said(PeersGet)), len(node.said(Peers))
        dials = len(node.dials)
        self.news(node)
        world.advance(SHORTEST + 1)
        self.assertEqual((len(node.dials) - dials, len(node.peers)), (PROBES, 8 + PROBES))
        probes = [link for link in node.context.links if link.probe]
        self.assertEqual(len(probes), PROBES)
        world.advance(1.5)
        self.assertTrue(before <= node.peers)
        self.assertTrue(all(link.state == CLOSING for link in probes))
        self.assertIn("idle", [goodbye.reason for goodbye in node.said(Goodbye)])
        self.assertEqual(len(node.said(PeersGet)), asked)
        records = [len(peers.records) for peers in node.said(Peers)[said:]]
        self.assertTrue(all(count <= 1 for count in records), records)

    def test_a_bridge_stays_beside_the_slots(self) -> None:
        """It takes no slot and is not trimmed as one too many; a slot that falls free is filled all the same."""
        world = World()
        node, _ = self.node(world, 20)
        self.news(node)
        world.advance(SHORTEST + 1)
        bridge = next(link for link in node.context.links if link.probe)
        bridge.last_useful = world.now
        node.run(node.overlay.news, bridge)
        world.advance(300)
        self.assertEqual((bridge.state, bridge.probe, len(node.peers)), ("up", False, 9))
        former = next(link for link in node.context.links if link.outbound and link is not bridge)
        node.run(node.overlay.hang_up, former, "idle")
        world.advance(10)
        self.assertEqual(len(node.peers), 9)

    def test_no_room(self) -> None:
        """With `max_peers` links there are no probes."""
        world = World()
        node, rest = self.node(world, 20, max_peers=4)
        for other in rest[-2:]:
            other.run(other.overlay.add_peer, node.address)
        world.advance(5)
        self.assertEqual(len(node.peers), 4)
        dials = len(node.dials)
        self.news(node)
        world.advance(30)
        self.assertEqual(len(node.dials), dials)

    def test_without_discovery(self) -> None:
        """Nobody is dialled but whom the operator named."""
        world = World()
        hub = world.node(2, "8.2.1.1:9000")
        node = world.node(1, "9.9.1.1:9000", discovery=False, bootstrap=(hub.address,))
        teach(node, 3, "8.3.1.1:9000")
        world.advance(5)
        self.news(node)
        world.advance(100)
        self.assertEqual([address for _, address in node.dials], [hub.address])
