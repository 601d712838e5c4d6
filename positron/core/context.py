"""What every part of one core shares: who we are, the parameters, the links, time as handed in, chance as handed in,
and the list the actions go to. Nothing here does anything by itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from random import Random

from attrs import Factory, define, field, frozen

from positron.core import messages
from positron.core.envelope import Sealer, network_id_of
from positron.core.events import Action, Emit, Hangup, Remember, Send
from positron.core.identity import Signer, verify
from positron.core.limits import PROFILES, Limits
from positron.core.links import MAX_PINGS, Link, Links
from positron.core.notices import Notice
from positron.core.records import Record
from positron.core.statements import AddressRecord, Verify, read_address_record

ReadRecord = Callable[[bytes, bytes, Verify], AddressRecord]
"""`read_record(raw, network_id, verify)`, as `positron.core.statements.read_address_record`."""


@frozen(kw_only=True)
class Parameters:
    """Every number and list that an operator may choose, in seconds and bytes. `Config.parameters()` makes it."""

    network: str = "positron"
    agent: str = "positron"
    port: int = 0
    advertise: tuple[str, ...] = ()
    bootstrap: tuple[str, ...] = ()
    """`host:port`, or `id@host:port` with the id in text form."""
    discovery: bool = True
    secrets: tuple[bytes, ...] = field(default=(), repr=False)
    members: frozenset[bytes] | None = None
    profile: str = "lan"
    limits: Limits = Factory(lambda self: PROFILES[self.profile], takes_self=True)
    fanout: int = 3
    ttl: int = 16
    min_peers: int = 5
    max_peers: int = 50
    heartbeat_interval: float = 2.0
    sync_interval: float = 5.0
    retention: float = 24 * 3600.0
    quota: int = 100 * 1024 * 1024
    trust_baseline: float = 0.5
    trust_gain: float = 0.001
    trust_penalty: float = 0.1
    trust_ban: float = 0.1


@define(eq=False, slots=False)
class Context:
    """The ground one core stands on. The swarm sets `now` before each event and takes `actions` after it."""

    me: Signer
    parameters: Parameters
    rng: Random
    epoch: int
    verify: Verify = verify
    read_record: ReadRecord = read_address_record
    make_sealer: Callable[[bytes], Sealer] = Sealer
    now: float = 0.0
    wall_offset: float = 0.0
    links: Links = field(factory=Links)
    actions: list[Action] = field(factory=list)
    counters: dict[str, int] = field(factory=lambda: defaultdict(int))
    marks: int = 0

    def __attrs_post_init__(self) -> None:
        self.network_id = network_id_of(self.parameters.network)
        self.sealer = self.make_sealer(self.network_id)

    @property
    def wall(self) -> float:
        """The wall clock, Unix seconds."""
        return self.now + self.wall_offset

    @property
    def wall_ms(self) -> int:
        """The wall clock, whole milliseconds."""
        return int((self.now + self.wall_offset) * 1000)

    def send(self, link: Link, message: messages.Message, droppable: bool = False) -> None:
        """Queue `message` on `link`."""
        self.actions.append(Send(link.number, messages.encode(message), droppable))

    def ping(self, link: Link) -> int:
        """Send a PING and note when; the nonce that its PONG will carry."""
        nonce = self.rng.getrandbits(63)
        if len(link.pings) >= MAX_PINGS:
            del link.pings[next(iter(link.pings))]
        link.pings[nonce] = self.now
        self.send(link, messages.Ping(nonce))
        return nonce

    def hang_up(self, link: Link, reason: str, abort: bool = False) -> None:
        """End the channel of `link`."""
        self.actions.append(Hangup(link.number, reason, abort))

    def emit(self, notice: Notice) -> None:
        """Tell the application."""
        self.actions.append(Emit(notice))

    def remember(self, record: Record, mark: int = 0) -> None:
        """Hand a record to the store."""
        self.actions.append(Remember(record, mark))

    def next_mark(self) -> int:
        """A new mark for `remember`, higher than every one before."""
        self.marks += 1
        return self.marks

    def count(self, counter: str, by: int = 1) -> None:
        """Add to a counter; counters are names of `positron.core.swarm`'s statistics."""
        self.counters[counter] += by
