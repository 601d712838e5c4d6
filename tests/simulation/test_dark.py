"""Machines that go dark: nobody is told, and what is sent to them is lost."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from positron.core.events import Dial, DialFailed
from positron.simulation.compared import build
from positron.simulation.scenario import Scenario
from positron.simulation.world import World
from tests.simulation.networks import Crowd, mesh


class DarkTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(5)
        self.nodes = mesh(self.world, 4)
        self.dark = self.nodes[2]

    def believers(self) -> int:
        """How many of the others have a link to the dark one."""
        return sum(self.dark.node_id in node.links for node in self.nodes)

    def test_nobody_is_told(self) -> None:
        """Links to a machine that went dark stand until silence ends them; those to a killed process end at once."""
        self.dark.go_dark()
        self.world.run(8)
        self.assertEqual(self.believers(), 3)
        self.world.run(30)
        self.assertEqual(self.believers(), 0)
        self.nodes[3].kill()
        self.world.run(1)
        self.assertFalse(any(self.nodes[3].node_id in node.links for node in self.nodes))

    def test_dials_time_out(self) -> None:
        """A dial to it fails, but not before a connection's timeout; one to a killed process is refused soon."""
        heard: list[tuple[float, str]] = []
        step = self.nodes[0].step

        def listen(event: object) -> None:
            if isinstance(event, DialFailed):
                heard.append((self.world.now, event.reason))
            step(event)  # type: ignore[arg-type]

        self.dark.go_dark()
        self.nodes[3].kill()
        self.nodes[0].step = listen  # type: ignore[method-assign,assignment]
        began = self.world.now
        for node in (self.dark, self.nodes[3]):
            self.world.dial(self.nodes[0], Dial(node.address))
        self.world.run(5.1)
        mine = [(round(at - began, 1), reason) for at, reason in heard]
        self.assertIn((0.1, "connection refused"), mine)
        self.assertIn((5.0, "timed out"), mine)

    def test_it_comes_back(self) -> None:
        """A machine that is on again tells the links of its former life that they are gone, and catches up."""
        crowd = Crowd(self.world, self.nodes)
        self.dark.go_dark()
        crowd.say(self.nodes[0], 3)
        self.world.run(2)
        self.assertEqual(self.believers(), 3)
        before = [set(node.channels) for node in self.nodes]
        self.dark.start()
        self.world.run(0.5)
        gone = [bool(then - set(node.channels)) for then, node in zip(before, self.nodes, strict=True)]
        self.assertEqual(gone, [True, True, False, True], "those of the former life")
        self.world.run(20)
        self.assertEqual(self.believers(), 3)
        self.assertTrue(crowd.report([node for node in self.nodes if node is not self.dark]).is_clean)
        self.assertEqual(
            [entry for delivery in self.dark.delivered for entry in delivery.entries],
            [("t", payload) for payload in crowd.said[self.nodes[0].node_id]],
        )

    def test_crashes_are_dark(self) -> None:
        """A crash of a scenario is of this kind, for positron and its rivals alike."""
        for protocol in ("positron", "gossipsub"):
            network = build(Scenario(nodes=12, protocol=protocol), lambda _seconds: None)
            network.crash([3])
            network.run(4)
            if protocol == "positron":
                nodes = network.world.nodes  # type: ignore[attr-defined]
                self.assertTrue(any(nodes[3].node_id in node.links for node in nodes))
            else:
                rival = network._rival  # type: ignore[attr-defined]
                self.assertTrue(any(3 in node.links for node in rival.nodes))
                network.run(8)
                self.assertFalse(any(3 in node.links for node in rival.nodes))
