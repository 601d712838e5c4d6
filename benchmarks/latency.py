"""How long a lone message takes, and what an idle node costs: five and six real processes on loopback.

    python benchmarks/latency.py

Prints the time from `publish` on one node to the call of a subscriber on each of the four others (TLS on, signed,
verified, stored in SQLite, 256-byte payload, one message every 200 ms), and the share of one CPU and the memory that
a node with five idle peers takes. All processes of one computer share the monotonic clock that is read at both ends.
"""

from __future__ import annotations

import argparse
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.task import LoopingCall

from positron import Config, Node

PROCESSES = 5
EVERY = 0.2
PAYLOAD = 256
SETTLE_SECONDS = 5.0


def host_node(options: argparse.Namespace) -> None:
    """One of the processes: prints its address, then the delay of each message it hears, in seconds."""
    config = Config(port=0, host="127.0.0.1", data_dir=options.data_dir, bootstrap=options.bootstrap)
    node = Node(reactor, config)

    def say(text: object) -> None:
        print(text, flush=True)

    def publish() -> None:
        node.publish("bench", {"at": time.monotonic(), "padding": bytes(PAYLOAD)})

    def publish_all(_: object) -> None:
        looping = LoopingCall(publish)
        reactor.callLater(SETTLE_SECONDS, looping.start, EVERY)
        reactor.callLater(SETTLE_SECONDS + EVERY * (options.publish - 0.5), looping.stop)

    if options.publish:
        node.when_peers(PROCESSES - 1).addCallback(publish_all)
    else:
        node.subscribe("bench", lambda message: say(time.monotonic() - message.data["at"]))
    node.when_ready().addCallback(lambda _: say(node.address))
    node.startService()
    reactor.addSystemEventTrigger("before", "shutdown", node.stopService)
    reactor.run()


class Child:
    """A process with one node."""

    def __init__(self, root: Path, number: int, *arguments: str) -> None:
        command = [sys.executable, __file__, "--data-dir", str(root / str(number)), *arguments]
        environment = {**os.environ, "XDG_RUNTIME_DIR": str(root)}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
        self.buffer = b""

    def line(self, seconds: float = 30.0) -> str:
        """The next line it prints."""
        assert self.process.stdout is not None
        while b"\n" not in self.buffer:
            ready, _, _ = select.select([self.process.stdout], [], [], seconds)
            if not ready:
                raise SystemExit(f"a node said nothing for {seconds} s")
            chunk = os.read(self.process.stdout.fileno(), 65536)
            if not chunk:
                raise SystemExit(f"a node ended with {self.process.wait()}")
            self.buffer += chunk
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.decode()

    def cpu(self) -> float:
        """Its CPU seconds so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """Its resident memory, MiB."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def delivery(root: Path, children: list[Child], messages: int) -> list[float]:
    """Publish on a fifth node; how long each message took to each of the others, seconds, sorted."""
    children.append(Child(root, 0))
    address = children[0].line()
    for number in range(1, PROCESSES):
        more = ["--publish", str(messages)] if number == PROCESSES - 1 else []
        children.append(Child(root, number, "--bootstrap", address, *more))
        children[-1].line()
    listeners = children[:-1]
    return sorted(float(child.line()) for child in listeners for _ in range(messages))


def idle(root: Path, children: list[Child], seconds: float) -> tuple[float, float]:
    """A node with five peers and nothing to do: its share of one CPU, and its memory in MiB."""
    children.append(Child(root, 0))
    address = children[0].line()
    for number in range(1, 6):
        children.append(Child(root, number, "--bootstrap", address))
        children[-1].line()
    time.sleep(SETTLE_SECONDS)
    before = children[0].cpu()
    time.sleep(seconds)
    return (children[0].cpu() - before) / seconds, children[0].memory()


def main() -> None:
    """Measure, or be one of the processes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--messages", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long the idle node is watched")
    for option, kind in (("--data-dir", str), ("--publish", int)):
        parser.add_argument(option, type=kind, help=argparse.SUPPRESS)
    parser.add_argument("--bootstrap", action="append", default=[], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.data_dir:
        host_node(options)
        return
    for measure in (measure_delivery, measure_idle):
        children: list[Child] = []
        with tempfile.TemporaryDirectory(prefix="positron-") as root:
            try:
                measure(Path(root), children, options)
            finally:
                for child in children:
                    child.process.kill()
                    child.process.wait()


def measure_delivery(root: Path, children: list[Child], options: argparse.Namespace) -> None:
    """Print how long a lone message takes."""
    times = delivery(root, children, options.messages)
    p99 = times[min(len(times) - 1, int(len(times) * 0.99))]
    print(
        f"lone message, {PROCESSES} processes, {len(times)} deliveries: "
        f"median {statistics.median(times) * 1e3:.2f} ms, p99 {p99 * 1e3:.2f} ms, worst {times[-1] * 1e3:.2f} ms"
    )


def measure_idle(root: Path, children: list[Child], options: argparse.Namespace) -> None:
    """Print what an idle node costs."""
    share, memory = idle(root, children, options.seconds)
    print(f"node with five idle peers: {share:.2%} of one CPU over {options.seconds:.0f} s, {memory:.0f} MiB")


if __name__ == "__main__":
    main()
