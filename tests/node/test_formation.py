"""A network of nodes that hold few links is one network all the same."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from positron.testing import MemoryNetwork

NODES = 12


class FewLinksTests(SynchronousTestCase):
    def test_everybody_hears_everybody(self):
        """Twelve nodes that know the first: whatever `max_peers` is, everybody hears what each of them says."""
        for max_peers in range(2, 9):
            self.form(max_peers)

    def form(self, max_peers):
        """Start them all at once, the last when the others are linked, and have each say something."""
        network = MemoryNetwork(Clock())
        heard = {}
        for number in range(NODES):
            node = network.node(f"n{number}", bootstrap=["n0"], max_peers=max_peers)
            heard[node] = set()
            node.subscribe("#", lambda message, node=node: heard[node].add(message.data))
            if number == NODES - 1:
                network.run(100)
            node.startService()
        network.run(100)
        for number, node in enumerate(heard):
            self.assertLessEqual(len(node.peers()), max_peers)
            node.publish("t", number)
        network.run(10)
        expected = [set(range(NODES))] * NODES
        self.assertEqual((max_peers, list(heard.values())), (max_peers, expected))
        network.stop()
