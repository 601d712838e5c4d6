"""Where the CPU time of an author and of a receiver goes while messages are published flat out.

    python benchmarks/where.py --nodes 5 --messages 50000

Every worker of `positron bench local` looks at itself each 2 ms of its CPU time, and charges what the reactor's thread
spent since to the innermost call that has a name below. Shares are of all CPU time of the process; its other threads
(the store's) are one row. Prints a list-table.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import FrameType

from positron.bench import local
from positron.bench.processes import Processes, start

EVERY = 0.002
PLACES = (
    # (part of a file's path, of a function's name, what it is)
    ("nacl/", "open", "verifying signatures (libsodium)"),
    ("nacl/", "", "signing (libsodium)"),
    ("positron/bench/", "", "the program itself: payloads, counting"),
    ("positron/core/envelope.py", "", "envelopes: seal, parse, hash, pack, unpack"),
    ("positron/core/", "", "the core: acceptance, order, relaying, bundling"),
    ("positron/services/payload.py", "", "payloads: msgpack of the application's values"),
    ("positron/services/", "", "services: subscriptions, receipts, links"),
    ("positron/node/", "", "the loop between core and services"),
    ("positron/store/", "", "the store, in the reactor's thread"),
    ("positron/transport/", "", "frames and send queues"),
    ("OpenSSL/", "", "TLS"),
    ("twisted/protocols/tls.py", "", "TLS"),
    ("twisted/internet/tcp.py", "", "sockets"),
    ("twisted/internet/abstract.py", "", "sockets"),
    ("twisted/internet/defer.py", "", "Deferreds"),
    ("twisted/python/threadpool.py", "", "the store, in the reactor's thread"),
    ("twisted/internet/", "", "the reactor: turns, timers, polling"),
    ("twisted/python/", "", "the reactor: turns, timers, polling"),
)
THREADS = "other threads: SQLite"
ELSEWHERE = "all else"


class Sampler:
    """Charges the CPU time of this process's main thread to places."""

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()
        self._last = time.thread_time()
        self._begun = time.process_time(), self._last

    def begin(self) -> None:
        """Look, from now on."""
        signal.signal(signal.SIGPROF, self._look)
        signal.setitimer(signal.ITIMER_PROF, EVERY, EVERY)

    def end(self) -> dict[str, float]:
        """Look no more; seconds by place."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        process, thread = time.process_time() - self._begun[0], time.thread_time() - self._begun[1]
        self.spent[THREADS] += max(0.0, process - thread)
        return dict(self.spent)

    def _look(self, _number: int, frame: FrameType | None) -> None:
        now = time.thread_time()
        self.spent[place(frame)] += now - self._last
        self._last = now


def place(frame: FrameType | None) -> str:
    """What the innermost frame that is known belongs to."""
    while frame is not None:
        file, function = frame.f_code.co_filename, frame.f_code.co_name
        for part, name, what in PLACES:
            if part in file and name in function:
                return what
        frame = frame.f_back
    return ELSEWHERE


def be_worker(config: str) -> None:
    """A worker that looks at itself, and leaves what it saw in its folder."""
    from positron.bench import worker

    folder = json.loads(config)["data_dir"]
    sampler = Sampler()

    class Sampled(worker.Worker):
        """Looks from the first measured run on."""

        async def expect(self, run: int, total: int, slow: float = 0.0) -> dict[str, object]:
            if run:
                sampler.begin()
            return await super().expect(run, total, slow)

        async def report(self, run: int) -> dict[str, object]:
            found = await super().report(run)
            if run:
                await self.spent()
                Path(f"{folder}.json").write_text(json.dumps(sampler.end()))
            return found

    worker.serve(worker.reactor, Sampled(worker.Config(**json.loads(config))))


def measure(plan: local.Plan, root: Path) -> list[dict[str, float]]:
    """Seconds by place, for each node of a run."""
    nodes: Processes = start(root, plan.nodes, plan.nodes - 1, (__file__, "--worker"))
    with nodes:
        warm = local.Plan(nodes=plan.nodes, messages=50, rate=50)
        local.Run(warm, nodes, 0).play(lambda _share: None)
        run = local.Run(plan, nodes, 1)
        run.play(lambda _share: None)
        run.report()
    return [json.loads((root / f"{index}.json").read_text()) for index in range(plan.nodes)]


def main() -> None:
    """Measure and print, or be a worker."""
    if sys.argv[1:2] == ["--worker"]:
        be_worker(sys.argv[2])
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--nodes", type=int, default=5)
    parser.add_argument("--messages", type=int, default=50_000)
    parser.add_argument("--size", type=int, default=256)
    options = parser.parse_args()
    plan = local.Plan(nodes=options.nodes, messages=options.messages, size=options.size)
    with tempfile.TemporaryDirectory(prefix="positron-where-") as root:
        author, *receivers = measure(plan, Path(root))
    receiver: Counter[str] = Counter()
    for one in receivers:
        receiver.update(one)
    print(table(author, {what: spent / len(receivers) for what, spent in receiver.items()}, plan.messages))


def table(author: dict[str, float], receiver: dict[str, float], messages: int) -> str:
    """Rows, the dearest first."""
    lines = [".. list-table::", "   :header-rows: 1", "", "   * - what", "     - author", "     - receiver"]
    for what in sorted({*author, *receiver}, key=lambda one: -author.get(one, 0.0) - receiver.get(one, 0.0)):
        cells = [side.get(what, 0.0) / sum(side.values()) for side in (author, receiver)]
        if max(cells) >= 0.005:
            lines += [f"   * - {what}", *(f"     - {cell:.0%}" for cell in cells)]
    lines += ["   * - CPU time for a message"]
    lines += [f"     - {sum(side.values()) / messages * 1e6:.1f} µs" for side in (author, receiver)]
    return "\n".join(lines) + os.linesep


if __name__ == "__main__":
    main()
