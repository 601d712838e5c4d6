"""A sweep: the product of what varies, in a steady order, over processes; failures are told with their commands."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from unittest import skipUnless

from twisted.trial.unittest import SynchronousTestCase

from positron.cli import sweeping
from positron.simulation import sweep
from positron.simulation.scenario import Crash, Scenario
from tests.cli.running import Result, clean, run

FILE = """
seeds = [3, 4]

[base]
nodes = 6
duration = "400ms"
crash = ["0.2@0s"]
churn = false

[vary]
protocol = ["positron", "push"]
latency = ["20ms", "regional"]
"""


@contextmanager
def threads(_count: int) -> Iterator[Executor]:
    """Where runs are played in tests that are not about processes."""
    with ThreadPoolExecutor(1) as executor:
        yield executor


KILLED = """
import os, time
from positron.simulation.sweep import cores
with cores(1) as executor:
    print(executor.submit(os.getpid).result(), flush=True)
    executor.submit(time.sleep, 60).result()
"""


class CoresTests(SynchronousTestCase):
    @skipUnless(hasattr(os, "pidfd_open"), "only Linux tells when a process that is not our child ends")
    def test_killed(self) -> None:
        """No worker goes on when whoever asked is killed: it would keep a core busy for nobody."""
        with subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE) as asker:
            assert asker.stdout is not None
            worker = os.pidfd_open(int(asker.stdout.readline()))
            self.addCleanup(os.close, worker)
            asker.kill()
            ended, _, _ = select.select([worker], [], [], 20)
        if not ended:
            signal.pidfd_send_signal(worker, signal.SIGKILL)
        self.assertEqual(ended, [worker])


class SweepTests(SynchronousTestCase):
    def setUp(self) -> None:
        clean(self)

    def written(self, text: str = FILE) -> str:
        """The name of a file that holds it."""
        path = self.mktemp()
        Path(path).write_text(text)
        return path

    def command(self, *more: str, text: str = FILE) -> Result:
        """A sweep in this process."""
        self.patch(sweep, "cores", threads)
        return run(["simulate", "--sweep", self.written(text), *more])

    def test_the_product(self) -> None:
        """Every value with every other and every seed, the last the fastest; a number of seeds counts from 1."""
        scenarios, varied = sweeping.read(self.written())
        self.assertEqual(varied, ["protocol", "latency"])
        found = [(one.protocol, one.latency, one.seed) for one in scenarios]
        expected = [(p, w, s) for p in ("positron", "push") for w in (0.02, "regional") for s in (3, 4)]
        self.assertEqual(found, expected)
        self.assertEqual(
            {(one.nodes, one.duration, one.crash) for one in scenarios}, {(6, 0.4, (Crash(0.2, 0.0),))}
        )
        scenarios, _ = sweeping.read(self.written("seeds = 3\n[base]\nnodes = 5\nchurn = true\n"))
        self.assertEqual(scenarios, [Scenario(nodes=5, churn=True, seed=seed) for seed in (1, 2, 3)])

    def test_processes(self) -> None:
        """Over the cores the rows are those of single runs, in order, each with the command that makes it."""
        text = 'seeds = 2\n[base]\nnodes = 5\nduration = "400ms"\n[vary]\nloss = [0, "10%"]\n'
        done = run(["simulate", "--sweep", self.written(text), "--json"])
        self.assertEqual((done.code, done.err), (0, ""))
        rows = done.json_lines()
        self.assertEqual(
            [(row["parameters"]["loss"], row["seed"]) for row in rows], [(0, 1), (0, 2), (0.1, 1), (0.1, 2)]
        )
        for row in rows:
            alone = run([*row["command"].split()[1:], "--json"]).json()
            for name in ("wall_seconds",):
                del alone[name]
            self.assertEqual({name: row[name] for name in alone}, alone)

    def test_table(self) -> None:
        """A row for each run, what varies first."""
        lines = self.command().lines
        self.assertEqual(lines[0].split("\t")[:2], ["latency", "seed"])
        self.assertEqual(len(lines), 1 + 8)
        self.assertIn("push", lines[-1])

    def test_failures(self) -> None:
        """A run that raises and one that loses something end in 1, each with its command, and the rest is played."""
        whole = sweep.simulate

        def failing(scenario: Scenario) -> object:
            if scenario.seed == 4 and scenario.latency == "regional":
                raise RuntimeError("no such luck")
            return whole(scenario)

        self.patch(sweep, "simulate", failing)
        done = self.command("--json")
        self.assertEqual(done.code, 1)
        self.assertEqual([("error" in row) for row in done.json_lines()], [False, False, False, True] * 2)
        self.assertEqual(
            done.err.splitlines()[:2],
            [
                "it raised RuntimeError: no such luck",
                "replay it with: positron simulate --nodes 6 --duration 0.4 --latency regional --crash 0.2@0 --seed 4",
            ],
        )

    def test_nonsense_is_refused(self) -> None:
        """A file that cannot be, and options beside it, are one sentence and 2."""
        for text in (
            "what = 1\n",
            "[base]\nnodes = 1\n",
            "[base]\nnode = 5\n",
            "[vary]\nloss = 0.1\n",
            "[vary]\nloss = []\n",
            'seeds = "all"\n',
            "seeds = 0\n",
            "not toml",
            '[base]\nprotocol = "push"\nmalicious = ["0.3:forging"]\n',
        ):
            done = self.command(text=text)
            self.assertEqual((done.code, done.out), (2, ""), text)
            self.assertNotIn("Traceback", done.err)
        for more in (("--nodes", "5"), ("--compare",), ("--real",), ("--trace", "1")):
            self.assertEqual(self.command(*more).code, 2, more)
        self.assertEqual(run(["simulate", "--sweep", self.mktemp()]).code, 2)
        self.assertEqual(run(["simulate", "--scheduler", "tcp://127.0.0.1:1"]).code, 2)

    def test_scheduler_needs_its_extra(self) -> None:
        """Without dask.distributed a scheduler is refused at once, with the way to get it."""
        self.patch(sweeping, "find_spec", lambda _name: None)
        done = self.command("--scheduler", "tcp://127.0.0.1:1")
        self.assertEqual((done.code, done.out), (2, ""))
        self.assertIn("pip install 'positron[cluster]'", done.err)

    def test_scheduler(self) -> None:
        """With it, the runs go to the executor of a client of that scheduler; nobody there is one sentence."""
        asked: list[str] = []

        class Client:
            def __init__(self, address: str) -> None:
                asked.append(address)
                if address.endswith(":1"):
                    raise OSError("timed out")

            def __enter__(self) -> Client:
                return self

            def __exit__(self, *_error: object) -> None:
                pass

            def get_executor(self, pure: bool) -> Executor:
                assert not pure
                return ThreadPoolExecutor(1)

        module = ModuleType("distributed")
        module.Client = Client  # type: ignore[attr-defined]
        before = sys.modules.get("distributed")
        self.addCleanup(
            lambda: (
                sys.modules.pop("distributed") if before is None else sys.modules.update(distributed=before)
            )
        )
        sys.modules["distributed"] = module
        self.patch(sweeping, "find_spec", lambda name: ModuleSpec(name, None))
        done = self.command("--json", "--scheduler", "tcp://machine:8786")
        self.assertEqual((done.code, len(done.json_lines())), (0, 8))
        done = self.command("--scheduler", "tcp://machine:1")
        self.assertEqual((done.code, done.out), (2, ""))
        self.assertIn("tcp://machine:1", done.err)
        self.assertEqual(asked, ["tcp://machine:8786", "tcp://machine:1"])
