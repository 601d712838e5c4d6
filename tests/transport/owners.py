"""An owner of connections that notes what it hears, and two nodes joined by a pipe."""

from __future__ import annotations

from twisted.internet.address import IPv4Address

from positron.core.identity import Identity
from positron.transport import AdmissionFactory, ChannelFactory, ConnectionFactory, TLSIdentity, dial
from tests.transport.memory_pipe import PipeEndpoint, Wires


class Owner:
    """Keeps every call in order as (name, connection, ...)."""

    def __init__(self) -> None:
        self.calls = []
        self.frames = []
        self.on_frames = None

    def link_connected(self, connection):
        self.calls.append(("connected", connection))

    def frames_received(self, connection, frames):
        self.calls.append(("frames", connection, frames))
        self.frames += frames
        if self.on_frames is not None:
            self.on_frames(connection, frames)

    def link_lost(self, connection, reason):
        self.calls.append(("lost", connection, reason))

    def link_refused(self, connection, reason):
        self.calls.append(("refused", connection, reason))

    def drained(self, connection):
        self.calls.append(("drained", connection))

    def names(self):
        """The calls without their arguments."""
        return [call[0] for call in self.calls]

    def reasons(self, name):
        """The reasons of every `lost` or `refused`."""
        return [call[2] for call in self.calls if call[0] == name]

    @property
    def connection(self):
        """The one connection that was greeted."""
        (found,) = [call[1] for call in self.calls if call[0] == "connected"]
        return found


class Numbers:
    """Limits of admission, none unless said."""

    def __init__(self, **numbers):
        for name in ("handshakes_all", "handshakes_address", "half_open_all", "half_open_address"):
            setattr(self, name, numbers.pop(name, None))
        self.inbound_address = numbers.pop("inbound_address", None)
        self.inbound_group = numbers.pop("inbound_group", None)
        assert not numbers


def seed(number):
    """A seed that differs by number."""
    return bytes([number]) * 32


def node_id(number):
    """The node id of that seed."""
    return Identity(seed(number)).node_id


class Pair:
    """Client 1, or any protocol `dialler`, dials server 2 over a pipe. `client` and `server` are the owners."""

    def __init__(
        self, expected=None, client_tls=None, server_tls=None, client=None, server=None, dialler=None
    ):
        self.wires = Wires()
        self.client = client or Owner()
        self.server = server or Owner()
        self.client_tls = client_tls or TLSIdentity(seed(1))
        self.server_tls = server_tls or TLSIdentity(seed(2))
        self.listening = ChannelFactory(
            self.server_tls,
            ConnectionFactory(self.server, self.wires.clock, outbound=False),
            self.wires.clock,
            outbound=False,
        )
        if dialler is not None:
            self.wires.connect(dialler, self.listening.buildProtocol(None))
        else:
            endpoint = PipeEndpoint(self.wires, self.listening)
            self.dialled = dial(
                self.wires.clock, endpoint, self.client_tls, self.client, "10.0.0.2:8888", expected
            )
        self.near, self.far = self.wires.ends

    def settle(self):
        """Let everything happen that needs no time."""
        self.wires.settle()
        return self

    def establish(self):
        """Both sides shake hands and call it established."""
        self.settle()
        self.client.connection.established()
        self.server.connection.established()
        return self


class Entrance:
    """An `AdmissionFactory` on a pipe, and visitors who come through it."""

    def __init__(self, group_of=lambda ip: ip.rsplit(".", 2)[0], tried=lambda ip: False, **numbers):
        self.wires = Wires()
        self.owner = Owner()
        self.refused = []
        self.limits = Numbers(**numbers)
        self.factory = AdmissionFactory(
            self.owner,
            self.wires.clock,
            TLSIdentity(seed(2)),
            limits=self.limits,
            group_of=group_of,
            tried=tried,
            refused=lambda address, reason: self.refused.append((address, reason)),
        )
        self.guests = 0

    def knock(self, protocol, host="10.0.0.1"):
        """A bare socket from `host`; returns its end, None if it was refused at once."""
        self.guests += 1
        address = IPv4Address("TCP", host, 40000 + self.guests)
        gate = self.factory.buildProtocol(address)
        if gate is None:
            return None
        return self.wires.connect(protocol, gate, client_address=address)[0]

    def visit(self, number, host="10.0.0.1"):
        """A node with that seed dials in from `host`; returns its owner."""
        owner = Owner()
        dial(
            self.wires.clock,
            PipeEndpoint(self.wires, self.factory, client_host=host),
            TLSIdentity(seed(number)),
            owner,
            "10.0.0.2:8888",
        )
        return owner

    def reasons(self):
        """Why visitors were refused before TLS."""
        return [reason for _, reason in self.refused]
