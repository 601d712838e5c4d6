"""What it costs to find out which envelopes two nodes lack: whole exchanges, both ends, from first message to silence.

    python benchmarks/anti_entropy.py

For sets of 1,000, 10,000 and 65,536 ids in sync, as they are and right after both took in one more, and for
differences of 1, 10 and 100 ids scattered over the set's time and of 2,000 that lie next to each other, as after a
partition. CPU time is the best of several runs, of both ends together; bytes are those of the SYNC messages' ranges.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from positron.core.sync import Index, Session

WINDOW_MS = 86_400_000
CEILING = WINDOW_MS + 1
SIZES = (1_000, 10_000, 65_536)
SCATTERED = (1, 10, 100)
CONTIGUOUS = 2_000

Entry = tuple[int, bytes]


class Cost(NamedTuple):
    """Of one exchange: `lacked` is what both sides learned together."""

    seconds: float
    size: int
    messages: int
    lacked: int


def entries(rng: Random, count: int, start: int = 0, span: int = WINDOW_MS) -> list[Entry]:
    """So many entries at random times."""
    return [(start + rng.randrange(span), rng.randbytes(16)) for _ in range(count)]


def index_of(items: list[Entry]) -> Index:
    """An index of these."""
    index = Index()
    for created, id in sorted(items):
        index.add(created, id)
    return index


def exchange(left: Index, right: Index) -> Cost:
    """One whole exchange between two indexes."""
    begun = time.process_time()
    sides = [Session(left, CEILING), Session(right, CEILING)]
    message, turn = sides[0].start().message, 1
    size = messages = lacked = 0
    while message is not None:
        size += len(message)
        messages += 1
        answer = sides[turn].answer(message)
        lacked += len(answer.lack)
        message, turn = answer.message, 1 - turn
    return Cost(time.process_time() - begun, size, messages, lacked)


def best(runs: int, once: Callable[[], Cost]) -> Cost:
    """The cheapest of some runs."""
    return min(once() for _ in range(runs))


def after_an_insertion(rng: Random, left: Index, right: Index) -> Cost:
    """Both take in one more, as they do between any two exchanges."""
    (entry,) = entries(rng, 1, WINDOW_MS - 60_000, 60_000)
    for index in (left, right):
        index.add(*entry)
    cost = exchange(left, right)
    for index in (left, right):
        index.discard(*entry)
    return cost


def line(size: int, what: str, cost: Cost) -> None:
    """One row."""
    print(
        f"{size:>7,}  {what:<22} {cost.seconds * 1e3:8.3f} ms {cost.size:>8,} B "
        f"{cost.messages:>3} messages {cost.lacked:>6,} learned"
    )


def measure(size: int, runs: int) -> None:
    """All rows of one size."""
    rng = Random(size)
    common = entries(rng, size)
    left, right = index_of(common), index_of(common)
    line(size, "in sync", best(runs, lambda: exchange(left, right)))
    line(size, "in sync, one more", best(runs, lambda: after_an_insertion(rng, left, right)))
    for difference in (*SCATTERED, CONTIGUOUS):
        contiguous = difference == CONTIGUOUS
        start, span = (WINDOW_MS // 2, 60_000) if contiguous else (0, WINDOW_MS)
        if difference * 2 > size:
            continue
        more = entries(rng, difference, start, span)
        # A full index would drop its oldest: the common part makes room.
        rest = common[difference:]
        half = len(more) // 2
        left, right = index_of(rest + more[:half]), index_of(rest + more[half:])
        name = f"{difference:,} {'contiguous' if contiguous else 'scattered'}"
        line(size, name, best(max(runs // 4, 1), lambda left=left, right=right: exchange(left, right)))


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=40)
    options = parser.parse_args()
    for size in SIZES:
        measure(size, options.runs)


if __name__ == "__main__":
    main()
