"""Real `twistd positron` processes, and one listener that hears what all of them deliver.

Everything here talks to a node as any program would: by its command line, its control socket and its log.
"""

from __future__ import annotations

import http.client
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
STEP = 0.05
"""Seconds between two looks at something that is waited for."""


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a UNIX socket."""

    def __init__(self, path: str, timeout: float = 30.0) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket instead of a host."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def wait_for(what: str, holds: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Look until it holds; what it said. AssertionError after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        found = holds()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(STEP)


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on there, a moment ago."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


class Process:
    """One node. Its data folder outlives it, so `start` after `kill` is a restart."""

    program = (str(BIN / "twistd"), "-n", "positron")

    def __init__(self, root: Path, name: str, *options: str, host: str = "127.0.0.1", port: int = 0) -> None:
        self.name = name
        self.host = host
        self.port = port or free_port(host)
        self.data_dir = root / name
        self.log_path = root / f"{name}.log"
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None
        self._root = root

    @property
    def address(self) -> str:
        """Where others dial it."""
        return f"{self.host}:{self.port}"

    def start(self, *more: str) -> Process:
        """Start it in the foreground, as a child of ours."""
        command = [*self.program, "--host", self.host, "--port", str(self.port)]
        command += ["--data-dir", str(self.data_dir), *self.options, *more]
        environment = {**os.environ, "XDG_RUNTIME_DIR": str(self._root), "HOME": str(self._root)}
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=self._root,
                env=environment,
            )
        return self

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill it with -9 and reap it."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def wait(self, seconds: float = 10.0) -> int:
        """Its exit code, once it ended."""
        assert self.process is not None
        return self.process.wait(seconds)

    def stop(self) -> int:
        """End it in good order; its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def log(self) -> str:
        """What it logged so far."""
        return self.log_path.read_text() if self.log_path.exists() else ""

    def socket_path(self) -> str:
        """Its control socket."""
        return str(self.data_dir / "control.sock")

    def ask(self, method: str, path: str, body: Any = None, timeout: float = 30.0) -> dict[str, Any]:
        """One request to its control API; the reply's JSON, an error's too."""
        connection = UnixConnection(self.socket_path(), timeout)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"content-type": "application/json"})
            reply: dict[str, Any] = json.loads(connection.getresponse().read())
            return reply
        finally:
            connection.close()

    def status(self) -> dict[str, Any] | None:
        """Its status, or None while it does not answer."""
        try:
            return self.ask("GET", "/v1/status")
        except (OSError, http.client.HTTPException):
            return None

    def ready(self, seconds: float = 30.0) -> Process:
        """Wait until it is ready."""

        def is_ready() -> bool:
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(f"{self.name} ended with {self.process.returncode}:\n{self.log()}")
            status = self.status()
            return bool(status and status["ready"])

        wait_for(f"{self.name} is ready", is_ready, seconds)
        return self

    def up(self) -> int:
        """How many peers it is linked to."""
        status = self.status()
        return status["peers"]["up"] if status else 0

    def peer_ids(self) -> set[str]:
        """Whom it is linked to."""
        return {peer["node_id"] for peer in self.ask("GET", "/v1/peers")["peers"]}

    @property
    def node_id(self) -> str:
        """Its id."""
        status = self.status()
        assert status is not None
        node_id: str = status["node_id"]
        return node_id

    def publish(self, topic: str, data: Any) -> dict[str, Any]:
        """Publish on it; the reply."""
        return self.ask("POST", "/v1/publish", {"topic": topic, "data": data})

    def memory(self) -> int:
        """Its resident memory, bytes."""
        assert self.process is not None
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def cpu(self) -> float:
        """Its CPU seconds so far."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def descriptors(self) -> int:
        """How many files and sockets it has open."""
        assert self.process is not None
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def logs(self, text: str, seconds: float = 10.0) -> None:
        """Wait until this is in its log."""
        wait_for(f"{self.name} logs {text!r}", lambda: text in self.log(), seconds)


class Listener:
    """Subscribes to a topic on many nodes and collects what each of them delivers, in order."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._buffers: dict[str, bytes] = {}
        self.heard: dict[str, list[dict[str, Any]]] = {}

    def subscribe(self, node: Process, query: str = "topic=%23") -> None:
        """Hear what `node` delivers; returns once its stream is open."""
        connection = UnixConnection(node.socket_path())
        connection.connect()
        sock = connection.sock
        # HTTP/1.0, so that the stream comes as it is and not in chunks.
        sock.sendall(f"GET /v1/stream?{query} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        head = b""
        while b": open\n\n" not in head:
            chunk = sock.recv(65536)
            assert chunk, f"no stream from {node.name}: {head!r}"
            head += chunk
        sock.setblocking(False)
        self._buffers[node.name] = b""
        self.heard.setdefault(node.name, [])
        self._take(node.name, head.partition(b": open\n\n")[2])
        self._selector.register(sock, selectors.EVENT_READ, node.name)

    def pump(self, seconds: float) -> None:
        """Read what is there, waiting at most so long for the first byte."""
        for key, _ in self._selector.select(seconds):
            try:
                chunk = key.fileobj.recv(1 << 20)  # type: ignore[union-attr]
            except OSError:
                chunk = b""
            if not chunk:
                self._selector.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]
                continue
            self._take(key.data, chunk)

    def _take(self, name: str, chunk: bytes) -> None:
        *events, self._buffers[name] = (self._buffers[name] + chunk).replace(b"\r", b"").split(b"\n\n")
        for event in events:
            kind, text = "", ""
            for line in event.split(b"\n"):
                if line.startswith(b"event: "):
                    kind = line[7:].decode()
                elif line.startswith(b"data: "):
                    text = line[6:].decode()
            if kind in ("message", "direct"):
                self.heard[name].append(json.loads(text))

    def until(self, what: str, holds: Callable[[], bool], seconds: float) -> None:
        """Read until it holds."""
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                counts = {name: len(messages) for name, messages in self.heard.items()}
                raise AssertionError(f"not within {seconds} s: {what}; heard {counts}")
            self.pump(STEP)

    def close(self) -> None:
        """Close every stream."""
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()


class Fleet:
    """All the processes of one test, ended with it, and no traceback in any of their logs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.nodes: list[Process] = []
        self.listener = Listener()

    def node(self, *options: str, host: str = "127.0.0.1", port: int = 0) -> Process:
        """A new node, not started."""
        node = Process(self.root, f"n{len(self.nodes) + 1}", *options, host=host, port=port)
        self.nodes.append(node)
        return node

    def close(self) -> None:
        """End them all; AssertionError if one logged a traceback."""
        self.listener.close()
        for node in self.nodes:
            if node.process is not None and node.process.poll() is None:
                node.signal(signal.SIGCONT)
                node.kill()
        for node in self.nodes:
            assert "Traceback" not in node.log(), f"{node.name}:\n{node.log()[-4000:]}"
