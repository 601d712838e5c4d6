"""HTTP over the control socket, with nothing but the standard library."""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any
from urllib.parse import quote, urlencode

from positron.cli.failures import CommandFailed

MAX_SOCKET_PATH = 103
"""Bytes that every platform takes; a node moves its socket to a shorter path before that."""
START_HINT = "start one with `positron start`"


class _UnixConnection(HTTPConnection):
    """An HTTP connection to a socket file."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Open the socket."""
        if len(os.fsencode(self._path)) > MAX_SOCKET_PATH:
            raise FileNotFoundError(
                self._path
            )  # no node has bound it; the system would call it a usage error
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def part(text: str) -> str:
    """`text` as one part of a path."""
    return quote(text, safe="")


class Client:
    """One node's control API. Every failure is a `CommandFailed` whose word says the exit code."""

    def __init__(self, path: str, timeout: float) -> None:
        self.path = path
        self.timeout = timeout
        self._connection = _UnixConnection(path, timeout)

    def get(self, path: str, **query: object) -> dict[str, Any]:
        """What GET answers."""
        return self._ask("GET", f"{path}?{urlencode(query)}" if query else path, None)

    def post(
        self, path: str, body: Mapping[str, Any] | None = None, timeout: float | None = None
    ) -> dict[str, Any]:
        """What POST answers. `timeout` replaces the client's own for an answer that may take longer."""
        return self._ask("POST", path, json.dumps(body or {}).encode("ascii"), timeout)

    def close(self) -> None:
        """Close the connection; the next question opens a new one."""
        self._connection.close()

    def process_id(self) -> int | None:
        """The process that listens, where the platform tells (Linux) and a question was asked before."""
        option = getattr(socket, "SO_PEERCRED", None)
        if option is None or self._connection.sock is None:
            return None
        process, _, _ = struct.unpack("3i", self._connection.sock.getsockopt(socket.SOL_SOCKET, option, 12))
        return int(process) or None

    def _ask(
        self, method: str, target: str, body: bytes | None, timeout: float | None = None
    ) -> dict[str, Any]:
        connection = self._connection
        try:
            if connection.sock is None:
                connection.connect()
            connection.sock.settimeout(self.timeout if timeout is None else timeout)
            connection.request(method, target, body)
            response = connection.getresponse()
            content = response.read()
        except (OSError, HTTPException) as error:
            connection.close()
            raise self._failed(error) from None
        return self._judge(response.status, content)

    def _judge(self, status: int, content: bytes) -> dict[str, Any]:
        """The JSON object of a good reply; the error in a bad one, raised."""
        try:
            reply = json.loads(content)
            if status == 200:
                return dict(reply)
            error = reply["error"]
            raise CommandFailed(str(error["code"]), str(error["message"]), str(error["hint"]))
        except (ValueError, TypeError, KeyError):
            raise CommandFailed(
                "error", f"{self.path} answered {status}, but not as a node does", "see --socket"
            ) from None

    def _failed(self, error: Exception) -> CommandFailed:
        """Why nothing came back, as a person calls it."""
        if isinstance(error, TimeoutError):
            return CommandFailed(
                "timeout", "the node did not answer in time", "it may be busy; see --timeout"
            )
        if isinstance(error, PermissionError):
            return CommandFailed(
                "permission", f"{self.path} belongs to another user", "run this as the node's user"
            )
        if isinstance(error, FileNotFoundError | ConnectionRefusedError):
            return CommandFailed("no_node", f"no node runs at {self.path}", START_HINT)
        if isinstance(error, ConnectionError | HTTPException):
            return CommandFailed("no_node", "the node ended the connection", "its log says why")
        return CommandFailed("error", f"{self.path}: {error}", "see --socket and --data-dir")

    def stream(self, target: str, timeout: float | None = None) -> Stream:
        """Open a stream of server-sent events. What happens after this returned is in it.

        `timeout` is for the whole stream, in seconds; None is for ever.
        """
        connection = _UnixConnection(self.path, self.timeout)
        try:
            connection.request("GET", target)
            response = connection.getresponse()
            if response.status != 200:
                self._judge(response.status, response.read())
            response.readline()  # a comment: the subscription stands
        except (OSError, HTTPException) as error:
            connection.close()
            raise self._failed(error) from None
        return Stream(connection, response, timeout)


class Stream:
    """The events of an open stream."""

    def __init__(self, connection: HTTPConnection, response: HTTPResponse, timeout: float | None) -> None:
        self._socket = connection.sock
        self._response = response
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self.timed_out = False
        """Whether iterating ended because the time was over, not because the node ended the stream."""

    def __iter__(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Event, id and data of each, until the time is over or the node ends the stream."""
        fields: dict[str, str] = {}
        while line := self._line():
            name, _, value = line.decode("utf-8").rstrip("\n").partition(": ")
            if name:
                fields[name] = value
            elif "data" in fields:
                yield fields.get("event", "message"), fields.get("id", ""), json.loads(fields["data"])
                fields = {}

    def _line(self) -> bytes:
        """The next line; empty at the end."""
        remaining = None if self._deadline is None else self._deadline - time.monotonic()
        try:
            if remaining is not None and remaining <= 0:
                raise TimeoutError
            self._socket.settimeout(remaining)
            return self._response.readline()
        except TimeoutError:
            self.timed_out = True
            return b""
        except (OSError, HTTPException):
            return b""
