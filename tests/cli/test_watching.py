"""top: rates between two looks, over restarts of the node, as lines, as JSON, and drawn on a terminal."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios

from attrs import evolve
from rich.cells import cell_len
from rich.console import Console
from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.threads import deferToThread

from positron.cli.client import Client
from positron.cli.live import draw
from positron.cli.sampling import COUNTS, Watch
from positron.control import ControlService
from tests.cli.running import CommandCase
from tests.cli.test_process import PROGRAM, TELL
from tests.control.fake import ALICE, ALINA, ME, STATUS, peer


class BusyCase(CommandCase):
    """A node that from one look to the next is two seconds older, has heard 10 messages more and got 2,000 bytes."""

    def setUp(self):
        self.looks = 0
        begun = super().setUp()
        self.idle, self.node.stats = self.node.stats, self.stats
        self.topic, self.node.topics = self.node.topics()[0], self.topics
        return begun

    def stats(self):
        self.looks += 1
        self.node.links = [
            peer(ALICE),
            peer(ALINA, bytes_in_total=1000 * self.looks, connected_seconds=60.0 + self.looks),
        ]
        return evolve(
            self.idle(),
            uptime_seconds=2.0 * self.looks,
            messages={**STATUS["messages"], "received_total": 10 * self.looks},
            bytes_in_total=2000 * self.looks,
        )

    def topics(self):
        return [self.topic, evolve(self.topic, topic="busy", messages_total=5 * self.looks)]

    def top(self, *arguments, **more):
        return self.command("top", "--interval", "0.1", *arguments, **more)


class LinesTests(BusyCase):
    @inlineCallbacks
    def test_json(self):
        """An object a look: totals and rates of the node, of its peers and topics, the busiest first."""
        result = yield self.top("--count", "2", "--json")
        self.assertEqual((result.code, result.err), (0, ""))
        first, second = result.json_lines()
        self.assertEqual((first["schema"], first["node_id"], first["up"]), (1, ME, 2))
        self.assertEqual((first["seconds"], first["uptime_seconds"]), (2.0, 4.0))
        self.assertEqual((first["received_total"], second["received_total"]), (20, 30))
        self.assertEqual((second["received_per_second"], second["bytes_in_per_second"]), (5.0, 1000.0))
        self.assertEqual((second["published_per_second"], second["duplicate_total"]), (0.0, 3))
        self.assertEqual([link["node_id"] for link in second["peers"]], [ALINA, ALICE])
        rates = {name: rate for name, rate in second["peers"][0].items() if name.endswith("_per_second")}
        self.assertEqual(rates.pop("bytes_in_per_second"), 500.0)
        self.assertEqual(
            rates,
            dict.fromkeys([f"{n}_per_second" for n in ("messages_in", "messages_out", "bytes_out")], 0.0),
        )
        self.assertLessEqual({"address", "state", "trust", "rtt_seconds"}, set(second["peers"][0]))
        self.assertEqual(
            [(topic["topic"], topic["messages_per_second"]) for topic in second["topics"]],
            [("busy", 2.5), ("chat", 0.0)],
        )

    @inlineCallbacks
    def test_pipe(self):
        """A header, then a line an interval, totals before rates."""
        result = yield self.top("--count", "2")
        header, first, second = (line.split("\t") for line in result.lines)
        self.assertEqual(
            header,
            ["time", "up", *(f"{n}_total" for n in COUNTS), *(f"{n}_per_second" for n in COUNTS)],
        )
        found = dict(zip(header, second, strict=True))
        self.assertEqual((found["received_total"], found["received_per_second"]), ("30", "5.0"))
        self.assertEqual(len(first), len(header))

    @inlineCallbacks
    def test_imports(self):
        """A pipe needs neither Twisted nor rich."""
        done = yield deferToThread(
            subprocess.run,
            [sys.executable, "-c", TELL, "--socket", self.path, "top", "--interval", "0.1", "--count", "1"],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self.assertEqual((done.returncode, len(done.stdout.splitlines())), (0, 2))
        self.assertEqual(set(done.stderr.split()) & {"twisted", "rich", "attr", "termios"}, set())

    @inlineCallbacks
    def test_a_new_link(self):
        """A link that came, or came again, since the last look counts from nothing: no rate is below zero."""
        looks = [
            [peer(ALICE, bytes_in_total=9000, connected_seconds=60.0)],
            [
                peer(ALICE, bytes_in_total=400, connected_seconds=1.0),
                peer(ALINA, bytes_in_total=200, connected_seconds=1.0),
            ],
        ]
        self.node.peers = lambda: looks[min(self.looks, 2) - 1]
        result = yield self.top("--count", "1", "--json")
        rates = [link["bytes_in_per_second"] for link in result.json()["peers"]]
        self.assertEqual(rates, [200.0, 100.0])

    @inlineCallbacks
    def test_restarted(self):
        """A node that was restarted between two looks is told, and its rates begin anew, from what it then has."""
        busy = self.node.stats

        def stats():
            found = busy()
            return evolve(found, uptime_seconds=found.uptime_seconds - (5.0 if self.looks >= 3 else 0.0))

        self.node.stats = stats
        result = yield self.top("--count", "2", "--json")
        self.assertEqual(result.err, "the node was restarted\n")
        self.assertEqual([line["uptime_seconds"] for line in result.json_lines()], [4.0, 3.0])
        self.assertEqual([line["received_per_second"] for line in result.json_lines()], [5.0, 5.0])

    @inlineCallbacks
    def test_a_node_that_stops(self):
        """It says that the node is gone, waits for it, and goes on."""
        running = self.top("--count", "3")
        while self.looks < 2:
            yield deferToThread(lambda: None)
        yield self.control.stop()
        while b"waiting for it" not in sys.stderr.buffer.getvalue():
            yield deferToThread(lambda: None)
        self.control = ControlService(reactor, self.node, self.node.config)
        yield self.control.start()
        result = yield running
        self.assertEqual((result.code, len(result.lines)), (0, 4))
        self.assertEqual(
            result.err.splitlines(), ["the node has stopped: waiting for it", "the node is back"]
        )

    @inlineCallbacks
    def test_no_connection_between_looks(self):
        """However long an interval is, the node has nobody to hang up on: each look has a connection of its own."""
        (unix,) = self.control._sites
        watch = Watch(Client(self.path, 10), 100)
        yield deferToThread(watch.look)
        for _ in range(100):
            yield deferToThread(lambda: None)
        self.assertEqual((len(unix.channels), watch.pause() > 0), (0, True))

    @inlineCallbacks
    def test_wrong(self):
        """No node to begin with is 3, an interval that leaves the node no rest is 2."""
        hasty = yield self.command("top", "--interval", "0")
        self.assertEqual((hasty.code, hasty.out), (2, ""))
        yield self.control.stop()
        for terminal in (True, False):
            nobody = yield self.top(terminal=terminal)
            self.assertEqual((nobody.code, nobody.out), (3, ""))


class DrawTests(BusyCase):
    @inlineCallbacks
    def picture(self, width, height, looks=2):
        """The lines of a picture of that size."""
        watch = Watch(Client(self.path, 10), 0.1)
        for _ in range(looks):
            look = yield deferToThread(watch.look)
        console = Console(width=width, height=height, color_system=None)
        lines = console.render_lines(draw(look, width, height), pad=False)
        return ["".join(segment.text for segment in line).rstrip() for line in lines]

    @inlineCallbacks
    def test_a_picture(self):
        """The head of status, the node's rates, the busiest peer and topic first, and how to leave."""
        lines = yield self.picture(120, 40)
        self.assertIn("network     lab (ready)", lines)
        self.assertIn(["a", "second", "5.0"], [line.split()[:3] for line in lines])
        row = next(line for line in lines if line.startswith(ALINA[:8])).split()
        self.assertEqual(
            row, [ALINA[:8], *"10.0.0.1:8888 out up 0.50 2.0 ms 0.0 0.0".split(), "500", "B", "0", "B"]
        )
        (busy,) = (number for number, line in enumerate(lines) if line.split()[:2] == ["busy", "2.5"])
        self.assertTrue(lines[busy + 1].startswith("chat "))
        self.assertEqual(lines[-1], "q ends")

    @inlineCallbacks
    def test_the_first_look(self):
        """Before there is anything to compare with, totals are there and rates are not."""
        lines = yield self.picture(120, 40, looks=1)
        self.assertIn("a second", lines)

    @inlineCallbacks
    def test_every_size(self):
        """Whatever the size, nothing wraps and nothing is below the edge; what is left out is counted."""
        many = [peer(f"{number:04}" + "x" * 48) for number in range(40)]
        self.node.peers = lambda: many
        self.node.topics = lambda: [
            evolve(self.topic, topic=f"{'long/' * 20}\u4e16\u754c{n}") for n in range(40)
        ]
        for width, height in ((200, 60), (80, 24), (40, 16), (30, 12)):
            lines = yield self.picture(width, height)
            self.assertLessEqual(len(lines), height)
            self.assertLessEqual(max(map(cell_len, lines)), width)
            self.assertRegex(lines[-1], r"^\d+ of 40 peers")

    @inlineCallbacks
    def test_control_characters(self):
        """What a peer may have chosen moves no cursor."""
        self.node.topics = lambda: [evolve(self.topic, topic="evil\x1b[2J\n[bold]x")]
        lines = yield self.picture(100, 30)
        self.assertIn("evil\\x1b[2J\\n[bold]x", "\n".join(lines))

    @inlineCallbacks
    def test_gone(self):
        """While the node is gone the last picture stays, and says so."""
        watch = Watch(Client(self.path, 10), 0.1)
        yield deferToThread(watch.look)
        yield self.control.stop()
        look = yield deferToThread(watch.look)
        console = Console(width=100, color_system=None)
        with console.capture() as captured:
            console.print(draw(look, 100, 40))
        self.assertIn("the node has stopped: waiting for it (q ends)", captured.get())
        self.assertIn(ALINA[:8], captured.get())

    @inlineCallbacks
    def test_count(self):
        """--count ends the view as well; the screen is given back."""
        result = yield self.top("--count", "1", terminal=True)
        self.assertEqual(result.code, 0)
        self.assertIn("network     lab (ready)", result.out)
        self.assertLess(result.out.index("\x1b[?1049h"), result.out.index("\x1b[?1049l"))


class KeyTests(BusyCase):
    def begin(self):
        """The command as a process on a terminal of its own: the process, and the other end."""
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, 80))
        self.addCleanup(os.close, ours)
        self.addCleanup(os.close, theirs)
        process = subprocess.Popen(
            [*PROGRAM, "--socket", self.path, "top"],
            stdin=theirs,
            stdout=theirs,
            stderr=subprocess.PIPE,
            env={
                **{name: value for name, value in os.environ.items() if name != "COLUMNS"},
                "PYTHONPATH": os.pathsep.join(sys.path),
            },
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process, ours, theirs

    @staticmethod
    def read_until(terminal, pattern):
        """What is drawn, until it matches."""
        drawn = b""
        while not re.search(pattern, drawn):
            if not select.select([terminal], [], [], 30)[0]:
                raise AssertionError(f"no {pattern} in {drawn}")
            drawn += os.read(terminal, 65536)
        return drawn

    @inlineCallbacks
    def test_keys(self):
        """A new size is taken, q ends with 0, Ctrl-C with 130; the terminal is as it was."""
        for key, code in (("q", 0), (None, 130)):
            process, ours, theirs = self.begin()
            modes = termios.tcgetattr(theirs)
            yield deferToThread(self.read_until, ours, rb"(?s)DIR.*q ends")
            self.assertNotEqual(termios.tcgetattr(theirs), modes)
            termios.tcsetwinsize(theirs, (40, 150))
            yield deferToThread(self.read_until, ours, rb"(?s)ADDRESS.*q ends")
            if key is None:
                process.send_signal(signal.SIGINT)
            else:
                os.write(ours, key.encode())
            yield deferToThread(self.read_until, ours, rb"\x1b\[\?1049l")
            ended = yield deferToThread(process.wait)
            self.assertEqual((ended, process.stderr.read().strip()), (code, b""))
            self.assertEqual(termios.tcgetattr(theirs), modes)
