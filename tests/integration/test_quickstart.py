"""What a newcomer runs first."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

SCRIPT = Path(__file__).parents[2] / "docs/examples/quickstart.sh"


class QuickstartTests(SynchronousTestCase):
    def run_script(self, text: str) -> subprocess.CompletedProcess[str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return subprocess.run(
            ["sh", "-c", text, str(SCRIPT)],
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def test_arrives(self) -> None:
        """Three nodes start, a message arrives, and the script says so with exit code 0."""
        done = self.run_script(SCRIPT.read_text())
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("Arrived: hello", done.stdout)

    def test_does_not_arrive(self) -> None:
        """With the third node in another network nothing arrives, and the exit code is 1."""
        apart = (
            SCRIPT.read_text()
            .replace("start three", "start three --network elsewhere")
            .replace("--for 20", "--for 2")
        )
        done = self.run_script(apart)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertIn("did not arrive", done.stderr)
