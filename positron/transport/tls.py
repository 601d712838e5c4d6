"""The identity as a TLS certificate, and what a finished handshake proves.

Rule: whoever completes the handshake holds the Ed25519 key that is its node id, or is no peer. There is no authority,
no name, no expiry, no resumption and no version but TLS 1.3; nothing here looks at any part of a certificate except
its key. TLS proves the key by its CertificateVerify message, so the certificate's own signature is of no interest.

OpenSSL accepts Ed25519 keys of small order, with which anybody can sign, so `prove` asks libsodium about the point.
"""

from __future__ import annotations

import datetime
import typing

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Protocol
from zope.interface import implementer

from positron.core import identity
from positron.errors import RemoteError

ALPN = b"positron/1"
"""Names the framing; the version of the messages is HELLO's."""
BINDING_LABEL = b"EXPORTER-positron"
BINDING_SIZE = 32

_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "positron")])
_FROM = datetime.datetime(2000, 1, 1)
_UNTIL = datetime.datetime(9999, 12, 31, 23, 59, 59)


@implementer(IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator)
class TLSIdentity:
    """Both sides' TLS configuration for one key: give it to `ChannelFactory`, as client or server.

    `seed` is the 32-byte Ed25519 seed (ValueError otherwise). The certificate is the same each time it is made from
    the same seed. One OpenSSL context serves every connection, so it is complete before the first.
    """

    def __init__(self, seed: bytes) -> None:
        key = Ed25519PrivateKey.from_private_bytes(seed)
        self.node_id: bytes = key.public_key().public_bytes_raw()
        self.certificate: x509.Certificate = _certificate(key)
        self._context = _context(key, self.certificate)

    def clientConnectionForTLS(self, tlsProtocol: Protocol) -> SSL.Connection:
        """A fresh OpenSSL connection that will dial; Twisted sets the direction."""
        return SSL.Connection(self._context, None)

    def serverConnectionForTLS(self, tlsProtocol: Protocol) -> SSL.Connection:
        """A fresh OpenSSL connection that was dialled; Twisted sets the direction."""
        return SSL.Connection(self._context, None)


def prove(channel: SSL.Connection) -> tuple[bytes, bytes]:
    """What a completed handshake proved: the peer's node id, and the binding (32 bytes, equal on both sides).

    RemoteError whose text is the reason: `wrong ALPN`, `bad certificate`, `weak key`.
    """
    # OpenSSL completes a handshake in which no protocol was agreed on: it must be asked for.
    if channel.get_alpn_proto_negotiated() != ALPN:
        raise RemoteError("wrong ALPN")
    certificate = channel.get_peer_certificate()
    node_id = None if certificate is None else key_of(certificate)
    if node_id is None:
        raise RemoteError("bad certificate")
    if not identity.is_valid_node_id(node_id):
        raise RemoteError("weak key")
    return node_id, channel.export_keying_material(BINDING_LABEL, BINDING_SIZE)


def key_of(certificate: crypto.X509) -> bytes | None:
    """The 32 bytes of a certificate's Ed25519 key, None if its key is of another kind or cannot be read.

    OpenSSL has parsed the certificate already; no second parser sees more of it than the key.
    """
    try:
        key = certificate.get_pubkey().to_cryptography_key()
    except Exception:
        # There is no closed set of what two libraries raise for a stranger's bytes. Whatever it is, there is no
        # key to be had, and nothing a peer sends may raise from here.
        return None
    return key.public_bytes_raw() if isinstance(key, Ed25519PublicKey) else None


def accept_certificate(
    connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int
) -> bool:
    """OpenSSL's verify callback: any certificate that stands alone and has an Ed25519 key. It never raises.

    An exception here would pass through `do_handshake` and Twisted, which catches OpenSSL's errors only, up to the
    reactor.
    """
    return depth == 0 and key_of(certificate) is not None


def _certificate(key: Ed25519PrivateKey) -> x509.Certificate:
    builder = x509.CertificateBuilder(
        issuer_name=_NAME,
        subject_name=_NAME,
        public_key=key.public_key(),
        serial_number=1,
        not_valid_before=_FROM,
        not_valid_after=_UNTIL,
    )
    return builder.sign(key, None)


def _context(key: Ed25519PrivateKey, certificate: x509.Certificate) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_max_proto_version(SSL.TLS1_3_VERSION)
    context.use_certificate(certificate)
    context.use_privatekey(key)
    context.check_privatekey()
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, accept_certificate)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_options(SSL.OP_NO_TICKET)
    # An idle link then holds no buffers: 37 KiB instead of 70 (research: limits, section 4).
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_alpn_protos([ALPN])
    context.set_alpn_select_callback(_select_protocol)
    return context


def _select_protocol(connection: SSL.Connection, offered: list[bytes]) -> typing.Any:
    """Ours, or pyOpenSSL's unnamed mark that nothing fits, upon which the handshake goes on without (see `prove`)."""
    return ALPN if ALPN in offered else SSL.NO_OVERLAPPING_PROTOCOLS
