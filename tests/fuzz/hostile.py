"""A peer that holds a real key and a link, and wishes ill."""

from __future__ import annotations

from collections import deque
from random import Random

from positron.core import events, messages
from positron.core.envelope import BROADCAST, DIRECT, Sealer
from positron.core.identity import Signer
from positron.core.sync.index import bound
from positron.core.sync.ranges import HAVE, LIST, Writer
from positron.errors import MessageError
from positron.simulation.channel import Channel
from positron.simulation.cheap import CheapSigner
from positron.simulation.world import EPOCH_WALL, WorldNode
from tests.fuzz.frames import Tongue, edge, frame


class Hostile(WorldNode):
    """Has no core: it greets so that its links come up, answers as its manners are, and says what it is told to.

    `manners` are the chances that it answers a PING, and a WANT by PUSH, by MISS.
    """

    victim: WorldNode
    manners: tuple[float, float, float]

    def meet(self, victim: WorldNode, network_id: bytes, rng: Random) -> None:
        """This is whom to torment."""
        self.victim = victim
        self.network_id = network_id
        self.sealer = Sealer(network_id)
        self.rng = rng
        self.tongue = Tongue(self, rng)
        if rng.random() < 0.5:
            self.host = f"198.{18 + self.number}.1.7"
            self.address = f"{self.host}:8888"
        self.manners = rng.choice(((1, 1, 0), (1, 0.5, 0.5), (0.9, 0, 1), (1, 0, 0), (0, 0, 0)))
        self.names = self.calls = 0
        self.forget()

    def forget(self) -> None:
        """All that was heard and said."""
        self.nonces: deque[int] = deque(maxlen=20)
        self.ids: deque[bytes] = deque(maxlen=2000)
        self.wants: deque[bytes] = deque(maxlen=200)
        self.raws: deque[bytes] = deque(maxlen=30)
        self.sessions: deque[tuple[int, int]] = deque(maxlen=8)
        self.numbers: dict[tuple[bytes, int], int] = {}
        self.mine: dict[bytes, bytes] = {}
        self.sealed = b""
        self.epoch = self.wall_ms

    def start(self) -> None:
        """There is nothing to be born."""
        self.world.listening[self.address] = self
        self.swarm = self.world  # type: ignore[assignment] # the world asks whether it lives

    @property
    def wall_ms(self) -> int:
        """The time, which it knows as well as anybody."""
        return int((self.world.now + EPOCH_WALL) * 1000)

    def stranger(self, number: int) -> Signer:
        """One of its other names."""
        return CheapSigner(1_000_000 + 1000 * self.number + number)

    def rename(self) -> None:
        """Its name is burnt: go on under another."""
        self.names += 1
        self.identity = CheapSigner(10_000 * self.number + self.names)
        self.node_id = self.identity.node_id
        self.forget()

    def note(self, raw: bytes) -> None:
        """Remember an envelope that it sends."""
        envelope_id = self.sealer.envelope_id(raw)
        self.raws.append(raw)
        self.ids.append(envelope_id)
        self.mine[envelope_id] = raw
        if len(self.mine) > 300:
            del self.mine[next(iter(self.mine))]

    # ---------------------------------------------------------------------------------------------- hearing

    def step(self, event: events.Event) -> None:
        """Greet whoever comes, answer as it pleases."""
        match event:
            case events.Connected():
                self._greet(event.link)
            case events.Received():
                for each in event.frames:
                    self._heard(event.link, each)

    def _greet(self, number: int) -> None:
        rude = self.rng.random()
        if self.calls:
            self.calls -= 1
            farewell = self.rng.choice((self.tongue.welcome, self.tongue.goodbye))
            self.say(number, self.tongue.hello(), farewell())
            return
        if rude < 0.05:
            self.say(number, *(self.tongue.anything() for _ in range(3)))
        hello = self.tongue.strange_hello() if rude < 0.15 else self.tongue.hello()
        self.say(number, hello, frame(messages.Welcome.TAG, 1))

    def _heard(self, number: int, raw: bytes) -> None:
        try:
            message = messages.decode(raw)
        except MessageError as error:
            raise AssertionError(f"the victim sent what is no message: {error}") from error
        match message:
            case messages.Ping():
                self.nonces.append(message.nonce)
                if self.rng.random() < self.manners[0]:
                    self.say(number, frame(messages.Pong.TAG, message.nonce, 0, self.wall_ms))
            case messages.Want():
                self._wanted(number, message.ids)
            case messages.Have():
                self.ids.extend(message.ids[at : at + 16] for at in range(0, len(message.ids), 16))
            case messages.Push():
                self.raws.append(message.envelope)
                self.ids.append(self.sealer.envelope_id(message.envelope))
            case messages.Sync() if not message.busy:
                self.sessions.append((message.session, message.round + 1))

    def _wanted(self, number: int, joined: bytes) -> None:
        for at in range(0, len(joined), 16):
            envelope_id = joined[at : at + 16]
            self.wants.append(envelope_id)
            mine = self.mine.get(envelope_id)
            if mine is not None and self.rng.random() < self.manners[1]:
                self.say(number, messages.push_frame(0, mine))
            elif self.rng.random() < self.manners[2]:
                self.say(number, frame(messages.Miss.TAG, envelope_id))

    # --------------------------------------------------------------------------------------------- speaking

    def say(self, number: int, *frames: bytes) -> None:
        """Send these, if the link is still there."""
        channel = self.channels.get(number)
        if channel is not None:
            for each in frames:
                self.world.carry(channel, each)

    def link(self) -> Channel | None:
        """Any of its links."""
        return self.rng.choice(list(self.channels.values()) or [None])

    def talk(self, *frames: bytes) -> None:
        """Say these on any link."""
        channel = self.link()
        if channel is not None:
            self.say(channel.number, *frames)

    # ------------------------------------------------------------------------------------------- campaigns

    def chatter(self) -> None:
        """A few of everything."""
        self.talk(*(self.tongue.anything() for _ in range(self.rng.choice((1, 3, 10, 40)))))

    def epochs(self) -> None:
        """Hundreds of epochs, forth, back or mixed; some begin with a gap."""
        rng, author = self.rng, self.tongue.author()
        start = self.wall_ms + rng.choice((0, 1000, 10**6))
        numbers = list(range(start, start + rng.choice((10, 256, 257, 300, 400))))
        if rng.random() < 0.7:
            rng.shuffle(numbers)
        self._pushes(author, [(number, rng.choice((1, 1, 2, 5))) for number in numbers])

    def gaps(self) -> None:
        """Every other number, forth, back or mixed."""
        rng, author = self.rng, self.tongue.author()
        start = edge(rng, 1, 2**62)
        numbers = [start + 2 * place for place in range(rng.choice((10, 511, 520, 1030)))]
        if rng.random() < 0.5:
            rng.shuffle(numbers)
        self._pushes(author, [(self.epoch, number) for number in numbers])

    def _pushes(self, author: Signer, numbers: list[tuple[int, int]]) -> None:
        self.talk(
            *(
                self.tongue.pushed(
                    self.tongue.envelope(
                        author, kind=BROADCAST, epoch=epoch, seq=seq, count=1, created=self.wall_ms
                    )
                )
                for epoch, seq in numbers
            )
        )

    def names_galore(self) -> None:
        """Authors nobody heard of, in public or sealed."""
        kind, first = self.rng.choice((BROADCAST, DIRECT)), self.rng.randrange(10**6)
        authors = [self.stranger(1000 + first + place) for place in range(self.rng.choice((50, 150, 1500)))]
        self.talk(*(self.tongue.pushed(self.tongue.envelope(each, kind=kind, seq=1)) for each in authors))

    def again(self) -> None:
        """The same sealed message, over and over."""
        if not self.sealed or self.rng.random() < 0.3:
            self.sealed = self.tongue.envelope(self.identity, kind=DIRECT, created=self.wall_ms)
        self.talk(*[self.tongue.pushed(self.sealed)] * self.rng.choice((2, 20, 200)))

    def equivocations(self) -> None:
        """Two of one number, and the proof of it, of one or of many."""
        first = self.rng.randrange(10**6)
        for author in [self.stranger(first + place) for place in range(self.rng.choice((1, 1, 40)))]:
            pair = [
                self.tongue.envelope(
                    author, kind=BROADCAST, epoch=self.epoch, seq=7, created=self.wall_ms + place
                )
                for place in range(2)
            ]
            self.talk(*map(self.tongue.pushed, pair), frame(messages.Evidence.TAG, *pair))

    def promises(self) -> None:
        """Announce much."""
        rng = self.rng
        invented = [rng.randbytes(16) for _ in range(rng.choice((100, 1000, 3000)))]
        self.talk(frame(messages.Have.TAG, b"".join(invented)))

    def exchanges(self) -> None:
        """Show thousands of ids that nobody has, in sessions of its own."""
        rng, now, said = self.rng, self.wall_ms, []
        session = rng.getrandbits(31)
        for _ in range(rng.choice((1, 3, 9))):
            out = Writer(now - 20_000, now - 2000, 64 * 1024)
            shown = sorted(rng.randbytes(16) for _ in range(rng.choice((10, 4000))))
            out.listing(bound(now - 20_000), bound(now - 2000), rng.choice((LIST, HAVE)), shown)
            said.append(frame(messages.Sync.TAG, session + rng.randrange(2), 0, out.finish()))
        self.talk(*said)

    def questions(self) -> None:
        """Ask and ask, for everything."""
        name = self.rng.choice(("ping", "want", "peers_get", "vouch_get", "sync", "graft"))
        self.talk(*(getattr(self.tongue, name)() for _ in range(self.rng.choice((10, 60)))))

    def strangers(self) -> None:
        """Tell of hundreds."""
        self.talk(*(self.tongue.peers() for _ in range(10)), self.tongue.prune())

    def callers(self) -> None:
        """Dial many times, and end each with a word of its own."""
        self.calls = self.rng.choice((3, 40))
        for _ in range(self.calls):
            self.world.dial(self, events.Dial(self.victim.address))


CAMPAIGNS = (
    "epochs",
    "gaps",
    "names_galore",
    "again",
    "equivocations",
    "promises",
    "exchanges",
    "questions",
    "strangers",
    "callers",
)
"""What is done besides chatter."""
