"""The command as a process: what it imports, signals, and pipes that close."""

import os
import signal
import subprocess
import sys
from unittest import SkipTest

from twisted.internet.defer import inlineCallbacks
from twisted.internet.threads import deferToThread

from tests.cli.running import CommandCase
from tests.control.fake import message

PROGRAM = [sys.executable, "-c", "import sys; from positron.cli import main; sys.exit(main())"]
TELL = (
    "import sys; from positron.cli import main; code = main(); "
    "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr); sys.exit(code)"
)


class ProcessTests(CommandCase):
    @inlineCallbacks
    def test_as_a_module(self):
        """`python -m positron` is the command: its name in --help, its exit codes, its errors."""
        for arguments, code, expected in (
            (["--help"], 0, "Usage: positron [OPTIONS] COMMAND"),
            (["pub", "--help"], 0, "Usage: positron pub "),
            (["pubb"], 2, "no such command 'pubb'"),
        ):
            done = yield deferToThread(
                subprocess.run,
                [sys.executable, "-m", "positron", *arguments],
                capture_output=True,
                text=True,
                env=self.environment(),
            )
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertIn(expected, done.stdout + done.stderr)

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": ""}

    def begin(self, *arguments, **more) -> subprocess.Popen:
        options = {
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            "env": self.environment(),
            # A shell starts what runs in the background deaf to Ctrl-C; these tests too, if they are run so.
            "preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            **more,
        }
        process = subprocess.Popen([*PROGRAM, "--socket", self.path, *arguments], **options)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        for stream in filter(None, (process.stderr, process.stdout)):
            self.addCleanup(stream.close)
        return process

    @inlineCallbacks
    def test_imports(self):
        """A client command loads neither Twisted nor what only other commands need: it has to answer at once."""
        copy = os.path.join(self.folder, "copy")
        for arguments in (["status"], ["pub", "chat", "x", "--json"], ["peers"], ["backup", copy]):
            command = [sys.executable, "-c", TELL, "--socket", self.path, *arguments]
            done = yield deferToThread(
                subprocess.run,
                command,
                capture_output=True,
                text=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
            self.assertEqual(done.returncode, 0)
            loaded = set(done.stderr.split())
            self.assertIn("positron", loaded)
            self.assertEqual(
                loaded & {"twisted", "zope", "rich", "attr", "msgpack", "nacl", "asyncio"}, set()
            )

    @inlineCallbacks
    def test_interrupt(self):
        """Ctrl-C ends a stream with 130 and without a word."""
        process = self.begin("sub", "chat")
        hint = yield deferToThread(process.stderr.readline)
        self.assertEqual(hint, "listening on chat\n")
        process.send_signal(signal.SIGINT)
        out, err = yield deferToThread(process.communicate)
        self.assertEqual((process.returncode, out, err.strip()), (130, "", ""))

    @inlineCallbacks
    def test_lines_come_at_once(self):
        """A pipe's reader sees a message when it comes, not when the buffer is full."""
        process = self.begin("sub", "chat", "--json")
        yield deferToThread(process.stderr.readline)
        self.node.deliver(message(1))
        line = yield deferToThread(process.stdout.readline)
        self.assertIn('"seq": 1', line)
        self.assertIsNone(process.poll())

    @inlineCallbacks
    def test_closed_pipe(self):
        """When the reader has enough (`| head -1`), the command ends in peace."""
        process = self.begin("sub", "chat", "--json")
        yield deferToThread(process.stderr.readline)
        process.stdout.close()
        self.node.deliver(message(1))
        code = yield deferToThread(process.wait)
        self.assertEqual((code, process.stderr.read()), (0, ""))

    @inlineCallbacks
    def test_full_disk(self):
        """What cannot be written to stdout is one sentence and 1, in JSON too, and no traceback."""
        if not os.path.exists("/dev/full"):
            raise SkipTest("no /dev/full here")
        for arguments in (["peers"], ["status", "--json"], ["--help"]):
            with open("/dev/full", "w") as full:
                process = self.begin(*arguments, stdout=full)
                _, err = yield deferToThread(process.communicate)
            self.assertEqual((process.returncode, err.count("\n")), (1, 2), err)
            self.assertIn("positron: stdout: No space left on device\nhint: ", err)

    @inlineCallbacks
    def test_closed_streams(self):
        """Without stdin, stdout or stderr at all (cron, `>&-`) a command still does what it is for."""

        def close():
            for number in range(3):
                os.close(number)

        process = self.begin("pub", "chat", "-", stdout=None, stderr=None, preexec_fn=close)
        code = yield deferToThread(process.wait)
        self.assertEqual((code, self.node.calls), (0, [("publish", "chat", "")]))

    @inlineCallbacks
    def test_other_encodings(self):
        """A terminal that cannot show a character gets its escape."""
        environment = {**self.environment(), "PYTHONIOENCODING": "ascii"}
        process = self.begin("sub", "chat", "--count", "1", env=environment)
        yield deferToThread(process.stderr.readline)
        self.node.deliver(message(1, data="caf\u00e9"))
        out, err = yield deferToThread(process.communicate)
        self.assertEqual((process.returncode, err), (0, ""))
        self.assertTrue(out.endswith("\tcaf\\xe9\n"), out)
