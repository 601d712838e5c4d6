"""All of `positron bench micro`, quickly."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from positron.bench.micro import GOALS
from tests.cli.test_process import PROGRAM


class BenchTests(SynchronousTestCase):
    def test_micro(self) -> None:
        """Every ratio is measured, and none is nothing."""
        done = subprocess.run(
            [*PROGRAM, "bench", "micro", "--quick", "--json"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        ratios = {row["name"]: row["value"] for row in json.loads(done.stdout)["ratios"]}
        self.assertEqual(list(ratios), [goal.name for goal in GOALS])
        # On a computer that does nothing else a loop may never be late, and no envelope may come again.
        self.assertEqual(
            {name for name, value in ratios.items() if value <= 0} - {"lateness", "duplicates"}, set()
        )
