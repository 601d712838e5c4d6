"""Clients that do not keep to the protocol, made with Python's own `ssl` and sockets."""

from __future__ import annotations

import contextlib
import datetime
import socket
import ssl
import tempfile
import time
from hashlib import blake2b
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from positron.core.envelope import network_id_of
from positron.core.messages import Hello, Message, decode, encode

PATIENCE = 20.0
"""Seconds a client waits for the other side to hang up."""
_NAME = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "stranger")])


def ed25519_key(word: str) -> Ed25519PrivateKey:
    """The same key for the same word."""
    return Ed25519PrivateKey.from_private_bytes(blake2b(word.encode(), digest_size=32).digest())


def rsa_key() -> rsa.RSAPrivateKey:
    """A fresh RSA key."""
    return rsa.generate_private_key(65537, 2048)


def tls(key: Any = None, *, alpn: str = "positron/1", newest: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """A client's configuration; it trusts everybody. No key: no certificate; empty `alpn`: none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if newest is not None:
        context.maximum_version = newest
    if alpn:
        context.set_alpn_protocols([alpn])
    if key is not None:
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:
            file.write(_pem(key))
            file.flush()
            context.load_cert_chain(file.name)
    return context


def _pem(key: Any) -> bytes:
    algorithm = hashes.SHA256() if isinstance(key, rsa.RSAPrivateKey) else None
    begun = datetime.datetime(2020, 1, 1)
    builder = x509.CertificateBuilder(_NAME, _NAME, key.public_key(), 7, begun, begun.replace(year=2090))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.PEM) + bytes(private)


def connect(address: str) -> socket.socket:
    """A plain connection."""
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), PATIENCE)


def read_to_end(sock: socket.socket) -> bytes:
    """Everything until the other side hangs up, however it does. TimeoutError if it does not."""
    heard = b""
    with contextlib.suppress(ssl.SSLError, ConnectionError):
        while chunk := sock.recv(65536):
            heard += chunk
    return heard


def framed(body: bytes) -> bytes:
    """A frame with its length."""
    return len(body).to_bytes(4, "big") + body


def hello(network: str = "positron") -> bytes:
    """A correct HELLO, framed."""
    wall_ms = int(time.time() * 1000)
    return framed(
        encode(Hello(1, 1, network_id_of(network), "hostile", wall_ms, 0, (), wall_ms, "127.0.0.1:1"))
    )


class Client:
    """One TLS connection as a context manager, made by anybody's rules."""

    def __init__(self, address: str, context: ssl.SSLContext) -> None:
        self.heard: list[Message | None] = []
        self._begun = time.monotonic()
        self._buffer = b""
        self._channel = context.wrap_socket(connect(address))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def say(self, *said: bytes) -> None:
        """Send this."""
        self._channel.sendall(b"".join(said))

    def hear(self, count: int) -> list[Message | None]:
        """The first messages that came, once there are so many."""
        while len(self.heard) < count:
            chunk = self._channel.recv(65536)
            assert chunk, f"hung up after {self.heard}"
            self._take(chunk)
        return self.heard

    def wait(self) -> float:
        """Listen until the other side hangs up; the seconds since the connection was asked for."""
        self._take(read_to_end(self._channel))
        return time.monotonic() - self._begun

    def _take(self, chunk: bytes) -> None:
        self._buffer += chunk
        while len(self._buffer) >= 4 and len(self._buffer) >= 4 + (
            size := int.from_bytes(self._buffer[:4], "big")
        ):
            self.heard.append(decode(self._buffer[4 : 4 + size]))
            self._buffer = self._buffer[4 + size :]


def talk(address: str, context: ssl.SSLContext, *said: bytes) -> tuple[list[Message | None], float]:
    """Shake hands, say this, and listen until the end: the messages heard, and the seconds it took in all.

    Nothing is heard if the handshake fails, on either side.
    """
    begun = time.monotonic()
    heard: list[Message | None] = []
    with contextlib.suppress(ssl.SSLError, ConnectionError), Client(address, context) as client:
        heard = client.heard
        client.say(*said)
        client.wait()
    return heard, time.monotonic() - begun
