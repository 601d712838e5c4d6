"""A whole core against peers that say anything at any time: T1 and T43, as a seeded machine of valid and lying frames.

Limits are set so low that what happens at them happens all the time. Whatever comes, `handle` does not raise.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from positron.core import events, messages, sequences
from positron.core.context import Parameters
from positron.core.envelope import BROADCAST, Envelope, Sealer, encode_entries, network_id_of
from positron.core.records import Loaded
from positron.core.statements import sign_address_record, sign_trust_statement
from positron.core.swarm import Swarm
from positron.core.sync.index import bound
from positron.core.sync.ranges import FINGERPRINT, HAVE, LIST, Writer
from tests.core.gossip_parts import WALL, Cheap

SEEDS, STEPS = 60, 400
U64 = (1 << 64) - 1
EPOCH = WALL * 1000
ME = Cheap(bytes([1]) * 32)
PEERS = [Cheap(bytes([number]) * 32) for number in range(10, 18)]
AUTHORS = [*PEERS[:3], *(Cheap(bytes([number]) * 32) for number in range(50, 59))]
ADDRESSES = ("1.2.3.4:5000", "10.0.0.1:80", "[::1]:9", "name:1", "9.9.9.9:9000", "junk", "", "10.1.1.1:99999")
WAITS = (0.001, 0.05, 0.5, 2.1, 5.0, 15.0)


class Machine:
    """One core, its links, and what a peer must have heard to lie well."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        pick = self.random.choice
        parameters = Parameters(
            network="lab",
            port=1,
            profile=pick(("wan", "lan")),
            max_peers=pick((2, 4, 50)),
            retention=pick((20.0, 3600.0, 86400.0)),
            quota=pick((200_000, 10**8)),
        )
        self.now = 0.0
        self.network = network_id_of("lab")
        self.sealer = Sealer(self.network)
        self.swarm = Swarm(
            ME,
            parameters,
            Loaded(EPOCH),
            Random(seed),
            verify=lambda _author, _message, _signature: self.random.random() < 0.998,
            wall=float(WALL),
        )
        self.links: list[int] = []
        self.last_link = 0
        self.ids: list[bytes] = []
        self.heard: defaultdict[tuple[int, type], list[Any]] = defaultdict(list)
        self.due: list[events.Event] = []

    def run(self, steps: int) -> None:
        """So many events, whatever they are."""
        chances: list[tuple[Callable[[], events.Event], int]] = [
            (self.received, 70),
            (self.tick, 14),
            (lambda: events.Publish(1, [("t", b"x")]), 2),
            (lambda: events.SendDirect(1, self.random.choice(PEERS).node_id, b"x", 5.0), 1),
            (lambda: events.Congested(self.random.choice(self.links), 300_000), 2),
            (lambda: events.Drained(self.random.choice(self.links), 0), 2),
            (lambda: events.StoreHealth(self.random.random() < 0.5), 1),
            (lambda: events.LoopLate(self.random.choice(WAITS)), 1),
            (lambda: events.WallClock(WALL + self.random.choice((0, 5, -5, 1000))), 1),
            (self.lost, 1),
        ]
        kinds, weights = zip(*chances, strict=True)
        for _ in range(steps):
            if self.due and self.random.random() < 0.7:
                self.handle(self.due.pop(0))
            elif not self.links or self.random.random() < 0.05:
                self.connect()
            else:
                self.handle(self.random.choices(kinds, weights)[0]())

    def handle(self, event: events.Event) -> None:
        """Give it to the core and note what must follow."""
        for action in self.swarm.handle(event, self.now):
            match action:
                case events.Send():
                    message = messages.decode(action.frame)
                    self.heard[action.link, type(message)].append(message)
                case events.Hangup():
                    self.due.append(events.Disconnected(action.link, action.reason))
                    self.links = [link for link in self.links if link != action.link]
                case events.Fetch():
                    found = {each: bytes(200) for each in action.ids if self.random.random() < 0.5}
                    self.due.append(events.Fetched(action.link, found))
                case events.Remember() if action.mark:
                    self.due.append(events.Stored(action.mark))
                case _:
                    pass

    def connect(self) -> None:
        """A peer links, and mostly greets as it should."""
        self.last_link += 1
        self.links.append(self.last_link)
        random = self.random
        address = random.choice(("1.2.3.4:5", "10.0.0.7:5", "[2001:db8::1]:7", "127.0.0.1:9"))
        self.handle(
            events.Connected(
                self.last_link,
                random.choice((PEERS[0].node_id, random.randbytes(32))),
                random.random() < 0.4,
                address,
                random.randbytes(32),
            )
        )
        for greeting in (self.hello(), messages.Welcome(1)):
            if random.random() < 0.95:
                self.handle(events.Received(self.last_link, [messages.encode(greeting)]))

    def lost(self) -> events.Event:
        """A link ends."""
        return events.Disconnected(self.links.pop(self.random.randrange(len(self.links))), "lost")

    def tick(self) -> events.Event:
        """Time passes."""
        self.now += self.random.choice(WAITS)
        return events.Tick()

    def received(self) -> events.Event:
        """A few frames on one link."""
        link = self.random.choice(self.links)
        return events.Received(link, [self.frame(link) for _ in range(self.random.choice((1, 1, 3)))])

    # ------------------------------------------------------------------------------------------ what is said

    def frame(self, link: int) -> bytes:
        """What a peer may say, in its place or not."""
        random, pick = self.random, self.random.choice
        said = self.random.random()
        if said < 0.4:
            return messages.push_frame(pick((0, 1, 16, 255)), self.envelope().raw)
        if said < 0.403:
            return bytes([random.randrange(30)]) + random.randbytes(random.randrange(20))
        message = pick(
            (
                lambda: messages.Have(self.some_ids()),
                lambda: messages.Have(self.some_ids()),
                lambda: messages.Miss(self.answered(link, messages.Want).ids),
                lambda: messages.Want(self.answered(link, messages.Have).ids),
                lambda: messages.Pong(
                    self.answered(link, messages.Ping).nonce, 0, pick((0, U64, self.wall_ms))
                ),
                lambda: messages.Ping(random.getrandbits(64)),
                lambda: messages.Graft(random.randrange(1, 256), random.random() < 0.3),
                lambda: messages.Prune(pick((0, 30, 3600)), (self.record(),)),
                lambda: self.sync(link),
                messages.PeersGet,
                lambda: messages.Peers((self.record(),)),
                lambda: messages.Refused(bytes(16), pick(messages.REJECTIONS)),
                lambda: messages.Evidence(self.envelope().raw, self.envelope().raw),
                messages.VouchGet,
                lambda: messages.Vouch((self.statement(),)),
                lambda: messages.Goodbye("leaving") if random.random() < 0.1 else messages.PeersGet(),
            )
        )()
        return messages.encode(message)

    @property
    def wall_ms(self) -> int:
        """The wall clock."""
        return int((WALL + self.now) * 1000)

    def answered(self, link: int, kind: type) -> Any:
        """Something of that kind that the link was told, or else a message of it out of the air."""
        found = self.heard[link, kind]
        if found:
            return found.pop(0) if kind is messages.Ping else self.random.choice(found)
        return messages.Ping(7) if kind is messages.Ping else messages.Have(self.some_ids())

    def some_ids(self) -> bytes:
        """Ids of envelopes that came, and of none."""
        return b"".join(
            self.random.choice(self.ids[-200:])
            if self.ids and self.random.random() < 0.8
            else self.random.randbytes(16)
            for _ in range(self.random.choice((1, 1, 1, 5, 50)))
        )

    def envelope(self) -> Envelope:
        """One of few authors, epochs and numbers, so that they meet; or at the end of a range."""
        pick = self.random.choice
        kind = pick((BROADCAST,) * 8 + (2, 3))
        count = pick((1, 1, 2, 5)) if kind == BROADCAST else 1
        if kind == BROADCAST:
            recipient, body = b"", encode_entries([("t", bytes(pick((1, 9000))))] * count)
        else:
            recipient, body = pick((ME, *PEERS)).node_id, bytes(pick((16, 90)))
        created = self.wall_ms + pick((0, 0, 0, -500, -5000, 29_000, 31_000, -80_000_000))
        envelope = self.sealer.seal(
            pick(AUTHORS),
            kind,
            epoch=pick((EPOCH - 1, *range(EPOCH, EPOCH + 8), 0, (1 << 63) - 1)),
            seq=pick((1, 2, 3, 4, 5, 6, 7, 9, 11, 13, self.random.randrange(1, 300), (1 << 63) - 300)),
            count=count,
            created_ms=created,
            expires_ms=created + pick((1, 1000, 3_600_000, 7 * 86_400_000)),
            ttl=pick((0, 1, 16)),
            body=body,
            recipient=recipient,
        )
        self.ids.append(envelope.id)
        return envelope

    def sync(self, link: int) -> messages.Sync:
        """A round of a session that is open, or of none, in turn or not."""
        pick = self.random.choice
        open_ = self.heard[link, messages.Sync]
        base = (
            pick(open_)
            if open_ and self.random.random() < 0.6
            else messages.Sync(pick((1, 2)), pick((0, 3, 254)), b"")
        )
        floor, ceiling = pick((0, self.wall_ms - 10_000)), pick((self.wall_ms, (1 << 63) - 1))
        writer = Writer(floor, ceiling, 64 * 1024)
        mode = pick((FINGERPRINT, LIST, HAVE))
        if mode == FINGERPRINT:
            writer.fingerprint(bound(floor), bound(ceiling), self.random.randbytes(16))
        else:
            ids = [self.random.randbytes(16) for _ in range(pick((0, 3, 100)))]
            writer.listing(bound(floor), bound(ceiling), mode, ids)
        ranges = writer.finish() if self.random.random() < 0.98 else self.random.randbytes(30)
        return messages.Sync(
            base.session, min(255, base.round + pick((0, 1, 1))), ranges, self.random.random() < 0.1
        )

    def hello(self) -> messages.Hello:
        """A greeting with numbers from end to end and addresses of any form."""
        pick = self.random.choice
        return messages.Hello(
            version_min=1,
            version_max=pick((1, 255)),
            network_id=self.network,
            agent="agent",
            epoch=pick((0, 5, U64)),
            port=pick((0, 65535)),
            addresses=tuple(pick(ADDRESSES) for _ in range(self.random.randrange(4))),
            wall_ms=pick((0, U64, self.wall_ms, self.wall_ms)),
            observed=pick(ADDRESSES),
        )

    def record(self) -> bytes:
        """Where somebody says that it is."""
        random = self.random
        subject = random.choice((*PEERS, Cheap(random.randbytes(32))))
        addresses = (random.choice(ADDRESSES[:6]), f"9.{random.randrange(256)}.1.1:9000")
        return sign_address_record(subject, self.network, addresses, random.getrandbits(62), self.wall_ms).raw

    def statement(self) -> bytes:
        """What somebody says of somebody."""
        pick = self.random.choice
        time_ms = pick((0, self.wall_ms, (1 << 63) - 1))
        return sign_trust_statement(
            pick(PEERS), self.network, pick((ME, *PEERS)).node_id, self.random.randrange(1_000_001), time_ms
        ).raw


class HostileTests(SynchronousTestCase):
    def test_whatever_comes(self) -> None:
        """T43: no frame of any peer, at any time and at any limit, raises out of `handle`."""
        small = {
            "MAX_EPOCHS": 4,
            "EPOCHS_FORGOTTEN": 1,
            "MAX_INTERVALS": 4,
            "MAX_AUTHORS": 5,
            "AUTHORS_FORGOTTEN": 2,
        }
        for name, value in (small | {"MAX_INTERVALS_ALL": 20, "CHECK_EVERY": 30, "FEW": 2}).items():
            self.patch(sequences, name, value)
        for seed in range(SEEDS):
            try:
                Machine(seed).run(STEPS)
            except Exception as error:
                raise AssertionError(f"seed {seed}") from error
