"""stop, doctor on a running node, start's arguments, and servers that are no node."""

import json
import os
import socket
import subprocess
import sys
import threading

from twisted.internet.defer import inlineCallbacks
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from positron.cli import launching
from positron.store.folder import DataFolder, is_held
from tests.cli.running import CommandCase, clean, run
from tests.cli.test_process import PROGRAM
from tests.control.fake import ME


class StopTests(CommandCase):
    def setUp(self):
        self.patch(launching, "EXIT_SECONDS", 0)  # the process that listens is this one
        return super().setUp()

    @inlineCallbacks
    def test_stop(self):
        """The command ends with 0 once the node is gone, and not before its folder is free."""
        folder = DataFolder(self.folder)
        folder.lock()
        stopping, looked = [], []

        def look(data_dir):
            looked.append(data_dir)
            return is_held(data_dir)

        self.patch(launching, "_held", look)
        self.node.on_leave = lambda: stopping.append(self.control.stop())
        running = self.command("stop")
        while not stopping:
            yield deferToThread(lambda: None)
        yield stopping[0]
        while len(looked) < 2 and not running.called:
            yield deferToThread(lambda: None)
        self.assertNoResult(running)
        folder.unlock()
        result = yield running
        self.assertEqual((result.code, result.out, result.err), (0, "", "stopped\n"))
        self.assertEqual(self.node.calls, [("leave",)])

    @inlineCallbacks
    def test_stop_in_json(self):
        """--json gives an object here, too."""
        self.node.on_leave = self.control.stop
        result = yield self.command("stop", "--json")
        self.assertEqual((result.code, result.json(), result.err), (0, {"schema": 1, "stopped": True}, ""))

    @inlineCallbacks
    def test_does_not_stop(self):
        """A node that does not leave in time is 4."""
        result = yield self.command("stop", "--timeout", "0.3")
        self.assertEqual((result.code, result.out), (4, ""))
        self.assertIn("has not left within 0.3 s", result.err)

    @inlineCallbacks
    def test_nothing_to_stop(self):
        """Without a node there is nothing to stop: 3."""
        yield self.control.stop()
        result = yield self.command("stop")
        self.assertEqual(result.code, 3)

    @inlineCallbacks
    def test_doctor(self):
        """A running node's links, clock and socket are looked at; one without links is a finding."""
        result = yield self.command("--data-dir", self.folder, "doctor", "--json")
        found = {check["check"]: check["result"] for check in result.json()["checks"]}
        expected = dict.fromkeys(("config", "folder", "key", "node", "socket", "links", "clock"), "ok")
        self.assertEqual((result.code, found), (0, expected))
        os.chmod(self.path, 0o666)
        status = self.node.status()
        self.node.status = lambda: {
            **status,
            "peers": {**status["peers"], "up": 0},
            "clock_skew_seconds": -11.0,
        }
        wrong = yield self.command("--data-dir", self.folder, "doctor", "--json")
        found = {check["check"]: check["result"] for check in wrong.json()["checks"]}
        self.assertEqual(
            (wrong.code, found), (1, {**expected, **dict.fromkeys(("socket", "links", "clock"), "wrong")})
        )


class StartTests(SynchronousTestCase):
    def test_becomes_twistd(self):
        """`start` is `twistd -n positron` with the same options: its complaint and its exit code are those."""
        clean(self)
        folder = self.mktemp()
        for arguments in (["start", "--port", "notaport"], ["--data-dir", folder, "start", "--fanout", "99"]):
            done = subprocess.run(
                [*PROGRAM, *arguments],
                capture_output=True,
                text=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                check=False,
            )
            self.assertEqual((arguments, done.returncode, done.stdout), (arguments, 2, ""))
            self.assertRegex(done.stderr, r"^positron: (port|fanout): .*\n$")
        self.assertFalse(os.path.exists(folder))


class Impostor:
    """A server at a socket that answers every question with the same bytes, or not at all."""

    def __init__(self, path: str, answer: bytes | None) -> None:
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(path)
        self.server.listen()
        self.answer = answer
        self.held = []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            client.recv(65536)
            if self.answer is None:
                self.held.append(client)
            else:
                client.sendall(self.answer)
                client.close()

    def close(self) -> None:
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
        for client in self.held:
            client.close()


class ImpostorTests(CommandCase):
    @inlineCallbacks
    def ask(self, answer, *arguments):
        path = os.path.join(self.folder, f"{len(os.listdir(self.folder))}.sock")
        self.addCleanup(Impostor(path, answer).close)
        result = yield deferToThread(run, ["--socket", path, "--timeout", "0.3", *arguments])
        return result

    @inlineCallbacks
    def test_silence(self):
        """A server that does not answer is a time-out."""
        result = yield self.ask(None, "id")
        self.assertEqual(result.code, 4)

    @inlineCallbacks
    def test_silent_stream(self):
        """Also where a stream should begin."""
        result = yield self.ask(None, "sub", "chat")
        self.assertEqual((result.code, result.out), (4, ""))

    @inlineCallbacks
    def test_hangs_up(self):
        """A server that hangs up is no running node."""
        result = yield self.ask(b"", "id")
        self.assertEqual(result.code, 3)

    @inlineCallbacks
    def test_not_a_node(self):
        """An answer that is not a node's is an error without a traceback."""
        for body in (b"<html>", b"[]", b'{"error": 1}'):
            reply = b"HTTP/1.1 404 No\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            result = yield self.ask(reply, "id", "--json")
            self.assertEqual((result.code, result.json()["error"]["code"]), (1, "error"))


class ConnectionTests(CommandCase):
    @inlineCallbacks
    def test_one_connection_serves_many_questions(self):
        """`pub --lines` keeps its connection: the node sees one."""
        (unix,) = self.control._sites
        seen = set()
        publish = self.node.publish

        def count(topic, data, **more):
            seen.update(unix.channels)
            return publish(topic, data, **more)

        self.node.publish = count
        result = yield self.command("pub", "chat", "--lines", "--json", stdin=b"line\n" * 50)
        self.assertEqual((result.code, len(result.json_lines()), len(seen)), (0, 50, 1))
        self.assertTrue(json.loads(result.lines[49])["id"].startswith(ME))
