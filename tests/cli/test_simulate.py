"""The command that simulates: its JSON, its table, its exit code, its files."""

from __future__ import annotations

import csv
import json
import os
import shlex
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

from attrs import fields
from twisted.trial.unittest import SynchronousTestCase

from positron.cli import scenarios, simulate
from positron.simulation import running
from positron.simulation.scenario import Scenario
from tests.cli.running import Result, clean, keys, run
from tests.cli.test_process import PROGRAM

FIELDS = keys(
    "schema seed nodes protocol messages delivery latency_seconds hops copies_per_delivery bytes_per_delivery "
    "control_bytes_per_delivery heal_seconds wall_seconds events "
    "delivery_within bridge_seconds heal_after_bridge_seconds event_seconds first_6s after_20s teasers "
    "refused_publications"
)
SMALL = ("simulate", "--count", "6", "--duration", "1s")


class SimulateTests(SynchronousTestCase):
    def setUp(self) -> None:
        clean(self)

    def command(self, *more: str, terminal: bool = False) -> Result:
        return run([*SMALL, *more], terminal=terminal)

    def test_json(self) -> None:
        """One object with the promised keys, and 0 when everything arrived."""
        done = self.command("--json", "--seed", "7", "--latency", "20ms", "--loss", "10%")
        self.assertEqual(done.code, 0, done.err)
        body = done.json()
        self.assertEqual(set(body), FIELDS)
        self.assertEqual(set(body["latency_seconds"]), keys("p50 p99 p999"))
        self.assertEqual(set(body["hops"]), keys("p50 p99 max"))
        self.assertEqual((body["seed"], body["nodes"], body["protocol"]), (7, 6, "positron"))
        self.assertEqual((body["messages"], body["delivery"], body["heal_seconds"]), (5, 1.0, None))

    def test_pipe(self) -> None:
        """A header and a row, nothing else, and nothing on a stderr that is no terminal."""
        done = self.command()
        header, row = done.lines
        fields = dict(zip(header.split("\t"), row.split("\t"), strict=True))
        self.assertEqual((fields["protocol"], fields["delivery"]), ("positron", "1.0"))
        self.assertEqual(done.err, "")

    def test_terminal(self) -> None:
        """A table, and a curve that ends at all of it."""
        done = self.command(terminal=True)
        self.assertIn("DELIVERY", done.lines[0])
        self.assertIn("100.000 %", done.lines[1])
        self.assertTrue(done.lines[-1].endswith("100.000 %"), done.lines[-1])

    def test_compare(self) -> None:
        """Each protocol has its row, positron the first."""
        body = self.command("--compare", "--json").json()
        self.assertEqual([one["protocol"] for one in body["runs"]], list(simulate.PROTOCOLS))
        for one in body["runs"]:
            self.assertEqual(set(one), FIELDS - {"schema"})

    def test_faults(self) -> None:
        """Each fault has its flag, in the promised form; a partition has a time to heal."""
        flags = ("--crash", "0.2@0.5s", "--partition", "2s@200ms", "--malicious", "20%:silent", "--churn")
        done = self.command("--json", "--count", "10", *flags)
        self.assertEqual(done.code, 0, done.err)
        body = done.json()
        self.assertGreater(body["heal_seconds"], 0)
        self.assertEqual((body["event_seconds"], body["first_6s"]["messages"]), (0.5, 2))
        self.assertEqual(set(body["first_6s"]), keys("messages delivery delivery_within latency_seconds"))
        self.assertEqual(body["after_20s"]["messages"], 0)

    def test_loss_is_failure(self) -> None:
        """A network that lost something ends with 1, and says what, and the seed that shows it again."""
        # Nobody is told anything any more, and nobody waits for it.
        from positron.simulation.network import PositronNetwork

        self.patch(PositronNetwork, "crash", lambda network, nodes: network.malicious(range(6), "silent"))
        self.patch(running, "QUIET", 2.0)
        done = self.command("--crash", "0.2@0s", "--seed", "9", "--json")
        self.assertEqual(done.code, 1)
        self.assertLess(done.json()["delivery"], 1)
        self.assertIn("seed 9", done.err)
        self.assertEqual(
            done.err.splitlines()[-1],
            "replay it with: positron simulate --nodes 6 --duration 1 --crash 0.2@0 --seed 9",
        )

    def test_trace(self) -> None:
        """The way of one message: its author and everybody else once, in a table or in the JSON."""
        trace = self.command("--trace", "2", "--json").json()["trace"]
        self.assertEqual({step["node"] for step in trace}, set(range(6)))
        self.assertEqual(set(trace[0]), keys("node from seconds hops by"))
        self.assertEqual((trace[0]["from"], trace[0]["by"]), (None, "published"))
        lines = self.command("--trace", "2").lines
        self.assertEqual(lines[2].split("\t"), ["node", "from", "seconds", "hops", "by"])
        self.assertEqual(lines[4].split("\t")[:2], [str(trace[1]["node"]), str(trace[1]["from"])])
        self.assertEqual(len(lines), 3 + 6)
        self.assertIn("published", "".join(self.command("--trace", "2", terminal=True).lines))

    def test_csv(self) -> None:
        """Every arrival has a row."""
        path = self.mktemp()
        self.command("--csv", path)
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual(len(rows), 5 * 5)
        self.assertEqual({row["message"] for row in rows}, {"0", "1", "2", "3", "4"})
        self.assertTrue(all(0 < float(row["latency_seconds"]) < 1 for row in rows))

    def test_plot_needs_its_extra(self) -> None:
        """Without matplotlib a picture is refused at once, with the way to get one."""
        self.patch(simulate, "find_spec", lambda _name: None)
        done = self.command("--plot", "out.png")
        self.assertEqual((done.code, done.out), (2, ""))
        self.assertIn("positron[plot]", done.err)

    def test_plot(self) -> None:
        """With matplotlib, the curve of each protocol is drawn and saved where asked for."""
        drawn: dict[str, object] = {}

        class Axes:
            def plot(self, times: list[float], shares: list[float], label: str) -> None:
                drawn[label] = (len(times), shares[-1])

            def __getattr__(self, name: str) -> object:
                return lambda *_arguments, **_more: None

        class Figure:
            def __init__(self, figsize: tuple[int, int]) -> None:
                pass

            def add_subplot(self) -> Axes:
                return Axes()

            def savefig(self, path: str) -> None:
                Path(path).write_bytes(b"a picture")

        class Module:
            pass

        module = Module()
        module.Figure = Figure  # type: ignore[attr-defined]
        for name, value in (("matplotlib", Module()), ("matplotlib.figure", module)):
            before = sys.modules.get(name)
            self.addCleanup(
                lambda name=name, before=before: (
                    sys.modules.pop(name) if before is None else sys.modules.__setitem__(name, before)
                )
            )
            sys.modules[name] = value  # type: ignore[assignment]
        self.patch(simulate, "find_spec", lambda name: ModuleSpec(name, None))
        path = self.mktemp()
        self.assertEqual(self.command("--plot", path).code, 0)
        self.assertEqual(Path(path).read_bytes(), b"a picture")
        self.assertEqual(drawn, {"positron": (25, 1.0)})

    def test_files_that_cannot_be(self) -> None:
        """A path that cannot be written is one sentence, not a traceback."""
        done = self.command("--csv", self.mktemp() + "/no/such/file")
        self.assertEqual(done.code, 2)
        self.assertIn("No such file", done.err)

    def test_nonsense_is_refused(self) -> None:
        """What makes no sense ends with 2 before anything is simulated."""
        for flags in (
            ("--loss", "2"),
            ("--latency", "fast"),
            ("--latency", "@"),
            ("--latency", "@no/such/file"),
            ("--bandwidth", "20lbs"),
            ("--bandwidth", "5bit"),
            ("--crash", "0.5"),
            ("--partition", "60s-30s"),
            ("--malicious", "0.3:rude"),
            ("--malicious", "0.6:silent", "--malicious", "0.4:teasing"),
            ("--partition", "5s@1s", "--partition", "5s@3s"),
            ("--nodes", "1"),
            ("--size", "3"),
            ("--protocol", "pigeon"),
            ("--protocol", "push", "--malicious", "0.3:forging"),
            ("--real", "--loss", "0.1"),
            ("--real", "--warm-up", "3s"),
            ("--real", "--compare"),
            ("--real", "--protocol", "push"),
            ("--real", "--nodes", "51"),
            ("--real", "--trace", "0"),
            ("--compare", "--trace", "0"),
            ("--protocol", "push", "--trace", "0"),
            ("--trace", "5"),
        ):
            done = self.command(*flags)
            self.assertEqual((done.code, done.out), (2, ""), flags)
            self.assertNotIn("Traceback", done.err)

    def test_real(self) -> None:
        """Real nodes give the same table and JSON, from a process of their own."""
        done = subprocess.run(
            [*PROGRAM, "simulate", "--real", "--nodes", "3", "--duration", "0.4s", "--rate", "10", "--json"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        body = json.loads(done.stdout)
        self.assertEqual(set(body), FIELDS)
        self.assertEqual((body["nodes"], body["messages"], body["delivery"]), (3, 4, 1.0))

    def test_names_agree(self) -> None:
        """The command's names, written out so that --help costs nothing, are those of the simulator."""
        from positron.simulation.compared import PROTOCOLS
        from positron.simulation.scenario import BEHAVIOURS

        self.assertEqual(scenarios.PROTOCOLS, PROTOCOLS)
        self.assertEqual(scenarios.BEHAVIOURS, BEHAVIOURS)

    def test_real_loss_is_failure(self) -> None:
        """Nodes whose publications go nowhere, in a process of their own: a table, a sentence, and not 0."""
        program = (
            "from twisted.internet.defer import succeed\n"
            "from positron.cli import main\n"
            "from positron.node import Node\n"
            "from positron.simulation import real\n"
            "real.QUIET = 0.5\n"
            "Node.publish = lambda node, topic, data: succeed(None)\n"
            "raise SystemExit(main(['simulate', '--real', '--nodes', '2', '--duration', '0.2s']))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("0 of 2 delivered", done.stderr)
        self.assertIn("positron simulate --real --nodes 2 --duration 0.2 --seed 1", done.stderr)
        self.assertEqual(len(done.stdout.splitlines()), 2)


class ReplayTests(SynchronousTestCase):
    def parsed(self, words: list[str]) -> Scenario:
        """The scenario that the command would run."""
        context = simulate.simulate_.make_context("simulate", words)
        names = [parameter.name for parameter in simulate.simulate_.params]
        own = [one.name for one in fields(Scenario) if one.init]
        self.assertLessEqual(set(own), set(names), "every field has its option")
        return scenarios.scenario_of({name: context.params[name] for name in own})

    def test_the_command_is_the_scenario(self) -> None:
        """What is printed gives the very scenario again: all of its values, faults by the dozen."""
        matrix = self.mktemp()
        Path(matrix).write_text("1 2\n3 4\n")
        for line in (
            "",
            "--seed 7 --nodes 12 --rate 0.1 --duration 70s --latency 12.5ms",
            "--crash 30%@4s --crash 0.05@6.25s --partition 3s@1s --churn --loss 0.07 --warm-up 3s",
            "--latency regional --bandwidth 20mbit --skew 250ms",
            f"--latency @{matrix} --bandwidth 12345.5",
            "--malicious 0.1:silent --malicious 0.2:teasing@1.5s --fanout 2 --sigma 0",
        ):
            scenario = self.parsed(line.split())
            command = shlex.split(scenarios.command_of(scenario))
            self.assertEqual(command[:2], ["positron", "simulate"])
            self.assertIn("--seed", command)
            self.assertEqual(self.parsed(command[2:]), scenario)

    def test_only_what_is_no_default(self) -> None:
        """It is short, and quoted where a shell needs it; flags that are no part of a scenario come first."""
        self.assertEqual(
            scenarios.command_of(self.parsed(["--nodes", "30", "--churn"]), "--real"),
            "positron simulate --real --nodes 30 --churn --seed 1",
        )
