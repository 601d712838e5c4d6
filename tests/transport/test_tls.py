"""What a finished handshake proves, and who cannot finish one."""

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from positron.core.identity import Identity
from positron.errors import RemoteError
from positron.transport.tls import ALPN, TLSIdentity, accept_certificate, key_of, prove
from tests.transport.owners import Pair, node_id, seed

NAME = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "stranger")])
SMALL_ORDER = [
    bytes([1]) + bytes(31),
    bytes(32),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
]


def certificate(public_key, signer, algorithm=None):
    """A certificate over any key, signed by any other."""
    return (
        x509.CertificateBuilder()
        .subject_name(NAME)
        .issuer_name(NAME)
        .public_key(public_key)
        .serial_number(7)
        .not_valid_before(datetime.datetime(2020, 1, 1))
        .not_valid_after(datetime.datetime(2021, 1, 1))
        .sign(signer, algorithm)
    )


def openssl(cert):
    """The certificate as OpenSSL has parsed it."""
    return crypto.load_certificate(crypto.FILETYPE_ASN1, cert.public_bytes(serialization.Encoding.DER))


@implementer(IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator)
class Stranger:
    """TLS as somebody else might configure it. Trusts everybody."""

    def __init__(self, key=None, algorithm=None, alpn=(ALPN,), newest=None):
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_verify(SSL.VERIFY_PEER, lambda *arguments: True)
        if key is not None:
            context.use_certificate(certificate(key.public_key(), key, algorithm))
            context.use_privatekey(key)
        if newest is not None:
            context.set_max_proto_version(newest)
        if alpn:
            context.set_alpn_protos(list(alpn))
            context.set_alpn_select_callback(lambda connection, offered: alpn[0])
        self.context = context

    def clientConnectionForTLS(self, protocol):
        """Dialling."""
        return SSL.Connection(self.context, None)

    serverConnectionForTLS = clientConnectionForTLS


class CertificateTests(SynchronousTestCase):
    def test_deterministic(self):
        """One seed, one certificate, whose key is the node id of the core."""
        first, second = TLSIdentity(seed(1)), TLSIdentity(seed(1))
        self.assertEqual(first.certificate, second.certificate)
        self.assertEqual(first.node_id, Identity(seed(1)).node_id)
        self.assertEqual(key_of(openssl(first.certificate)), first.node_id)
        self.assertNotEqual(first.node_id, TLSIdentity(seed(2)).node_id)

    def test_bad_seed(self):
        """Any other length is the caller's fault."""
        self.assertRaises(ValueError, TLSIdentity, bytes(31))

    def test_other_keys_are_none(self):
        """Only Ed25519 keys are node ids."""
        key = ec.generate_private_key(ec.SECP256R1())
        self.assertIsNone(key_of(openssl(certificate(key.public_key(), key, hashes.SHA256()))))


class VerifyCallbackTests(SynchronousTestCase):
    def judge(self, cert, depth=0, ok=1):
        return accept_certificate(None, cert, 18, depth, ok)

    def test_accepts_depth_zero_ed25519_only(self):
        """OpenSSL's own verdict (self-signed, expired) does not count; depth and the kind of key do."""
        ours = openssl(TLSIdentity(seed(1)).certificate)
        key = ec.generate_private_key(ec.SECP256R1())
        other = openssl(certificate(key.public_key(), key, hashes.SHA256()))
        self.assertTrue(self.judge(ours, ok=0))
        self.assertFalse(self.judge(ours, depth=1))
        self.assertFalse(self.judge(other))

    def test_never_raises(self):
        """A certificate that cannot be parsed, or whose key cannot, is refused without an exception."""

        class Unreadable:
            def get_pubkey(self):
                raise ValueError("x")

        self.assertFalse(self.judge(Unreadable()))
        self.assertFalse(self.judge(crypto.X509()))
        self.assertFalse(self.judge(None))

    @settings(deadline=None, max_examples=300)
    @given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4))
    def test_mutated_certificates(self, changes):
        """Certificates with any bytes changed, as far as OpenSSL reads them at all, are judged and never raise."""
        der = bytearray(BASE.public_bytes(serialization.Encoding.DER))
        for place, value in changes:
            der[place % len(der)] = value
        try:
            cert = crypto.load_certificate(crypto.FILETYPE_ASN1, bytes(der))
        except crypto.Error:
            return
        self.assertIn(self.judge(cert), (True, False))


BASE = TLSIdentity(seed(1)).certificate


class FakeChannel:
    """What `prove` asks of a finished OpenSSL connection."""

    def __init__(self, cert, alpn=ALPN):
        self.cert = None if cert is None else openssl(cert)
        self.alpn = alpn

    def get_alpn_proto_negotiated(self):
        return self.alpn

    def get_peer_certificate(self):
        return self.cert

    def export_keying_material(self, label, size):
        return label[:1] * size


class ProveTests(SynchronousTestCase):
    def refused(self, reason, *arguments):
        error = self.assertRaises(RemoteError, prove, FakeChannel(*arguments))
        self.assertEqual(str(error), reason)

    def test_proved(self):
        """A good channel gives the id and 32 bytes of binding."""
        self.assertEqual(prove(FakeChannel(BASE)), (node_id(1), b"E" * 32))

    def test_small_order_keys(self):
        """Keys with which anybody can sign are no identity, although OpenSSL takes them."""
        signer = Ed25519PrivateKey.from_private_bytes(seed(5))
        for point in SMALL_ORDER:
            self.refused("weak key", certificate(Ed25519PublicKey.from_public_bytes(point), signer))

    def test_other_refusals(self):
        """No ALPN, another ALPN, no certificate, another kind of key."""
        key = ec.generate_private_key(ec.SECP256R1())
        self.refused("wrong ALPN", BASE, b"")
        self.refused("wrong ALPN", BASE, b"h2")
        self.refused("bad certificate", None)
        self.refused("bad certificate", certificate(key.public_key(), key, hashes.SHA256()))


class StrangerTests(SynchronousTestCase):
    def as_client(self, **configuration):
        """The server's reason for refusing a stranger that dials and does not judge us."""
        bare = Factory.forProtocol(Protocol)
        dialler = TLSMemoryBIOFactory(Stranger(**configuration), True, bare, Clock()).buildProtocol(None)
        return self.outcome(Pair(dialler=dialler), "server")

    def as_server(self, **configuration):
        """The client's reason for refusing a stranger that it dialled."""
        return self.outcome(Pair(server_tls=Stranger(**configuration)), "client")

    def outcome(self, pair, side):
        pair.settle()
        owner = getattr(pair, side)
        self.assertEqual(owner.names(), ["refused"])
        self.assertEqual(pair.wires.leftovers(), ([], []))
        return owner.reasons("refused")[0]

    def test_the_stranger_itself_works(self):
        """With a good key and ALPN a stranger's TLS is as good as ours: the refusals below are for their reasons."""
        pair = Pair(client_tls=Stranger(Ed25519PrivateKey.from_private_bytes(seed(4)))).settle()
        self.assertEqual(pair.server.connection.node_id, node_id(4))

    def test_no_certificate(self):
        """A client without a certificate."""
        self.assertEqual(self.as_client(), "TLS failure: peer did not return a certificate")

    def test_rsa(self):
        """An RSA key, on either side."""
        key = rsa.generate_private_key(65537, 2048)
        for outcome in (self.as_client, self.as_server):
            self.assertEqual(
                outcome(key=key, algorithm=hashes.SHA256()), "TLS failure: certificate verify failed"
            )

    def test_ecdsa(self):
        """Another curve, on either side."""
        key = ec.generate_private_key(ec.SECP256R1())
        for outcome in (self.as_client, self.as_server):
            self.assertEqual(
                outcome(key=key, algorithm=hashes.SHA256()), "TLS failure: certificate verify failed"
            )

    def test_alpn(self):
        """No ALPN, another one, or a server that ignores ours: OpenSSL completes the handshake, we do not."""
        key = Ed25519PrivateKey.from_private_bytes(seed(4))
        self.assertEqual(self.as_client(key=key, alpn=()), "wrong ALPN")
        self.assertEqual(self.as_client(key=key, alpn=(b"h2",)), "wrong ALPN")
        self.assertEqual(self.as_server(key=key, alpn=()), "wrong ALPN")

    def test_tls12(self):
        """TLS 1.2 is not spoken, on either side."""
        key = Ed25519PrivateKey.from_private_bytes(seed(4))
        for outcome in (self.as_client, self.as_server):
            self.assertRegex(outcome(key=key, newest=SSL.TLS1_2_VERSION), "^TLS failure: .*protocol")
