"""Many runs at once: over the cores of this machine, or over machines through a dask scheduler.

Rule: whatever order the runs end in, their rows come in the order in which they were asked for, and one that raises
takes no other with it.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any

from attrs import frozen

from positron.simulation.report import as_json
from positron.simulation.running import simulate
from positron.simulation.scenario import Scenario


@frozen
class Row:
    """What came of one run: its figures as JSON (None if it raised), the checker's sentences or what it raised, and
    whether it was clean (of a rival's run nothing is asked)."""

    scenario: Scenario
    report: dict[str, Any] | None
    faults: list[str]
    is_clean: bool


def play(scenario: Scenario) -> Row:
    """One run, in whatever process: only its row goes back, not its samples."""
    outcome = simulate(scenario)
    is_rival = scenario.protocol != "positron"
    return Row(scenario, as_json(outcome), outcome.faults, is_rival or outcome.is_clean)


@contextmanager
def cores(count: int) -> Iterator[Executor]:
    """An executor of as many processes as this machine has cores, at most `count`. They end when this one is killed."""
    spawn = multiprocessing.get_context("spawn")
    workers = min(count, os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_end_with_parent) as executor:
        yield executor


def _end_with_parent() -> None:
    """Nobody hears of a run whose asker is gone, so it is not played to its end."""
    threading.Thread(target=_outlive_nobody, daemon=True).start()


def _outlive_nobody() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextmanager
def cluster(scheduler: str) -> Iterator[Executor]:
    """An executor of the workers of a dask scheduler at `scheduler` (tcp://HOST:PORT). They need positron installed.

    ImportError without `distributed`; OSError if nobody is there.
    """
    from distributed import Client

    with Client(scheduler) as client, client.get_executor(pure=False) as executor:
        yield executor


def sweep(
    scenarios: Sequence[Scenario],
    executor: Executor,
    progress: Callable[[int], None] = lambda _done: None,
) -> Iterator[Row]:
    """The rows of these runs, in their order, each as soon as it and all before it are there.

    `progress` is told how many runs have ended.
    """
    futures: list[Future[Row]] = [executor.submit(play, scenario) for scenario in scenarios]
    shown = 0
    try:
        for done, _ in enumerate(as_completed(futures), 1):
            progress(done)
            while shown < len(futures) and futures[shown].done():
                yield _row(scenarios[shown], futures[shown])
                shown += 1
    finally:
        for future in futures[shown:]:
            future.cancel()


def _row(scenario: Scenario, future: Future[Row]) -> Row:
    error = future.exception()
    if error is None:
        return future.result()
    return Row(scenario, None, [f"it raised {type(error).__name__}: {error}"], False)
