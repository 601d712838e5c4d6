"""A blocking HTTP client for tests, run in a thread, and the control service over a fake node."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
from http.client import HTTPConnection

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from positron.config import Config
from positron.control import ControlService
from tests.control.fake import FakeNode

TIMEOUT = 10


class Reply:
    """A whole reply."""

    def __init__(self, response) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    def json(self):
        return json.loads(self.body)


class UnixConnection(HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(self.path)


def exchange(connection: HTTPConnection, method: str, target: str, body=None, headers=None) -> Reply:
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    try:
        connection.request(method, target, data, headers or {})
        return Reply(connection.getresponse())
    finally:
        connection.close()


class Reader:
    """A stream that is read line by line, off the reactor's thread."""

    def __init__(self, path: str, target: str, headers: dict[str, str] | None = None) -> None:
        self.connection = UnixConnection(path)
        self.target, self.headers = target, headers or {}
        self.response = None

    def open(self) -> Deferred:
        def run():
            self.connection.request("GET", self.target, headers=self.headers)
            self.response = self.connection.getresponse()
            assert self.response.readline() == b": open\n"
            assert self.response.readline() == b"\n"
            return self.response

        return deferToThread(run)

    def events(self, number: int) -> Deferred:
        """The next events, as (id, event, data)."""
        return deferToThread(lambda: [self._event() for _ in range(number)])

    def _event(self):
        fields = {}
        while line := self.response.readline().decode().rstrip("\n"):
            name, _, value = line.partition(": ")
            fields[name] = value
        return fields.get("id"), fields["event"], json.loads(fields["data"])

    def rest(self) -> Deferred:
        """Whatever comes until the end."""
        return deferToThread(lambda: self.response.read())

    def close(self) -> None:
        self.connection.close()
        if self.response is not None:
            self.response.close()


class ControlCase(TestCase):
    """A running control service over a fake node; `options` are added to its configuration."""

    options: dict = {}

    def setUp(self):
        self.folder = tempfile.mkdtemp()  # short: a socket's path has 107 bytes at most
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = os.path.join(self.folder, "control.sock")
        self.node = FakeNode(Config(data_dir=self.folder, **self.options))
        self.control = ControlService(reactor, self.node, self.node.config, wall=lambda: 1234.5)
        self.addCleanup(lambda: self.control.stop())
        return self.control.start()

    def ask(self, method: str, target: str, body=None, headers=None) -> Deferred:
        return deferToThread(exchange, UnixConnection(self.path), method, target, body, headers)

    def ask_tcp(self, method: str, target: str, body=None, headers=None) -> Deferred:
        host, _, port = self.control.http_address.rpartition(":")
        return deferToThread(
            exchange, HTTPConnection(host, int(port), timeout=TIMEOUT), method, target, body, headers
        )

    def reader(self, target: str, headers=None) -> Reader:
        reader = Reader(self.path, target, headers)
        self.addCleanup(reader.close)
        return reader
