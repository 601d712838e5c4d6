"""Transport lives by the clock it is given."""

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

PROGRAM = """
import sys
from tests.transport.owners import Entrance, Pair
pair = Pair().establish()
pair.client.connection.send(b"\\1")
pair.client.connection.hang_up("bye")
pair.settle()
assert pair.server.frames == [b"\\1"]
entrance = Entrance(handshakes_all=10)
guest = entrance.visit(1)
entrance.wires.settle()
assert guest.names() == ["connected"]
assert "twisted.internet.reactor" not in sys.modules
"""


class NoGlobalReactorTests(SynchronousTestCase):
    def test_links_without_a_reactor(self):
        """Dialling, admission, TLS and frames work in a process that never had a reactor."""
        root = Path(__file__).parents[2]
        done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=root, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
