"""One siege: a node, an honest neighbour, hostile ones, and a source of chance that does everything to them.

A siege is a list of step numbers; each step draws from its own number and the seed. So a list from which steps were cut
is a siege as well, and a failure is made short by cutting (`shortest`).
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from attrs import define, evolve

from positron.core import events
from positron.core.envelope import network_id_of
from positron.core.identity import Signer
from positron.core.identity import verify as verify_really
from positron.simulation.cheap import CheapSigner, cheap_verify
from positron.simulation.world import EPOCH_WALL, World, real_identity
from tests.fuzz.checked import Breach, Checked
from tests.fuzz.hostile import CAMPAIGNS, Hostile

REAL = 2
"""The first two nodes have real keys: what is sealed to them can be opened."""

REST_SECONDS = 60.0
"""After the last step: what was published by then is delivered at the end of it."""

YEAR = 365 * 86400.0


@define
class Failure:
    """What went wrong, in which siege, at the last of these steps (the rest is over if it is not among them)."""

    seed: int
    steps: list[int]
    what: str

    def __str__(self) -> str:
        return f"seed {self.seed}, steps {self.steps}: {self.what}"


def identity(number: int) -> Signer:
    """A real key for who is honest, one that costs nothing for who is not."""
    return real_identity(number) if number <= REAL else CheapSigner(number)


class Clockwork(World):
    """A world whose time may leap: what was due in between is late, as on a machine that was asleep."""

    _now = 0.0

    @property
    def now(self) -> float:
        """Seconds; never goes back."""
        return self._now

    @now.setter
    def now(self, value: float) -> None:
        self._now = max(self._now, value)


class Siege:
    """`campaigns` are those of this siege: few, so that one goes far.

    `wild`: the wall clock leaps, the node restarts, the operator errs; then nothing is owed to the neighbour.
    """

    def __init__(self, seed: int) -> None:
        rng = Random(f"siege {seed}")
        self.seed = seed
        self.wild = rng.random() < 0.4
        self.campaigns = rng.sample(CAMPAIGNS, rng.choice((1, 2, 4, len(CAMPAIGNS))))
        self.said: dict[bytes, list[tuple[float, bytes]]] = {}
        self.world = Clockwork(seed, identity=identity, verify=self.verify)
        self.real = {identity(number + 1).node_id for number in range(REAL)}
        parameters = self.parameters(rng)
        self.world.node_kind = Checked
        self.victim: Any = self.world.node(bootstrap=("10.0.2.1:8888",), **parameters)
        self.neighbour: Any = self.world.node(bootstrap=(self.victim.address,), max_peers=20)
        self.world.node_kind = Hostile
        self.hostile: list[Any] = [self.world.node(start=False) for _ in range(rng.choice((2, 4, 6)))]
        for each in self.hostile:
            each.meet(self.victim, network_id_of("positron"), Random(f"{seed} {each.number}"))
            each.start()
        self.world.run(3)

    def parameters(self, rng: Random) -> dict[str, Any]:
        """Those of the besieged."""
        values: dict[str, Any] = {
            "profile": rng.choice(("lan", "lan", "wan")),
            "max_peers": 12,
            "retention": rng.choice((86_400.0, 3600.0, 60.0)),
            "quota": rng.choice((100 * 2**20, 10 * 2**20)),
        }
        if self.wild:
            values["max_peers"] = rng.choice((2, 3, 4, 12))
            values["quota"] = rng.choice((2**20, 2**23))
            if rng.random() < 0.5:
                values["advertise"] = ()
            if rng.random() < 0.2:
                values["members"] = frozenset(identity(number).node_id for number in range(1, 6))
        return values

    def verify(self, node_id: bytes, message: bytes, signature: bytes) -> bool:
        """Judge both kinds of signatures."""
        if node_id in self.real:
            return verify_really(node_id, message, signature)
        return cheap_verify(node_id, message, signature)

    # ------------------------------------------------------------------------------------------------- steps

    def step(self, number: int) -> None:
        """The step of that number: something happens, and time goes by."""
        self.rng = Random(f"{self.seed} {number}")
        doer = self.rng.choice(self.hostile)
        doer.rng.seed(f"{self.seed} {number} {doer.number}")
        kind = self.rng.random()
        if kind < 0.6:
            self.attack(doer)
        elif kind < 0.75:
            self.publish()
        elif kind < 0.9:
            self.happen()
        else:
            self.wild_thing() if self.wild else self.publish()
        self.world.run(self.rng.choice((0, 0, 0, 0.001, 0.02, 0.3, 0.3, 1.0, 2.5, 6.0)))
        if self.rng.random() < 0.02:
            self.world.run(self.rng.choice((20.0, 70.0, 300.0)))

    def attack(self, doer: Hostile) -> None:
        """A campaign, or a new link for one."""
        if not doer.channels or self.rng.random() < 0.03:
            if self.victim.swarm.trust.banned_until(doer.node_id, self.wall) or self.rng.random() < 0.1:
                doer.rename()
            self.dial(doer)
            self.world.run(0.2)
        getattr(doer, self.rng.choice(self.campaigns) if self.rng.random() < 0.5 else "chatter")()

    @property
    def wall(self) -> float:
        """The true time."""
        return self.world.now + EPOCH_WALL

    def dial(self, doer: Hostile) -> None:
        """A channel, from there to here."""
        self.world.dial(doer, events.Dial(self.victim.address))

    def publish(self) -> None:
        """One of the two who are honest says something."""
        node = self.rng.choice((self.victim, self.neighbour))
        said = self.said.setdefault(node.node_id, [])
        for _ in range(self.rng.choice((1, 1, 3, 30))):
            payload = b"%d of %d" % (len(said), node.number)
            payload += bytes(self.rng.choice((0, 0, 0, 9000)))
            node.publish("t", payload)
            said.append((self.world.now, payload))

    def happen(self) -> None:
        """What befalls a node from below and from its operator, who is no fool here."""
        rng, victim, peer = self.rng, self.victim, self.rng.choice(self.hostile)
        number = next((channel.other.number for channel in peer.channels.values() if channel.other), 0)
        token = self.world.token()
        choices: list[events.Event] = [
            events.Congested(number, 300_000),
            events.Drained(number, 0),
            events.DialFailed(rng.choice((peer.address, "1.2.3.4:5", "")), "refused"),
            events.StoreHealth(rng.random() < 0.8),
            events.LoopLate(rng.choice((0.0, 1.5, 60.0))),
            events.AddPeer(peer.address),
            events.DropPeer(peer.node_id),
            events.BanPeer(peer.node_id, rng.choice((0.0, 0.0, 5.0, 1e9))),
            events.ForgetPeer(peer.node_id),
            events.SetTrust(peer.node_id, rng.choice((0.0, 0.15, 0.5, 1.0))),
            events.PingPeer(token, rng.choice((peer.node_id, self.neighbour.node_id))),
            events.SendDirect(
                token,
                rng.choice((peer.node_id, self.neighbour.node_id, bytes(32), victim.node_id)),
                b"x" * rng.choice((0, 100, 60_000)),
                rng.choice((0.0, 0.5, 30.0, 1e7)),
            ),
            events.Stored(rng.randrange(100)),
            events.Tick(),
        ]
        event = rng.choice(choices)
        victim.step(event)
        for _ in range(rng.choice((0, 20)) if isinstance(event, events.PingPeer | events.SendDirect) else 0):
            victim.step(evolve(event, token=self.world.token()))
        for channel in list(peer.channels.values())[: rng.random() < 0.1]:
            self.world.close(channel, "cut")

    def wild_thing(self) -> None:
        """What no honest neighbour can be asked to make up for."""
        rng, victim = self.rng, self.victim
        link = rng.choice([*victim.channels, 0])
        match rng.randrange(9):
            case 0:
                leap = rng.choice((-YEAR, -40.0, 40.0, 3600.0, -3600.0, YEAR, -50 * YEAR, 50 * YEAR, 0.0))
                victim.step(events.WallClock(EPOCH_WALL + leap))
            case 1:
                victim.kill()
                victim.start()
            case 2:
                self.world.now += rng.choice((10.0, 3600.0, 3 * 86_400.0))
            case 3:
                victim.step(events.BanPeer(self.neighbour.node_id, 30.0))
            case 4:
                victim.step(events.Fetched(link, {rng.randbytes(16): b"" for _ in range(3)}))
            case 5:
                victim.step(events.WallClock(EPOCH_WALL))
            case 6:
                victim.step(events.Congested(link, 300_000))
            case 7:
                victim.step(events.Drained(link, 0))
            case 8:
                victim.publish("t", *[bytes(rng.choice((1, 400)))] * rng.choice((500, 5000)))

    # --------------------------------------------------------------------------------------------- the verdict

    def rest(self) -> None:
        """Time goes by; then everything that is owed was delivered, once, in order."""
        self.world.run(REST_SECONDS)
        self.victim.look()
        self.neighbour.look()
        if self.wild:
            self.victim.step(events.Leave())
            self.world.run(5)
        for node, author in ((self.victim, self.neighbour), (self.neighbour, self.victim)):
            self.judge(node, author)

    def judge(self, node: Checked, author: Checked) -> None:
        """What `node` heard of `author`."""
        heard, last = [], 0
        for delivery in node.delivered:
            if delivery.author == author.node_id and not delivery.direct:
                heard += [payload for _, payload in delivery.entries if b"of" in payload]
                if not delivery.late and not delivery.history and not self.wild:
                    if delivery.seq <= last:
                        raise Breach(f"node {node.number} heard {delivery.seq} after {last}")
                    last = delivery.seq + len(delivery.entries) - 1
        if len(heard) != len(set(heard)):
            raise Breach(f"node {node.number} heard something twice")
        owed = [payload for at, payload in self.said.get(author.node_id, []) if not self.wild]
        missing = [payload[:12] for payload in owed if payload not in set(heard)]
        if missing:
            raise Breach(f"node {node.number} did not hear {len(missing)} of {len(owed)}: {missing[:5]}")


def play(siege: Siege, steps: Sequence[int]) -> Failure | None:
    """Play these steps; the failure, cut after the step at which it came, if there was one."""
    done: list[int] = []
    try:
        for number in steps:
            done.append(number)
            siege.step(number)
        siege.rest()
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__}: {error} ({where.filename.rpartition('/')[2]}:{where.lineno})"
        return Failure(siege.seed, done, what)
    return None


def replay(seed: int, steps: Sequence[int]) -> Failure | None:
    """The siege of that seed, with these of its steps."""
    return play(Siege(seed), steps)


Replay = Callable[[int, Sequence[int]], Failure | None]


def shortest(failure: Failure, attempts: int = 50, replay: Replay = replay) -> Failure:
    """A failure of the same type with as many steps cut out as `attempts` replays allow."""
    kind = failure.what.split(":")[0]
    size = len(failure.steps) // 2
    while size and attempts:
        at = 0
        while at < len(failure.steps) and attempts:
            attempts -= 1
            fewer = replay(failure.seed, failure.steps[:at] + failure.steps[at + size :])
            if fewer is not None and fewer.what.split(":")[0] == kind:
                failure = fewer
            else:
                at += size
        size //= 2
    return failure
