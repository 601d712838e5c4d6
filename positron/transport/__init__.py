"""The wire under Twisted: mutual TLS between identities, frames, timers, back-pressure, admission.

Rule: no global reactor (a clock or reactor is always handed in), and nothing a peer sends raises. What the frames
say is the core's business; this folder knows only where one ends and the next begins.

The map, from the ground up:

- `tls`         the identity as a certificate; what a finished handshake proves
- `frames`      bytes to frames
- `send_queue`  what waits to be written, and what is dropped first
- `timers`      a connection's timers, by name
- `connection`  `Connection`: one link, and `LinkOwner`, who hears of it
- `channel`     Twisted's TLS around a `Connection`, and the only place that builds it
- `dialling`    `dial`
- `turns`       whose handshake is next
- `gate`        a socket from accept to TLS
- `admission`   `AdmissionFactory`: who may come in at all
"""

from positron.transport.admission import AdmissionFactory, AdmissionLimits
from positron.transport.channel import ChannelFactory
from positron.transport.connection import (
    HIGH_WATER,
    LOW_WATER,
    Connection,
    ConnectionFactory,
    LinkOwner,
    address_text,
)
from positron.transport.dialling import dial
from positron.transport.frames import MAX_FRAME
from positron.transport.send_queue import ANNOUNCEMENT, CONTROL, PAYLOAD, QUEUE_LIMIT
from positron.transport.tls import ALPN, TLSIdentity

__all__ = [
    "ALPN",
    "ANNOUNCEMENT",
    "CONTROL",
    "HIGH_WATER",
    "LOW_WATER",
    "MAX_FRAME",
    "PAYLOAD",
    "QUEUE_LIMIT",
    "AdmissionFactory",
    "AdmissionLimits",
    "ChannelFactory",
    "Connection",
    "ConnectionFactory",
    "LinkOwner",
    "TLSIdentity",
    "address_text",
    "dial",
]
