"""An application's own test, on a network without sockets."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from positron.testing import MemoryNetwork


class WeatherTests(SynchronousTestCase):
    """Two stations hear each other."""

    def setUp(self) -> None:
        """Start a network of two, and wait until they are linked."""
        self.clock = Clock()
        self.network = MemoryNetwork(self.clock)
        self.north = self.network.node("north")
        self.south = self.network.node("south", bootstrap=["north"])
        self.north.startService()
        self.south.startService()
        for node in (self.north, self.south):
            self.network.wait(node.when_peers(1))
        self.addCleanup(self.network.stop)

    def test_heard(self) -> None:
        """What the north says arrives in the south."""
        heard: list[object] = []
        self.south.subscribe("weather", lambda message: heard.append(message.data))
        self.network.wait(self.north.publish("weather", "snow"))
        self.network.run(1)
        self.assertEqual(heard, ["snow"])

    def test_partition(self) -> None:
        """What was said during a partition arrives when it has ended."""
        heard: list[object] = []
        self.south.subscribe("weather", lambda message: heard.append(message.data))
        self.network.partition(["north"], ["south"])
        self.network.wait(self.north.publish("weather", "storm"))
        self.network.run(60)
        self.assertEqual(heard, [])
        self.network.heal()
        self.network.run(60)
        self.assertEqual(heard, ["storm"])
