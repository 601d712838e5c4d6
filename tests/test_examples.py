"""The programs of docs/examples do what the documentation says they do."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from docutils.core import publish_doctree
from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "docs" / "examples"
BIN = Path(sys.executable).parent
PATIENCE = 30.0
"""Seconds until a program that says nothing has failed."""

HOST = """
    import sys
    from twisted.internet import reactor
    from compose import make_application
    from positron import Config

    application = make_application(reactor, Config(host="127.0.0.1", port=0))
    reactor.callWhenRunning(application.startService)
    reactor.addSystemEventTrigger("before", "shutdown", application.stopService)
    reactor.run()
"""
"""Somebody's program, around docs/examples/compose.py."""


class Program:
    """One program that runs, and what it has printed."""

    def __init__(self, *arguments: str, cwd: str) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("POSITRON_")}
        environment |= {"PYTHONPATH": os.pathsep.join([str(EXAMPLES), str(ROOT)]), "PYTHONUNBUFFERED": "1"}
        self.printed = ""
        self._process = subprocess.Popen(
            arguments,
            cwd=cwd,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._process.stdout, selectors.EVENT_READ)

    def say(self, line: str) -> None:
        """Type a line."""
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def wait_for(self, text: str) -> str:
        """Everything printed, once `text` is in it."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.printed:
            if not self._selector.select(max(0.0, deadline - time.monotonic())):
                raise AssertionError(f"no {text!r} in {self.printed}")
            read = os.read(self._process.stdout.fileno(), 65536)
            if not read:
                raise AssertionError(f"ended without {text!r}: {self.printed}")
            self.printed += read.decode()
        return self.printed

    def end(self, by: int = 0) -> int:
        """The exit code, after the signal or else the end of its input."""
        if by:
            self._process.send_signal(by)
        rest, _ = self._process.communicate(timeout=PATIENCE)
        self.printed += rest.decode()
        return self._process.returncode

    def clean_up(self) -> None:
        """Leave nothing running, whatever the test came to."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()
        self._selector.close()


class ExampleTests(SynchronousTestCase):
    def run_program(self, *arguments: str) -> Program:
        folder = self.mktemp()
        os.makedirs(folder)
        program = Program(*arguments, cwd=folder)
        self.addCleanup(program.clean_up)
        return program

    def test_compose(self) -> None:
        """A node in somebody's MultiService hears what it publishes, and stops with the application."""
        program = self.run_program(sys.executable, "-c", textwrap.dedent(HOST))
        program.wait_for("says {'temperature': 21}")
        program.end(signal.SIGTERM)
        self.assertNotIn("Traceback", program.printed)

    def test_tac(self) -> None:
        """Twistd runs a .tac that holds a node."""
        program = self.run_program(str(BIN / "twistd"), "-ny", str(EXAMPLES / "node.tac"))
        program.wait_for("says fine")
        program.end(signal.SIGTERM)
        self.assertIn("Server Shut Down.", program.printed)
        self.assertNotIn("Traceback", program.printed)

    def test_test_weather(self) -> None:
        """The tests shown to an application's author pass, both of them."""
        program = self.run_program(sys.executable, "-m", "twisted.trial", "test_weather")
        self.assertEqual(program.end(), 0, program.printed)
        self.assertIn("PASSED (successes=2)", program.printed)

    def test_asyncio_host(self) -> None:
        """An asyncio program starts a node, hears it, and ends by itself."""
        program = self.run_program(sys.executable, str(EXAMPLES / "asyncio_host.py"))
        self.assertEqual(program.end(), 0, program.printed)
        self.assertEqual(program.printed, "fine, number 1\n")

    def test_chat(self) -> None:
        """What is typed on one side is shown on both, by the name of its author, and the end of input leaves."""
        ann = self.run_program(sys.executable, str(EXAMPLES / "chat.py"), "0")
        port = ann.wait_for("\n").strip().rpartition(":")[2]
        bob = self.run_program(sys.executable, str(EXAMPLES / "chat.py"), "0", f"127.0.0.1:{port}")
        bob.wait_for("connected")
        ann.say("hello, Bob")
        bob.wait_for("> 'hello, Bob'")
        bob.say("hello, Ann")
        ann.wait_for("> 'hello, Ann'")
        self.assertEqual(bob.end(), 0, bob.printed)
        self.assertEqual(ann.end(), 0, ann.printed)


class PageTests(SynchronousTestCase):
    def test_readme_renders(self) -> None:
        """README.rst and its neighbours are plain reStructuredText, as a package index shows them."""
        for name in ("README", "NEWS", "CONTRIBUTING", "SECURITY"):
            text = (ROOT / f"{name}.rst").read_text()
            publish_doctree(text, settings_overrides={"halt_level": 2, "report_level": 2})

    def test_readme_shows_the_example(self) -> None:
        """The code of README.rst is the program that the tests run."""
        code = textwrap.indent((EXAMPLES / "compose.py").read_text(), "    ", lambda line: line.strip() != "")
        self.assertIn(code, (ROOT / "README.rst").read_text())

    def test_design_names_every_part(self) -> None:
        """docs/design.rst says what each module and package of the core is for."""
        text = (ROOT / "docs" / "design.rst").read_text()
        core = ROOT / "positron" / "core"
        for path in sorted(core.iterdir()):
            is_part = path.suffix == ".py" or (path / "__init__.py").exists()
            if is_part and path.name != "__init__.py":
                self.assertIn(f"``{path.stem}``", text)

    def test_unit_file(self) -> None:
        """Each option on the command line of the systemd unit exists."""
        from positron.config import OPTIONS

        text = (EXAMPLES / "positron.service").read_text()
        command = next(line for line in text.splitlines() if line.startswith("ExecStart="))
        flags = [word[2:] for word in command.partition(" positron ")[2].split() if word.startswith("--")]
        self.assertEqual(flags, ["data-dir", "config", "log-format"])
        self.assertLessEqual({flag.replace("-", "_") for flag in flags} - {"config"}, set(OPTIONS))
