"""positron and its rivals at the same work, one after the other, round by round, in one sitting.

    benchmarks/peers/setup.sh
    python benchmarks/peers/sitting.py --rounds 3 --nodes 2 5

Every node is a process of its own. One publishes payloads that carry their time and number, the others count. The work:
100 messages a second of 256 bytes, then 256 bytes and 4 KiB flat out (each publish awaited, one turn of the loop after
it). Where the system lets it, each run has a network of its own (`unshare -n`), so that the bytes on its loopback are
its own; else bytes are not counted. A rival that is not installed is named and left out. Figures are medians of the
rounds, the worst receiver's of each.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from queue import Empty, Queue
from typing import Any

HERE = Path(__file__).resolve().parent
INSTALLED = Path(os.environ.get("PEERS_DIR", HERE.parent.parent / "build" / "peers"))
PACED, PACED_COUNT = 100, 500
SMALL, LARGE = 256, 4096
QUIET = 4.0
"""Seconds without an arrival that end a phase."""
LIMIT = 60.0
"""Seconds that a phase may take at most."""
TICK = os.sysconf("SC_CLK_TCK")

PEERS = {
    # name: (command, signed by the program, messages flat out)
    "positron": ([sys.executable, str(HERE / "node_positron.py")], False, 50_000),
    "nats": ([str(INSTALLED / "misc/bin/python"), str(HERE / "node_nats.py")], False, 50_000),
    "nats+ed25519": ([str(INSTALLED / "misc/bin/python"), str(HERE / "node_nats.py")], True, 20_000),
    "twisted+ed25519": ([sys.executable, str(HERE / "node_twisted.py")], True, 20_000),
    "zenoh": ([str(INSTALLED / "misc/bin/python"), str(HERE / "node_zenoh.py")], False, 50_000),
    "js-libp2p": (
        [str(INSTALLED / "js/node_modules/.bin/node"), str(INSTALLED / "js/node_jslibp2p.mjs")],
        False,
        5_000,
    ),
    "py-libp2p": ([str(INSTALLED / "pylibp2p/bin/python"), str(HERE / "node_pylibp2p.py")], False, 1_000),
    "iroh": ([str(INSTALLED / "iroh/bin/python"), str(HERE / "node_iroh.py")], False, 5_000),
}
LARGEST = {"iroh": 4000}
"""iroh never returns from a broadcast of 4,050 bytes."""


class Node:
    """One process."""

    def __init__(self, peer: str, number: int, nodes: int, logs: Path) -> None:
        command, sign, _ = PEERS[peer]
        environment = dict(os.environ, PEERS_SIGN=str(int(sign)), PYTHONUNBUFFERED="1")
        with (logs / f"{peer}-{number}.log").open("w") as log:
            self.process = subprocess.Popen(
                [*command, str(number), str(nodes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
            )
        self.pids = [self.process.pid]
        self.answers: Queue[dict[str, Any]] = Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self) -> None:
        """Keep what it says."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.answers.put(json.loads(line))
        self.answers.put({"event": "ended"})

    def tell(self, ask: str, **more: Any) -> None:
        """Ask."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"ask": ask, **more}) + "\n")
        self.process.stdin.flush()

    def wait(self, event: str, seconds: float = 30.0) -> dict[str, Any]:
        """The next answer of that kind; the publisher's own are kept apart by whoever waits for them last."""
        held = []
        until = time.monotonic() + seconds
        try:
            while True:
                answer = self.answers.get(timeout=max(0.001, until - time.monotonic()))
                if answer["event"] == event:
                    return answer
                if answer["event"] == "ended":
                    raise RuntimeError(f"a node ended while {event!r} was waited for")
                held.append(answer)
        finally:
            for one in held:
                self.answers.put(one)

    def ask(self, ask: str, event: str = "", **more: Any) -> dict[str, Any]:
        """Ask, and wait."""
        self.tell(ask, **more)
        return self.wait(event or ask)

    def cpu(self) -> float:
        """CPU seconds of it and the processes it named."""
        total = 0
        for pid in self.pids:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICK

    def memory(self) -> float:
        """Resident MiB."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids)
        return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)

    def end(self) -> None:
        """Let it go."""
        try:
            self.tell("quit")
            self.process.wait(5)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()


def loopback_bytes() -> int:
    """What went over this network's loopback."""
    lines = Path("/proc/net/dev").read_text().splitlines()
    (line,) = [one for one in lines if one.strip().startswith("lo:")]
    return int(line.split(":")[1].split()[0])


class Run:
    """One peer with so many nodes."""

    def __init__(self, peer: str, count: int, logs: Path) -> None:
        self.nodes = [Node(peer, number, count, logs) for number in range(count)]
        self.number = 0
        self.version = ""

    def connect(self) -> None:
        """Link all to all."""
        ready = [node.wait("ready", 60) for node in self.nodes]
        self.version = ready[0]["version"]
        for node, said in zip(self.nodes, ready, strict=True):
            node.pids += said.get("pids", [])
        for number, node in enumerate(self.nodes[1:], 1):
            node.ask("connect", "connected", addresses=[said["address"] for said in ready[:number]])
        until = time.monotonic() + 30
        while min(node.ask("peers")["count"] for node in self.nodes) < len(self.nodes) - 1:
            if time.monotonic() > until:
                raise RuntimeError("they do not find each other")
            time.sleep(0.05)
        time.sleep(1)
        for _ in range(5):
            if self.phase(60, SMALL, 60)["delivered"] == 1:
                return

    def phase(self, count: int, size: int, rate: int) -> dict[str, Any]:
        """Publish so many; the figures."""
        self.number += 1
        author, *receivers = self.nodes
        before = [node.cpu() for node in self.nodes], loopback_bytes()
        author.tell("publish", run=self.number, count=count, size=size, rate=rate)
        after = self.watch(receivers, count * len(receivers)) or before
        published = self.published(author)
        reports = [node.ask("report", run=self.number) for node in receivers]
        arrived = sum(report["count"] for report in reports)
        cpu = [end - start for start, end in zip(before[0], after[0], strict=True)]
        figures: dict[str, Any] = {
            "count": count,
            "size": size,
            "rate": rate,
            "delivered": arrived / (count * len(receivers)),
            "errors": published,
            "cpu": cpu,
        }
        if arrived:
            figures |= {
                "per_second": min(
                    report["count"] / max(1e-6, report.get("seconds", 1)) for report in reports
                ),
                "cpu_per_1000": sum(cpu) / arrived * 1000,
                "wire": (after[1] - before[1]) / (arrived * size),
                "p50": max(report.get("p50", 0) for report in reports),
                "p99": max(report.get("p99", 0) for report in reports),
            }
        return figures

    def watch(self, receivers: list[Node], owed: int) -> tuple[list[float], int] | None:
        """Wait until all arrived or nothing comes any more; the costs when the last was seen to arrive."""
        best, costs = 0, None
        begun = since = time.monotonic()
        while best < owed and time.monotonic() - since < QUIET and time.monotonic() - begun < LIMIT:
            time.sleep(0.1)
            arrived = sum(node.ask("count", run=self.number)["count"] for node in receivers)
            if arrived > best:
                best, since = arrived, time.monotonic()
                costs = [node.cpu() for node in self.nodes], loopback_bytes()
        return costs

    def published(self, author: Node) -> str:
        """What the author says went wrong."""
        try:
            said = author.wait("published", 5)
        except Empty:
            return "publish did not end"
        return f"{said['errors']}: {said['error']}" if said["errors"] else ""


def measure(peer: str, nodes: int, logs: Path, scale: float) -> dict[str, Any]:
    """All phases of one peer."""
    flat = max(200, int(PEERS[peer][2] * scale))
    run = Run(peer, nodes, logs)
    try:
        run.connect()
        phases = {
            "paced": run.phase(max(50, int(PACED_COUNT * min(1.0, scale))), SMALL, PACED),
            "small": run.phase(flat, SMALL, 0),
            "large": run.phase(max(100, flat * 2 // 5), LARGEST.get(peer, LARGE), 0),
        }
        memory = max(node.memory() for node in run.nodes)
        return {"version": run.version, "memory": memory, **phases}
    finally:
        for node in run.nodes:
            node.end()


def isolated(arguments: list[str]) -> int | None:
    """Run this program in a network of its own; None if the system does not let it."""
    inner = [
        "sh",
        "-c",
        'ip link set lo up && exec "$0" "$@"',
        sys.executable,
        str(HERE / "sitting.py"),
        *arguments,
    ]
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return None
    for outer in (["unshare", "-n"], ["unshare", "-r", "-n"]):
        if subprocess.call([*outer, "true"], stderr=subprocess.DEVNULL) == 0:
            return subprocess.call([*outer, *inner], env=dict(os.environ, PEERS_ALONE="1"))
    return None


def play(peer: str, nodes: int, logs: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One run of one peer, in a process of its own."""
    result = logs / "run.json"
    result.unlink(missing_ok=True)
    arguments = ["--run", peer, "--nodes", str(nodes), "--scale", str(options.scale), "--logs", str(logs)]
    if isolated(arguments) is None:
        subprocess.call([sys.executable, str(HERE / "sitting.py"), *arguments])
    if not result.exists():
        return {"failed": True}
    found: dict[str, Any] = json.loads(result.read_text())
    return found


def middle(runs: list[dict[str, Any]], phase: str, figure: str) -> float | None:
    """The median of a figure over the runs that have it; None if none has, or if the bytes were not only its own."""
    if figure == "wire" and any(not run.get("alone") for run in runs):
        return None
    values = [run[phase][figure] for run in runs if figure in run.get(phase, {})]
    return statistics.median(values) if values else None


def shown(value: float | None, form: str) -> str:
    """A figure, or a dash."""
    return "-" if value is None else form.format(value)


def table(nodes: int, found: dict[str, list[dict[str, Any]]]) -> None:
    """What all of them did, a row each."""
    print(f"\n{nodes} nodes{'256 bytes flat out':^34} |{'4 KiB flat out':^27} |{'256 bytes, 100/s':^32} |")
    print(
        f"{'':<14}{'per second':>10}{'deliv.':>8}{'CPU/1000':>10}{'wire':>6} |"
        f"{'per sec.':>9}{'deliv.':>8}{'CPU/1000':>10}"
        f" |{'p50 ms':>8}{'p99 ms':>8}{'CPU/1000':>10}{'wire':>6} |{'MiB':>5}"
    )
    for peer, runs in found.items():
        good = [run for run in runs if "failed" not in run]
        if not good:
            print(f"{peer:<14}failed, see its logs")
            continue
        cells = [f"{peer:<14}"]
        for phase in ("small", "large"):
            cells += [
                shown(middle(good, phase, "per_second"), "{:>10,.0f}" if phase == "small" else "{:>9,.0f}"),
                f"{min(run[phase]['delivered'] for run in good):>8.1%}",
                shown(middle(good, phase, "cpu_per_1000"), "{:>10.4f}"),
            ]
            cells.append(shown(middle(good, phase, "wire"), "{:>6.2f}") + " |" if phase == "small" else " |")
        for figure, form, factor in (
            ("p50", "{:>8.2f}", 1e3),
            ("p99", "{:>8.2f}", 1e3),
            ("cpu_per_1000", "{:>10.3f}", 1),
        ):
            value = middle(good, "paced", figure)
            cells.append(shown(None if value is None else value * factor, form))
        cells.append(shown(middle(good, "paced", "wire"), "{:>6.2f}") + " |")
        cells.append(f"{statistics.median(run['memory'] for run in good):>5.0f}")
        print("".join(cells))


GOALS = (
    # what, phase, figure, rival, whether more is better, goal (of positron / rival), nodes
    ("messages/s, 256 B, of nats", "small", "per_second", "nats", True, 1.0, (5,)),
    ("messages/s, 256 B, of js-libp2p", "small", "per_second", "js-libp2p", True, 20.0, (5,)),
    ("CPU per delivery, 256 B, of nats", "small", "cpu_per_1000", "nats", False, 1.0, (5,)),
    ("messages/s, 4 KiB, of js-libp2p", "large", "per_second", "js-libp2p", True, 10.0, (5,)),
    ("CPU per delivery, 100/s, of js-libp2p", "paced", "cpu_per_1000", "js-libp2p", False, 0.5, (2, 5)),
    ("CPU per delivery, 100/s, of nats+ed25519", "paced", "cpu_per_1000", "nats+ed25519", False, 1.0, (2, 5)),
    ("p50 at 100/s, ms", "paced", "p50", "", False, 0.001, (2,)),
    ("p50 at 100/s, ms", "paced", "p50", "", False, 0.002, (5,)),
    ("wire bytes per payload byte, 100/s", "paced", "wire", "", False, 2.2, (2,)),
    ("wire bytes per payload byte, flat out", "small", "wire", "", False, 1.3, (2,)),
)


def verdicts(found: dict[int, dict[str, list[dict[str, Any]]]]) -> None:
    """Each goal: what it is and what was reached."""
    print("\npositron against its goals")
    for what, phase, figure, rival, more, goal, counts in GOALS:
        for nodes in counts:
            runs = found.get(nodes, {})
            own = middle([run for run in runs.get("positron", []) if "failed" not in run], phase, figure)
            base = (
                middle([run for run in runs.get(rival, []) if "failed" not in run], phase, figure)
                if rival
                else 1.0
            )
            if own is None or not base:
                print(f"  {nodes} nodes  {what:<44} not measured")
                continue
            reached = own / base
            factor = 1000 if figure == "p50" else 1
            met = reached >= goal if more else reached <= goal
            sign = ">=" if more else "<="
            print(
                f"  {nodes} nodes  {what:<44} {reached * factor:>8.3g}  goal {sign} {goal * factor:g}"
                f"  {'met' if met else 'MISSED'}"
            )


def missing(peer: str) -> bool:
    """Whether a peer is not installed."""
    command = PEERS[peer][0]
    server = shutil.which("nats-server", path=os.defpath + ":/usr/sbin:/usr/local/bin")
    return not Path(command[0]).exists() or (peer.startswith("nats") and server is None)


def main() -> None:
    """A sitting, or one of its runs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--nodes", nargs="+", type=int, default=[2, 5])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of messages")
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--logs", type=Path, default=INSTALLED / "logs", help="where nodes say what is wrong")
    options = parser.parse_args()
    options.logs.mkdir(parents=True, exist_ok=True)
    if options.run:
        found = measure(options.run, options.nodes[0], options.logs, options.scale)
        found["alone"] = os.environ.get("PEERS_ALONE") == "1"
        (options.logs / "run.json").write_text(json.dumps(found))
        return
    script = HERE / "js" / "node_jslibp2p.mjs"
    if (INSTALLED / "js").exists():
        shutil.copy(script, INSTALLED / "js")  # node looks for packages beside the script
    peers = [peer for peer in options.peers if not missing(peer)]
    for peer in set(options.peers) - set(peers):
        print(f"{peer} is not installed here (benchmarks/peers/setup.sh)", flush=True)
    results: dict[int, dict[str, list[dict[str, Any]]]] = {}
    for number in range(options.rounds):
        for nodes in options.nodes:
            for peer in peers:
                run = play(peer, nodes, options.logs, options)
                results.setdefault(nodes, {}).setdefault(peer, []).append(run)
                small = run.get("small", {})
                said = (
                    f"{small['per_second']:,.0f}/s, {small['delivered']:.1%}"
                    if "per_second" in small
                    else "failed"
                )
                print(f"round {number + 1}, {nodes} nodes, {peer}: {said}", file=sys.stderr, flush=True)
    for nodes, found in results.items():
        table(nodes, found)
    verdicts(results)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
