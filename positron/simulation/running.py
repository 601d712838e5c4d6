"""One scenario, played: the messages, the faults at their times, and the checker at the end.

Rule: who publishes, who crashes, who lies and who is on which side of a cut follows from the seed alone, so every
protocol of a comparison meets the same.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from random import Random

from attrs import frozen

from positron.simulation.compared import OWN, build
from positron.simulation.faults import Teased
from positron.simulation.measure import Measurement, Outage, measure
from positron.simulation.network import FORMATION, Delivery, Network, Published, Traffic
from positron.simulation.scenario import DOWN, QUIET, SESSION, Scenario
from positron.simulation.tracing import Step

Progress = Callable[[float], None]
"""Told the share of a run that is played, 0 to 1, in virtual time."""

MAX_FAULTS = 20
"""Sentences of the checker that are kept."""

SETTLED = 10.0
"""Seconds that a run without faults goes on once everything has arrived: two exchanges of sets, in which what comes
twice would come."""

SPENT_UNTIL = 2.0
"""Seconds after the last arrival in which what is sent still counts: digests tell of it within a second."""


@frozen(kw_only=True)
class Outcome:
    """What came of a run. `faults` are the checker's sentences; `wall_seconds` is real time, all else is virtual.

    `events` is how many events were handled, the forming of the network included; None if nobody counted. `refused` is
    how many messages their authors would not publish.
    """

    scenario: Scenario
    measurement: Measurement
    faults: list[str]
    events: int | None
    wall_seconds: float
    refused: int = 0
    teased: Teased | None = None
    trace: list[Step] | None = None

    @property
    def is_clean(self) -> bool:
        """Everything owed arrived, and the checker is content."""
        return not self.faults and self.measurement.arrived == self.measurement.owed


class _Run:
    """The script of a run: what is done to the network, and when (seconds after the first message)."""

    def __init__(self, scenario: Scenario, network: Network) -> None:
        self.scenario = scenario
        self.network = network
        self.rng = Random(scenario.seed)
        self.start = network.now + scenario.warm_up
        self.first = 0
        self.said = 0
        self.spent = Traffic(0, 0, 0)
        self.bills: list[tuple[float, Traffic]] = []
        self.refused = 0
        self.outages: dict[int, list[Outage]] = {}
        self.healed: float | None = None
        self.liars = scenario.cast(self.rng)
        self.honest = sorted(set(range(scenario.nodes)) - {node for some in self.liars for node in some})
        self.down: set[int] = set()
        self.script: list[tuple[float, int, Callable[[], None]]] = []
        self._write()
        self.script.sort(key=lambda item: item[:2])

    @property
    def length(self) -> float:
        """Seconds from the first message to the end."""
        return self.script[-1][0] + QUIET

    def _at(self, when: float, call: Callable[[], None]) -> None:
        self.script.append((when, len(self.script), call))

    def _write(self) -> None:
        scenario = self.scenario
        for malicious, liars in zip(scenario.malicious, self.liars, strict=True):
            behaviour, when = malicious.behaviour, malicious.at
            if malicious.is_from_birth:
                continue
            if behaviour == "turning":
                behaviour, when = "silent", scenario.duration / 2 if when is None else when
            self._at(
                -scenario.warm_up if when is None else when, partial(self.network.malicious, liars, behaviour)
            )
        for crash in scenario.crash:
            self._at(crash.at, partial(self._crash, crash.share))
        for partition in scenario.partition:
            self._at(partition.at, self._cut)
            self._at(partition.at + partition.length, self._heal)
        if scenario.churn:
            self._churn()
        self._at(0.0, self._begin)
        for message in range(-scenario.warm_up_messages, scenario.messages):
            self._at(message / scenario.rate, self._publish)

    def _begin(self) -> None:
        """The warm-up is over: what was said and spent so far counts no more."""
        log = self.network.log()
        self.first, self.spent, self.refused = len(log.published), log.traffic, log.refused
        self.bills.clear()

    def _churn(self) -> None:
        for node in self.honest:
            gone = self.rng.expovariate(1 / SESSION)
            while gone < self.scenario.duration:
                self._at(gone, partial(self._leave, node))
                self._at(gone + DOWN, partial(self._return, node))
                gone += DOWN + self.rng.expovariate(1 / SESSION)

    def _publish(self) -> None:
        author = self.rng.choice(self.honest)
        while author in self.down:
            author = self.rng.choice(self.honest)
        if self.network.publish(author, self.scenario.size) is not None:
            self.said += 1

    def _crash(self, share: float) -> None:
        living = [node for node in self.honest if node not in self.down]
        dead = self.rng.sample(living, min(round(len(self.honest) * share), len(living) - 1))
        self.network.crash(sorted(dead))
        gone = set(dead)
        self.honest = [node for node in self.honest if node not in gone]

    def _leave(self, node: int) -> None:
        if node in set(self.honest) and len(self.down) < len(self.honest) - 1:
            self.down.add(node)
            self.network.crash([node])
            self.outages.setdefault(node, []).append((self.network.now, self.network.now + DOWN))

    def _return(self, node: int) -> None:
        if node in self.down:
            self.down.discard(node)
            self.network.restart([node])

    def _cut(self) -> None:
        everybody = list(range(self.scenario.nodes))
        self.rng.shuffle(everybody)
        half = len(everybody) // 2
        self.network.partition([sorted(everybody[:half]), sorted(everybody[half:])])

    def _heal(self) -> None:
        self.network.heal()
        self.healed = self.network.now

    def play(self, progress: Progress) -> None:
        """Do all of it, and wait until it is quiet."""
        end = self.start + self.length
        for when, _, call in self.script:
            while (left := self.start + when - self.network.now) > 0:
                self._play(left, progress)
            call()
        settled = False
        while (left := end - self.network.now) > 0:
            self._play(left, progress)
            if not settled and self._is_complete():
                settled, end = True, min(end, self.network.now + SETTLED)
        progress(1.0)

    def _play(self, left: float, progress: Progress) -> None:
        """Play a second, or what is left."""
        self.network.run(min(left, 1.0))
        self.bills.append((self.network.now, self.network.spent()))
        warm = self.scenario.warm_up
        progress((self.network.now - self.start + warm) / (self.length + warm))

    def _is_complete(self) -> bool:
        """Whether everybody has everything, where nothing goes wrong: else only the end of the run can tell."""
        return self.scenario.is_faultless and self.network.arrived() == self.said * (self.scenario.nodes - 1)

    def bill(self, published: Sequence[Published], deliveries: Sequence[Delivery]) -> Traffic:
        """What was sent for these messages: from the first on, until two seconds after the last arrival of any."""
        times = [one.time for one in published[self.first :]]
        times += [one.time for one in deliveries if one.message >= self.first]
        end = max(times, default=0.0) + SPENT_UNTIL
        spent = next((traffic for time, traffic in self.bills if time >= end), self.bills[-1][1])
        return Traffic(*(after - before for after, before in zip(spent, self.spent, strict=True)))


def simulate(
    scenario: Scenario, progress: Progress = lambda _share: None, trace: int | None = None
) -> Outcome:
    """Play a scenario to its end. The same scenario gives the same outcome, but for `wall_seconds`.

    `trace` is the number of a message to follow, from 0 on without those of the warm-up; ValueError if there is none.
    """
    if trace is not None and (scenario.protocol != OWN or not 0 <= trace < scenario.messages):
        raise ValueError(f"only messages 0 to {scenario.messages - 1} of {OWN} can be traced")
    with _no_collections():
        return _simulated(scenario, progress, trace)


@contextmanager
def _no_collections() -> Iterator[None]:
    """Python's cycle collector rests: it would go through millions of objects again and again and find nothing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _simulated(scenario: Scenario, progress: Progress, trace: int | None) -> Outcome:
    began = time.perf_counter()
    forming = FORMATION / (FORMATION + scenario.warm_up + scenario.duration + QUIET)
    followed = None if trace is None else trace + scenario.warm_up_messages
    network = build(scenario, lambda seconds: progress(seconds / FORMATION * forming), followed)
    run = _Run(scenario, network)
    run.play(lambda share: progress(forming + share * (1 - forming)))
    return _outcome(run, network, began)


def _outcome(run: _Run, network: Network, began: float) -> Outcome:
    log = network.log()
    owing: Collection[int] = set(run.honest)
    event = run.scenario.event
    measurement = measure(
        log.published[run.first :],
        [one._replace(message=one.message - run.first) for one in log.deliveries if one.message >= run.first],
        run.bill(log.published, log.deliveries),
        owing=owing,
        outages=run.outages,
        healed=run.healed,
        bridged=log.bridged,
        event=None if event is None else run.start + event,
    )
    faults = network.faults(sorted(owing))
    if len(faults) > MAX_FAULTS:
        faults = [*faults[: MAX_FAULTS - 1], faults[-1]]
    return Outcome(
        scenario=run.scenario,
        measurement=measurement,
        faults=faults,
        events=log.events,
        wall_seconds=time.perf_counter() - began,
        refused=log.refused - run.refused,
        teased=network.teased(sorted(owing)),
        trace=network.trace(),
    )
