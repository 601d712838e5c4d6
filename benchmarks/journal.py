"""The runs of the simulator that were made already, so that work of an hour may be cut in two.

Rule: a run counts only for the scenario and the very code that made it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import positron
from positron.cli.scenarios import command_of
from positron.simulation.scenario import Scenario
from positron.simulation.sweep import Row

SOURCES = Path(positron.__file__).parent


def digest(*folders: str) -> str:
    """What identifies the code in these folders of the package."""
    files = sorted(path for folder in folders for path in (SOURCES / folder).rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]


class Journal:
    """The runs, one JSON object a line; in memory alone without a path."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        # A rival has nothing of positron's core.
        self._codes = {True: digest("core", "simulation"), False: digest("simulation")}
        lines = path.read_text().splitlines() if path is not None and path.exists() else []
        self._runs = {run["key"]: run for run in map(json.loads, lines)}

    def _key(self, scenario: Scenario) -> str:
        return f"{command_of(scenario)} {self._codes[scenario.protocol == 'positron']}"

    def find(self, scenario: Scenario) -> Row | None:
        """The run of that scenario by the code as it is now, if it was made."""
        run = self._runs.get(self._key(scenario))
        return None if run is None else Row(scenario, run["report"], run["faults"], run["is_clean"])

    def add(self, row: Row) -> None:
        """This run was made. One that raised is to be made again."""
        if row.report is None:
            return
        key = self._key(row.scenario)
        run = {"key": key, "report": row.report, "faults": row.faults, "is_clean": row.is_clean}
        self._runs[key] = run
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps(run) + "\n")
