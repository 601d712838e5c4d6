"""The places a node listens on: bound before anything else is open, and closed to visitors until the node is ready."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.interfaces import IAddress, IListeningPort, IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.tcp import Port
from twisted.python.failure import Failure

from positron.core.addresses import is_dialable
from positron.transport import AdmissionFactory, address_text
from positron.transport.gate import Gate


class Listening(Factory):
    """The factory of every port of a node. Until `admission` is set, Twisted's port closes what comes in."""

    noisy = False

    def __init__(self) -> None:
        self.admission: AdmissionFactory | None = None
        self._ports: list[IListeningPort] = []

    def buildProtocol(self, addr: IAddress | None) -> Gate | None:
        """A visitor: let the admission judge it."""
        return None if self.admission is None else self.admission.buildProtocol(addr)

    @property
    def bound(self) -> bool:
        """Whether it listens."""
        return bool(self._ports)

    @property
    def addresses(self) -> list[str]:
        """Where it listens, with the real ports."""
        return [address_text(port.getHost()) for port in self._ports]

    @property
    def port(self) -> int:
        """The first port number, 0 if what is listened on has none."""
        return next(
            (port for port in (getattr(each.getHost(), "port", 0) for each in self._ports) if port), 0
        )

    @property
    def reachable(self) -> tuple[str, ...]:
        """Those of `addresses` that others can dial: no wildcard."""
        return tuple(address for address in self.addresses if is_dialable(address))

    def bind(self, endpoints: Iterable[IStreamServerEndpoint]) -> None:
        """Listen on all of them, or on none and raise why (`CannotListenError`)."""
        for endpoint in endpoints:
            outcome: list[IListeningPort | Failure] = []
            endpoint.listen(self).addBoth(outcome.append)
            if outcome and not isinstance(outcome[0], Failure):
                self._ports.append(outcome[0])
                continue
            self.close()
            if outcome and isinstance(outcome[0], Failure):
                outcome[0].raiseException()
            raise ValueError("an endpoint that does not bind at once cannot be used")

    def close(self) -> Deferred[None]:
        """Listen no more. Fires when every port is closed."""
        ports, self._ports = self._ports, []
        return gatherResults([stop_listening(port) for port in ports]).addCallback(_done)


def stop_listening(port: IListeningPort) -> Deferred[None]:
    """Close this port. Fires when it is closed, also where a UNIX socket's file was taken away meanwhile."""
    return maybeDeferred(port.stopListening).addCallbacks(_done, _close_without_file, errbackArgs=(port,))


def _close_without_file(failure: Failure, port: IListeningPort) -> None:
    """Twisted removes the file first, and if it cannot, closes nothing."""
    failure.trap(OSError)
    if isinstance(port, Port) and port.connected:
        Port.connectionLost(port, failure)


def _done(_: object) -> None:
    return None
