"""The live links: listening, dialling, and what the core wants done with each link.

Rules: a link has a number that is never used again, and the core hears `Disconnected` exactly once for each
`Connected`, `DialFailed` exactly once for each `Dial` that came to nothing. A refusal is counted by its reason and
logged at a bounded rate, never with a traceback.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.error import ConnectError, ConnectionRefusedError, DNSLookupError, TimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from positron.config import Config
from positron.core.addresses import group_of
from positron.core.events import (
    Congested,
    Connected,
    Dial,
    DialFailed,
    Disconnected,
    Drained,
    Established,
    Event,
    Hangup,
    Pause,
    Received,
    Resume,
    Send,
)
from positron.services.inbox import Inbox
from positron.services.lanes import Lanes
from positron.services.listening import Listening
from positron.services.network import Network
from positron.services.waiting import Outcome
from positron.transport import HIGH_WATER, AdmissionFactory, AdmissionLimits, Connection, TLSIdentity, dial

CLOSE_SECONDS = 1.0
"""How long peers have to take our goodbye before their links are aborted."""
MAX_REASONS = 64
"""Reasons of refusals counted by name."""
MAX_TOLD = 1024
"""Addresses whose last failure is remembered, so that a log line says something new."""


class PeerService(Service):
    """Performs `Send`, `Established`, `Dial`, `Hangup`, `Pause`, `Resume`; is the `LinkOwner` of every connection."""

    _log = Logger()

    def __init__(self, reactor: Any, step: Callable[[Event], None], network: Network, lanes: Lanes) -> None:
        self.listening = Listening()
        self.refused: Counter[str] = Counter()
        self.opened = 0
        self.closed: Counter[str] = Counter()
        self._bytes_gone = (0, 0)
        self._reasons: Counter[str] = Counter()
        self._reactor = reactor
        self._step = step
        self._network = network
        self._inbox = Inbox(reactor, self._give, lanes)
        self._tls: TLSIdentity | None = None
        self._numbers = count(1)
        self._links: dict[int, Connection] = {}
        self._number_of: dict[Connection, int] = {}
        self._congested: set[int] = set()
        self._unwritten: dict[Connection, None] = {}
        self._dials: dict[Deferred[Connection], str] = {}
        self._greeting: set[Connection] = set()
        self._gone: Outcome[None] | None = None
        self._told: dict[str, str] = {}

    # --------------------------------------------------------------------------------------- starting, stopping

    def bind(self, config: Config) -> None:
        """Listen, and turn everybody away until `open`. Raises what the endpoint raises."""
        if not self.listening.bound:
            self.listening.bind(self._network.servers(config))

    def open(
        self,
        tls: TLSIdentity,
        limits: AdmissionLimits,
        tried: Callable[[str], bool],
        limits_at: Callable[[str], AdmissionLimits] | None = None,
    ) -> None:
        """Let visitors in, and dial as `tls`.

        `tried(ip)`: whether we were linked to a node there; `limits_at(ip)`: what holds there instead of `limits`.
        """
        self._tls = tls
        self.listening.admission = AdmissionFactory(
            self,
            self._reactor,
            tls,
            limits=limits,
            group_of=group_of,
            tried=tried,
            refused=self._turned_away,
            limits_at=limits_at,
        )
        self.startService()

    def close(self) -> Deferred[Any]:
        """Listen and dial no more, and end every link once its queue is sent, or after a second.

        Fires when no port, dial or connection is left; the core has heard of each end by then.
        """
        if self.running:
            self.stopService()
        admission, self.listening.admission = self.listening.admission, None
        closing = [self.listening.close()]
        if admission is not None:
            closing.append(admission.close())
        for dialling in list(self._dials):
            dialling.cancel()
        self._inbox.close()
        for connection in [*self._links.values(), *self._greeting]:
            connection.hang_up("leaving")
        if self._busy:
            closing.append(self._all_gone())
        return gatherResults(closing)

    @property
    def _busy(self) -> bool:
        return bool(self._links or self._greeting or self._dials)

    def _all_gone(self) -> Deferred[None]:
        self._gone = Outcome()
        deadline = self._reactor.callLater(CLOSE_SECONDS, self._abort_all)
        gone = self._gone.wait()
        return gone.addCallback(lambda _: deadline.cancel() if deadline.active() else None)

    def _abort_all(self) -> None:
        for connection in [*self._links.values(), *self._greeting]:
            connection.hang_up("leaving", abort=True)

    def _check_gone(self) -> None:
        if self._gone is not None and not self._busy:
            gone, self._gone = self._gone, None
            gone.succeed(None)

    # ---------------------------------------------------------------------------------- what the core wants done

    def send(self, action: Send) -> None:
        """Perform `Send`; a link that is gone needs nothing more."""
        connection = self._links.get(action.link)
        if connection is None:
            return
        connection.send(action.frame, action.droppable, more=True)
        self._unwritten[connection] = None
        if connection.queued > HIGH_WATER and action.link not in self._congested:
            self._congested.add(action.link)
            self._step(Congested(action.link, connection.queued))

    def performed(self) -> None:
        """The core has said all it had to say for now: write what is for each link, together."""
        if self._unwritten:
            unwritten, self._unwritten = self._unwritten, {}
            for connection in unwritten:
                connection.flush()

    def established(self, action: Established) -> None:
        """Perform `Established`."""
        if action.link in self._links:
            self._links[action.link].established()

    def hang_up(self, action: Hangup) -> None:
        """Perform `Hangup`. What came and was not heard yet never will be."""
        if action.link in self._links:
            self._inbox.drop(self._links[action.link])
            self._links[action.link].hang_up(action.reason, action.abort)

    def pause(self, action: Pause) -> None:
        """Perform `Pause`."""
        if action.link in self._links:
            self._links[action.link].pause()

    def resume(self, action: Resume) -> None:
        """Perform `Resume`."""
        if action.link in self._links:
            self._links[action.link].resume()

    def dial(self, action: Dial) -> None:
        """Perform `Dial`."""
        if not self.running or self._tls is None:
            self._step(DialFailed(action.address, "leaving"))
            return
        try:
            endpoint = self._network.client(action.address)
        except ValueError as error:
            self._step(DialFailed(action.address, str(error)))
            return
        dialling = dial(self._reactor, endpoint, self._tls, self, action.address, action.expected)
        self._dials[dialling] = action.address
        dialling.addCallbacks(self._greet, self._not_connected, errbackArgs=(action.address,))
        dialling.addBoth(self._dialled, dialling)

    def _greet(self, connection: Connection) -> None:
        self._greeting.add(connection)
        if not self.running:
            connection.hang_up("leaving", abort=True)

    def _not_connected(self, failure: Failure, address: str) -> None:
        if failure.check(CancelledError):
            self._step(DialFailed(address, "leaving"))
            return
        reason = _connect_reason(failure)
        self._note_failure(address, reason)
        self._step(DialFailed(address, reason))

    def _dialled(self, _: object, dialling: Deferred[Connection]) -> None:
        self._dials.pop(dialling, None)
        self._check_gone()

    # -------------------------------------------------------------------------------- what connections tell us

    def link_connected(self, connection: Connection) -> None:
        """See `LinkOwner`."""
        self._greeting.discard(connection)
        number = next(self._numbers)
        self._links[number] = connection
        self._number_of[connection] = number
        self.opened += 1
        if not self.running:
            connection.hang_up("leaving", abort=True)
        self._told.pop(connection.address, None)
        self._step(
            Connected(number, connection.node_id, connection.outbound, connection.address, connection.binding)
        )

    def frames_received(self, connection: Connection, frames: list[bytes]) -> None:
        """See `LinkOwner`. They may wait in the inbox."""
        self._inbox.add(connection, frames)

    def _give(self, connection: Connection, frames: list[bytes]) -> None:
        self._step(Received(self._number_of[connection], frames))

    def drained(self, connection: Connection) -> None:
        """See `LinkOwner`."""
        number = self._number_of[connection]
        self._congested.discard(number)
        self._step(Drained(number, connection.queued))

    def link_lost(self, connection: Connection, reason: str) -> None:
        """See `LinkOwner`."""
        self._inbox.end(connection)
        number = self._number_of.pop(connection)
        del self._links[number]
        self._bytes_gone = (
            self._bytes_gone[0] + connection.bytes_in,
            self._bytes_gone[1] + connection.bytes_out,
        )
        _increase(self.closed, reason.partition(":")[0])
        self._congested.discard(number)
        self._step(Disconnected(number, reason, connection.garbled))
        self._check_gone()

    def link_refused(self, connection: Connection, reason: str) -> None:
        """See `LinkOwner`."""
        self._greeting.discard(connection)
        if connection.outbound:
            self._note_failure(connection.address, reason)
            self._step(DialFailed(connection.address, reason))
        else:
            self._turned_away(connection.address, reason)
        self._check_gone()

    # ---------------------------------------------------------------------------------------------- accounting

    def traffic(self, number: int) -> tuple[int, int]:
        """Bytes in and out of this link, 0 of one that is gone."""
        connection = self._links.get(number)
        return (0, 0) if connection is None else (connection.bytes_in, connection.bytes_out)

    def bytes_total(self) -> tuple[int, int]:
        """Bytes in and out of all links there have been."""
        return (
            self._bytes_gone[0] + sum(connection.bytes_in for connection in self._links.values()),
            self._bytes_gone[1] + sum(connection.bytes_out for connection in self._links.values()),
        )

    def _turned_away(self, address: str, reason: str) -> None:
        if self._count(reason) and self.running:
            self._log.info("Refused a connection from {address}: {reason}", address=address, reason=reason)

    def _note_failure(self, address: str, reason: str) -> None:
        self._count(reason)
        if self._told.get(address) != reason and self.running:
            self._told[address] = reason
            if len(self._told) > MAX_TOLD:
                del self._told[next(iter(self._told))]
            self._log.info("No link to {address}: {reason}", address=address, reason=reason)

    def _count(self, reason: str) -> bool:
        """Count it under what stands before its colon. Whether a log line about it is due: the 1st, 2nd, 4th..."""
        _increase(self.refused, reason.partition(":")[0])
        return _increase(self._reasons, reason).bit_count() == 1


def _increase(counter: Counter[str], key: str) -> int:
    """One more of this, of at most `MAX_REASONS` by name; how many there are now."""
    if key not in counter and len(counter) >= MAX_REASONS:
        key = "other"
    counter[key] += 1
    return counter[key]


def _connect_reason(failure: Failure) -> str:
    """Why there is no TCP connection, in a few words."""
    if failure.check(ConnectionRefusedError):
        return "connection refused"
    if failure.check(TimeoutError):
        return "connection timed out"
    if failure.check(DNSLookupError):
        return "unknown host"
    error = failure.value
    if isinstance(error, ConnectError) and error.osError is not None:
        return f"cannot connect: error {error.osError}"
    return f"cannot connect: {failure.type.__name__ if failure.type else 'unknown'}"
