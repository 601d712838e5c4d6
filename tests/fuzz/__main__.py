"""Lays sieges with new seeds for `POSITRON_FUZZ_MINUTES` (60), beginning with `POSITRON_FUZZ_SEED` (else the time).

Prints each failure with its seed and as few steps as show it, and each event that took long; ends with status 1 if
anything failed.
"""

from __future__ import annotations

import os
import sys
import time

from tests.fuzz.siege import Siege, play, shortest

STEPS = 400
LONG = 0.5
"""Seconds of CPU for one event that are worth a look."""


def besiege(seed: int) -> bool:
    """One siege, told of if it is worth telling; whether it was held out."""
    siege = Siege(seed)
    failure = play(siege, range(STEPS))
    if siege.victim.slowest[0] > LONG:
        print(f"seed {seed}: one {siege.victim.slowest[1]} took {siege.victim.slowest[0]:.2f} s", flush=True)
    if failure is not None:
        print(f"{failure}\nshortest: {shortest(failure)}", flush=True)
    return failure is None


def main() -> int:
    """As the module says."""
    until = time.monotonic() + 60 * float(os.environ.get("POSITRON_FUZZ_MINUTES", "60"))
    first = seed = int(os.environ.get("POSITRON_FUZZ_SEED", time.time()))
    failed = 0
    while time.monotonic() < until:
        failed += not besiege(seed)
        seed += 1
    print(f"{seed - first} sieges from seed {first}, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
