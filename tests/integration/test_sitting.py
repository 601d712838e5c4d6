"""positron beside its rivals: the harness itself, with positron, bare Twisted and little to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

SITTING = Path(__file__).parents[2] / "benchmarks/peers/sitting.py"


class SittingTests(SynchronousTestCase):
    def test_what_needs_no_installing(self) -> None:
        """All phases are measured; a rival that is not installed is named, and is no failure."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        done = subprocess.run(
            [
                *(
                    sys.executable,
                    str(SITTING),
                    "--peers",
                    "positron",
                    "twisted+ed25519",
                    "nats",
                    "--nodes",
                    "2",
                    "--rounds",
                    "1",
                ),
                *("--scale", "0.01", "--logs", str(folder), "--json", str(folder / "found.json")),
            ],
            env={
                **os.environ,
                "PEERS_DIR": str(folder / "nothing"),
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("nats is not installed here", done.stdout)
        found = json.loads((folder / "found.json").read_text())["2"]
        for peer in ("positron", "twisted+ed25519"):
            (run,) = found[peer]
            for phase in ("paced", "small", "large"):
                self.assertEqual((run[phase]["delivered"], run[phase]["errors"]), (1.0, ""), (peer, phase))
                self.assertGreater(run[phase]["per_second"], 0)
