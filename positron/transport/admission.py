"""Who may come in: decided before there is a TLS object, and before a handshake is paid for.

Rule: a refusal closes the socket. `AdmissionFactory` stands in front of TLS, because a factory *inside*
`TLSMemoryBIOFactory` that returns None leaves the socket open for ever; here it makes the port close it.

Every limit counts sockets from accept to close, per address and per network group; `group_of` says what a group is
(a private or loopback address is one of its own). None as a limit is no limit.
"""

from __future__ import annotations

import typing
from collections import Counter
from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory
from twisted.protocols.tls import TLSMemoryBIOProtocol

from positron.transport.channel import ChannelFactory
from positron.transport.connection import ConnectionFactory, LinkOwner, address_text
from positron.transport.gate import Gate
from positron.transport.tls import TLSIdentity
from positron.transport.turns import Turns


class AdmissionLimits(typing.Protocol):
    """The numbers of docs/security.rst that concern who may come in. `positron.core.limits.Limits` has them."""

    @property
    def handshakes_all(self) -> float | None:
        """TLS handshakes a second."""

    @property
    def handshakes_address(self) -> float | None:
        """TLS handshakes a second of one address."""

    @property
    def half_open_all(self) -> int | None:
        """Sockets that are not established."""

    @property
    def half_open_address(self) -> int | None:
        """Sockets of one address that are not established."""

    @property
    def inbound_address(self) -> int | None:
        """Sockets of one address."""

    @property
    def inbound_group(self) -> int | None:
        """Sockets of one network group."""


class AdmissionFactory(Factory):
    """Listen with this. Every visitor it lets in becomes a `Connection` of `owner`, or is refused.

    `refused(address, reason)` hears of those who never became a `Connection`; after that, `owner.link_refused` does.
    Its reasons: `closing`, `half-open limit`, `half-open limit of address`, `inbound limit of address`,
    `inbound limit of group` (at accept), `evicted`, `silent`, `not TLS`, `oversize handshake`, `handshake rate`
    (its turn did not come in 5 s), `closed early`.

    `tried(ip)` says whether we have been linked to a node at that address: half the handshake rate is theirs.
    `limits_at(ip)` has the limits per address and group for one address, where they are not those of `limits`. The
    rate in all is taken once, the rest is read at each decision.
    """

    noisy = False

    def __init__(
        self,
        owner: LinkOwner,
        reactor: IReactorTime,
        tls: TLSIdentity,
        *,
        limits: AdmissionLimits,
        group_of: Callable[[str], str],
        tried: Callable[[str], bool],
        refused: Callable[[str, str], None],
        limits_at: Callable[[str], AdmissionLimits] | None = None,
    ) -> None:
        self._clock = reactor
        self._limits = limits
        self._limits_at = limits_at or (lambda ip: limits)
        self._group_of = group_of
        self._tried = tried
        self._refused = refused
        connections = ConnectionFactory(owner, reactor, outbound=False)
        self._channels = ChannelFactory(tls, connections, reactor, outbound=False)
        self._turns: Turns[Gate] = Turns(
            limits.handshakes_all, lambda ip: self._limits_at(ip).handshakes_address
        )
        self._next_turn: typing.Any = None
        self._addresses: dict[Gate, IAddress | None] = {}
        self._half_open: dict[Gate, None] = {}
        self._half_open_of_address: Counter[str] = Counter()
        self._of_address: Counter[str] = Counter()
        self._of_group: Counter[str] = Counter()
        self._closing = False
        self._closed: list[Deferred[None]] = []

    @property
    def half_open(self) -> int:
        """Sockets accepted and neither established nor gone."""
        return len(self._half_open)

    @property
    def inbound(self) -> int:
        """Sockets accepted and not gone, the half-open ones among them."""
        return len(self._addresses)

    def close(self) -> Deferred[None]:
        """Let nobody in any more and abort what is half-open. Fires when no socket of this factory is left.

        The established ones are the owner's to hang up.
        """
        self._closing = True
        for gate in list(self._half_open):
            gate.turn_away("closing")
        if not self._addresses:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._closed.append(waiting)
        return waiting

    def buildProtocol(self, addr: IAddress | None) -> Gate | None:
        """A gate for this visitor, or None, upon which Twisted's port closes the socket."""
        ip = str(getattr(addr, "host", addr))
        group = self._group_of(ip)
        reason = self._objection(ip, group)
        if reason is not None:
            self._refused(address_text(addr), reason)
            return None
        gate = Gate(self, self._clock, ip=ip, group=group, tried=self._tried(ip))
        self._addresses[gate] = addr
        self._of_address[ip] += 1
        self._of_group[group] += 1
        self._half_open[gate] = None
        self._half_open_of_address[ip] += 1
        return gate

    # ------------------------------------------------------------------------------------ what a gate reports

    def spoke(self, gate: Gate) -> None:
        """It waits for its turn, which may be now."""
        self._turns.join(gate)
        self._serve()

    def refused(self, gate: Gate, reason: str) -> None:
        """It ended before TLS began; its place is free although its socket is still closing."""
        self._forget_half_open(gate)
        self._refused(address_text(self._addresses[gate]), reason)

    def established(self, gate: Gate) -> None:
        """It is half-open no more."""
        self._forget_half_open(gate)

    def left(self, gate: Gate) -> None:
        """Its socket is closed."""
        self._forget_half_open(gate)
        del self._addresses[gate]
        _uncount(self._of_address, gate.ip)
        _uncount(self._of_group, gate.group)
        if self._closing and not self._addresses:
            closed, self._closed = self._closed, []
            for waiting in closed:
                waiting.callback(None)

    def build(self, gate: Gate) -> TLSMemoryBIOProtocol:
        """TLS with a `Connection` in it."""
        return self._channels.buildProtocol(self._addresses[gate])

    # --------------------------------------------------------------------------------------------- its inside

    def _objection(self, ip: str, group: str) -> str | None:
        """Why a visitor may not come in, None if it may. May evict another to make room."""
        limits, limits_all = self._limits_at(ip), self._limits.half_open_all
        if self._closing:
            return "closing"
        if _reached(limits.inbound_address, self._of_address[ip]):
            return "inbound limit of address"
        if _reached(limits.inbound_group, self._of_group[group]):
            return "inbound limit of group"
        if _reached(limits.half_open_address, self._half_open_of_address[ip]):
            return "half-open limit of address"
        if limits_all is not None and not self._make_room(limits_all):
            return "half-open limit"
        return None

    def _make_room(self, limit: int) -> bool:
        """Above half the limit, the oldest silent visitor of the largest group goes for each that comes.

        At the limit somebody must: one who has proved nothing if there is any, else one whose HELLO is still owed.
        """
        count = len(self._half_open)
        if count < limit // 2:
            return True
        victim = self._oldest_of_largest_group([gate for gate in self._half_open if gate.silent])
        if victim is None and count >= limit:
            unproved = [gate for gate in self._half_open if not gate.proved]
            victim = self._oldest_of_largest_group(unproved or list(self._half_open))
        if victim is None:
            return count < limit
        self._forget_half_open(victim)
        victim.turn_away("evicted")
        return True

    def _oldest_of_largest_group(self, gates: list[Gate]) -> Gate | None:
        sizes = Counter(gate.group for gate in gates)
        # max keeps the first of equals, and `gates` is in order of arrival.
        return max(gates, key=lambda gate: sizes[gate.group], default=None)

    def _forget_half_open(self, gate: Gate) -> None:
        self._turns.leave(gate)
        if gate in self._half_open:
            del self._half_open[gate]
            _uncount(self._half_open_of_address, gate.ip)
        if not self._turns and self._next_turn is not None:
            self._next_turn.cancel()
            self._next_turn = None

    def _serve(self) -> None:
        """Begin every handshake whose turn it is, and come back when the next may be."""
        if self._next_turn is not None:
            self._next_turn.cancel()
            self._next_turn = None
        while (gate := self._turns.next(self._clock.seconds())) is not None:
            gate.begin()
        if self._turns:
            self._next_turn = self._clock.callLater(
                self._turns.delay(self._clock.seconds()), self._turn_has_come
            )

    def _turn_has_come(self) -> None:
        self._next_turn = None
        self._serve()


def _reached(limit: int | None, count: int) -> bool:
    return limit is not None and count >= limit


def _uncount(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
