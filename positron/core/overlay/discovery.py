"""How nodes hear of each other: our own signed address record, and PEERS_GET / PEERS.

Rule: we say of ourselves only what we were told to advertise or what peers see us at, and of others only what they
signed themselves. Bulk answers are taken from those we asked; what nobody asked for may speak of its sender alone.
"""

from __future__ import annotations

from math import inf

from attrs import define, field

from positron.core.addresses import AddressBook, host_of, is_dialable, is_ip, join_address, split_address
from positron.core.context import Context
from positron.core.limits import Bucket
from positron.core.links import UP, Link
from positron.core.messages import Peers, PeersGet
from positron.core.statements import (
    MAX_ADDRESSES,
    AddressRecord,
    sign_address_record,
    subject_of,
)

MAX_SAMPLE = 100
MAX_REFUSAL_SAMPLE = 16
ASK_SLOWEST = 60.0
ASK_RARELY = 600.0
SETTLE_SECONDS = 1.0
ANNOUNCE_GAP = 10.0
RENEW_SECONDS = 6 * 3600.0
"""How old our own record may get; others drop one that was not renewed for 30 days."""

FRESH_MS = 600_000
AGREEING_GROUPS = 3
REQUESTS = (0.1, 10.0)
"""PEERS_GETs answered, and unasked PEERS and other records read, per link: rate a second and burst."""


@define(eq=False)
class Acquaintance:
    """What discovery knows of one link that is up. Times are seconds of `now`."""

    link: Link
    observed: str
    asked_at: float = -inf
    asked: int = 0
    """Asks while links were too few, in a row."""
    pending: int = 0
    """Asks not answered yet."""
    told: bytes = b""
    """Our own record as we sent it last."""
    requests: Bucket = field(factory=lambda: Bucket(*REQUESTS))
    unasked: Bucket = field(factory=lambda: Bucket(*REQUESTS))


class Discovery:
    """Our record, and what we ask and answer. Without `discovery` in the parameters it says and hears nothing."""

    def __init__(self, context: Context, book: AddressBook) -> None:
        self._context = context
        self._book = book
        self._enabled = context.parameters.discovery
        self._known: dict[int, Acquaintance] = {}
        self._record: AddressRecord | None = None
        self._announce_at = inf
        self._announced_at = -inf
        self.deadline = inf
        """When `tick` is wanted; it may be early, never late."""
        self._advertised = tuple(self._with_port(text) for text in context.parameters.advertise)
        self.addresses = self._advertised[:MAX_ADDRESSES]
        """Where others can reach us, as far as we know."""

    def _with_port(self, text: str) -> str:
        """`text` as an address: one given without a port gets ours."""
        try:
            host, port = split_address(text)
        except ValueError:
            return join_address(text, self._context.parameters.port)
        return join_address(host, port)

    # -------------------------------------------------------------------------------------------- our address

    @property
    def observed(self) -> list[str]:
        """The hosts at which our peers see us, those that most network groups agree on first."""
        groups: dict[str, set[str]] = {}
        for known in self._known.values():
            if known.observed:
                groups.setdefault(known.observed, set()).add(known.link.group)
        return sorted(groups, key=lambda host: -len(groups[host]))

    def meet(self, link: Link) -> None:
        """HELLO came: the other side says at which address it sees us. A name that it dialled tells us nothing."""
        assert link.hello is not None
        host = host_of(link.hello.observed)
        usable = is_ip(host) and is_dialable(join_address(host, self._context.parameters.port))
        self._known[link.number] = Acquaintance(link, host if usable else "")
        self._reconsider()

    def _reconsider(self) -> None:
        """Choose our addresses anew: advertised, or observed by three groups, or by whoever there is."""
        if self._advertised:
            return
        seen = [(known.observed, known.link.group) for known in self._known.values() if known.observed]
        if not seen:
            return
        groups: dict[str, set[str]] = {}
        for host, group in seen:
            groups.setdefault(host, set()).add(group)
        enough = len({group for _, group in seen}) >= AGREEING_GROUPS
        most = max(len(observers) for observers in groups.values())
        needed = min(AGREEING_GROUPS, most) if enough else 1
        port = self._context.parameters.port
        addresses = tuple(sorted(join_address(host, port) for host in groups if len(groups[host]) >= needed))[
            :MAX_ADDRESSES
        ]
        if addresses != self.addresses:
            self.addresses = addresses
            self._announce_at = max(self._context.now + SETTLE_SECONDS, self._announced_at + ANNOUNCE_GAP)
            self.deadline = min(self.deadline, self._announce_at)

    def own_record(self) -> AddressRecord:
        """Our signed record, new when our addresses changed or it is ten minutes old.

        Its sequence is the time in milliseconds, at least this run's epoch, so it grows over restarts.
        """
        wall_ms = self._context.wall_ms
        old = self._record
        if old is None or old.addresses != self.addresses or not 0 <= wall_ms - old.time_ms <= FRESH_MS:
            seq = max(wall_ms, self._context.epoch, old.seq + 1 if old else 0)
            self._record = sign_address_record(
                self._context.me, self._context.network_id, self.addresses, seq, max(0, wall_ms)
            )
        assert self._record is not None
        return self._record

    # ------------------------------------------------------------------------------------- asking and telling

    def greet(self, link: Link) -> None:
        """The link is up: tell where we are, ask for others (not on a probe, which is for a moment)."""
        if not self._enabled:
            return
        known = self._known[link.number]
        self._tell(known)
        if self._announce_at == inf:
            self._announce_at = self._context.now + RENEW_SECONDS
        if link.probe:
            known.asked_at = self._context.now
        else:
            self._ask(known)
        self.deadline = min(self.deadline, self._announce_at, self._ask_at(known))

    def _ask(self, known: Acquaintance) -> None:
        known.asked_at = self._context.now
        known.pending = min(known.pending + 1, 2)
        known.asked = known.asked + 1 if self._below() else 0
        self._context.send(known.link, PeersGet())

    def _below(self) -> bool:
        return len(self._context.links) < self._context.parameters.min_peers

    def peers_get(self, link: Link) -> None:
        """A peer asks for others."""
        known = self._known.get(link.number)
        if known is None or not known.requests.take(1, self._context.now):
            self._context.count("peers_get_ignored")
            return
        records: list[bytes] = []
        if self._enabled and not link.probe:
            records = self._book.sample(MAX_SAMPLE, link.node_id, link.address)
        self._context.send(link, Peers(tuple(records)))

    def peers(self, link: Link, message: Peers) -> int:
        """Records came; how many told something new. `MessageError` for one whose signature is bad."""
        known = self._known.get(link.number)
        if known is None or not self._enabled:
            return 0
        if not known.pending and (len(message.records) != 1 or not known.unasked.take(1, self._context.now)):
            self._context.count("peers_unasked")
            return 0
        news = self._news(message.records)
        if not self._is_own(link, message.records, news):
            if not known.pending:
                self._context.count("peers_unasked")
                return 0
            known.pending -= 1
        return self._book.learn_all(news, link.address)

    def introduced(self, link: Link, records: tuple[bytes, ...]) -> int:
        """Records that came with a refusal, or with PRUNE; how many told something new. `MessageError` as above."""
        if not self._enabled or not records:
            return 0
        known = self._known.get(link.number)
        if known is not None and not known.unasked.take(1, self._context.now):
            self._context.count("peers_unasked")
            return 0
        return self._book.learn_all(self._news(records), link.address)

    def others(self, link: Link) -> tuple[bytes, ...]:
        """Records of others for one whom we refuse."""
        if not self._enabled:
            return ()
        return tuple(self._book.sample(MAX_REFUSAL_SAMPLE, link.node_id, link.address))

    def _news(self, records: tuple[bytes, ...]) -> list[AddressRecord]:
        """Those that are not in the book, verified. Most of what peers tell is in it, byte for byte."""
        context, holds = self._context, self._book.holds
        return [
            context.read_record(raw, context.network_id, context.verify) for raw in records if not holds(raw)
        ]

    def _is_own(self, link: Link, records: tuple[bytes, ...], news: list[AddressRecord]) -> bool:
        """Whether this is the one record of the sender itself."""
        if len(records) != 1:
            return False
        return (news[0].node_id if news else subject_of(records[0])) == link.node_id

    def forget(self, link: Link) -> None:
        """This link is down."""
        if self._known.pop(link.number, None) is not None:
            self._reconsider()
            if self._below():  # the others are asked more often now
                self.deadline = self._context.now

    def tick(self) -> None:
        """Ask again, tell again."""
        self.deadline = inf
        if not self._enabled:
            return
        for known in self._known.values():
            if known.link.state == UP:
                at = self._ask_at(known)
                if self._context.now >= at:
                    self._ask(known)
                    at = self._ask_at(known)
                self.deadline = min(self.deadline, at)
        if self._context.now >= self._announce_at:
            self._announce()
        self.deadline = min(self.deadline, self._announce_at)

    def _ask_at(self, known: Acquaintance) -> float:
        """After 1, 2, 4 ... 60 s while links are too few, else every ten minutes."""
        if not self._below():
            return known.asked_at + ASK_RARELY
        return known.asked_at + min(ASK_SLOWEST, 2.0 ** min(max(known.asked - 1, 0), 6))

    def _announce(self) -> None:
        self._announced_at = self._context.now
        self._announce_at = self._context.now + RENEW_SECONDS
        for known in self._known.values():
            if known.link.state == UP:
                self._tell(known)

    def _tell(self, known: Acquaintance) -> None:
        """Send our own record, unless that is what the other side has."""
        raw = self.own_record().raw if self.addresses else known.told
        if raw != known.told:
            known.told = raw
            self._context.send(known.link, Peers((raw,)))
