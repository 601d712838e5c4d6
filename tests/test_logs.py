"""Log lines: flat, bounded in rate, and never in a peer's hands."""

from __future__ import annotations

import io
import json

from twisted.logger import ILogObserver, Logger, LogLevel, LogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from positron import logs


def event(text: str = "hello", at: float = 1000.0, level: object = LogLevel.info, **fields: object) -> dict:
    return {
        "log_time": at,
        "log_level": level,
        "log_namespace": "positron.test",
        "log_format": text,
        **fields,
    }


class JsonLineTests(SynchronousTestCase):
    def test_flat(self) -> None:
        """A line is one flat object with the promised keys and the event's own fields."""
        line = logs.json_line(event("peer {peer} up", peer="abc", links=3, rtt=0.5, ok=True, none=None))
        self.assertEqual(
            json.loads(line),
            {
                "ts": 1000.0,
                "level": "info",
                "logger": "positron.test",
                "msg": "peer abc up",
                "peer": "abc",
                "links": 3,
                "rtt": 0.5,
                "ok": True,
                "none": None,
            },
        )
        self.assertEqual(line.count("\n"), 1)

    def test_only_plain_fields(self) -> None:
        """Objects, numbers JSON has no word for, and fields that would replace ours are left out."""
        line = json.loads(
            logs.json_line(event(node=object(), bad=float("nan"), worse=-float("inf"), msg="x", ts=1))
        )
        self.assertEqual(set(line), {"ts", "level", "logger", "msg"})
        self.assertEqual((line["msg"], line["ts"]), ("hello", 1000.0))

    def test_logger(self) -> None:
        """Lines of Twisted's older log module are said to be Twisted's."""
        self.assertIn(" info [twisted] hello", logs.text_line({**event(), "log_namespace": "log_legacy"}))
        self.assertEqual(json.loads(logs.json_line({"log_format": "x"}))["logger"], "-")

    def test_traceback(self) -> None:
        """A failure's traceback is one field, and the line is still one line."""
        try:
            raise ValueError("bad \x1b[2J")
        except ValueError:
            line = logs.json_line(event(log_failure=Failure()))
        self.assertEqual(line.count("\n"), 1)
        self.assertIn("ValueError: bad \\x1b[2J", json.loads(line)["exc"])

    def test_peer_text_is_escaped(self) -> None:
        """Newlines, escape sequences and direction marks of a peer are visible, not acted upon."""
        line = json.loads(logs.json_line(event("{x}", x='a\n\x1b[31m\u202e\ud800"')))
        self.assertEqual(line["msg"], 'a\\n\\x1b[31m\\u202e\\ud800"')
        self.assertEqual(line["x"], line["msg"])


class TextLineTests(SynchronousTestCase):
    def test_one_line(self) -> None:
        """A message with a newline cannot begin a second line."""
        line = logs.text_line(event("{x}", x="a\n2026-01-01 critical [positron] forged"))
        self.assertEqual(line.count("\n"), 1)
        self.assertIn(" info [positron.test] a\\n2026-01-01 critical", line)

    def test_traceback_is_indented(self) -> None:
        """Lines of a traceback never start where a log line starts, even if the message has newlines."""
        try:
            raise ValueError("first\n2026-01-01 forged")
        except ValueError:
            lines = logs.text_line(event(log_failure=Failure())).splitlines()
        self.assertTrue(all(line.startswith("    ") for line in lines[1:]))
        self.assertIn("    2026-01-01 forged", lines)


class RemoteTests(SynchronousTestCase):
    def test_length(self) -> None:
        """At most 128 characters of a peer's string are kept, escapes included, and a cut is visible."""
        self.assertEqual(logs.remote("a" * 128), "a" * 128)
        self.assertEqual(logs.remote("a" * 129), "a" * 125 + "...")
        self.assertEqual(len(logs.remote("\u202e" * 1_000_000)), 128)

    def test_printable_is_kept(self) -> None:
        """Ordinary text of any script stays as it is."""
        self.assertEqual(logs.remote("Zürich 東京 node"), "Zürich 東京 node")


class RateLimitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.seen: list[dict] = []
        self.limit = logs.RateLimit(self.seen.append)

    def messages(self) -> list[str]:
        return [e["log_format"].format(**e) for e in self.seen]

    def test_flood(self) -> None:
        """A flood of 1,000 lines within a second leaves 20, and the next line says how many are missing."""
        for n in range(1000):
            self.limit(event(f"line {n}", at=1000.0))
        self.assertEqual(self.messages(), [f"line {n}" for n in range(20)])
        self.limit(event("later", at=1001.0))
        self.assertEqual(self.messages()[20:], ["980 log lines were suppressed", "later"])
        self.limit(event("again", at=1002.0))
        self.assertEqual(self.messages()[22:], ["again"])

    def test_rate(self) -> None:
        """Over ten seconds of flood, 20 lines a second and the first burst pass."""
        for n in range(10_000):
            self.limit(event("flood", at=1000.0 + n / 1000))
        passed = [m for m in self.messages() if m == "flood"]
        self.assertTrue(215 <= len(passed) <= 221, len(passed))

    def test_errors_are_not_hidden(self) -> None:
        """Chatter does not use up what errors may write, and errors are limited too."""
        for _ in range(100):
            self.limit(event("chatter"))
        for _ in range(100):
            self.limit(event("error", level=LogLevel.error))
        self.assertEqual(self.messages().count("error"), 20)

    def test_clock_set_back(self) -> None:
        """A clock set back neither frees nor blocks lines for long."""
        for _ in range(100):
            self.limit(event("flood", at=1000.0))
        self.limit(event("back", at=10.0))
        self.assertNotIn("back", self.messages())
        self.limit(event("second", at=11.0))
        self.assertIn("second", self.messages())


class OutputTests(SynchronousTestCase):
    def publish(self, output: logs.Output, file: io.StringIO | None = None, format: str = "json") -> Logger:
        observer = output.observer(format, file)
        verifyObject(ILogObserver, observer)
        return Logger(namespace="positron.test", observer=LogPublisher(observer))

    def test_level(self) -> None:
        """Lines below the level are not written, and the level can change while logging."""
        file, output = io.StringIO(), logs.Output()
        output.set_level("warn")
        log = self.publish(output, file)
        log.info("quiet")
        log.warn("heard")
        output.set_level("debug")
        log.debug("now heard")
        self.assertEqual([json.loads(x)["msg"] for x in file.getvalue().splitlines()], ["heard", "now heard"])

    def test_file_and_rotation(self) -> None:
        """Lines go to the file named, and rotation starts it anew."""
        output = logs.Output()
        output.path = self.mktemp()
        log = self.publish(output, format="text")
        log.info("one")
        output.rotate()
        log.info("two")
        with open(output.path) as new, open(output.path + ".1") as old:
            self.assertEqual((new.read()[-4:], old.read()[-4:]), ("two\n", "one\n"))

    def test_factories(self) -> None:
        """twistd's --logger finds both factories by name."""
        for factory in (logs.json, logs.text):
            verifyObject(ILogObserver, factory())
