"""What an application has on paper after its node was killed: everything, once, in order."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

from fleet import Fleet, Process, wait_for
from twisted.trial.unittest import SynchronousTestCase


class Recorder(Process):
    """The program `recorder.py`; `lines` is what it wrote down."""

    def __init__(self, root: Path, bootstrap: str) -> None:
        super().__init__(root, "recorder", "--bootstrap", bootstrap)
        self.file = root / "heard"
        self.program = (sys.executable, str(Path(__file__).with_name("recorder.py")), str(self.file))

    @property
    def lines(self) -> list[tuple[str, str]]:
        """Id, and `live` or `late`, of each message in the order of arrival."""
        if not self.file.exists():
            return []
        return [tuple(line.split()) for line in self.file.read_text().splitlines()]  # type: ignore[misc]


class RecorderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="positron-"))
        self.addCleanup(shutil.rmtree, self.root)
        self.fleet = Fleet(self.root)
        self.addCleanup(self.fleet.close)

    def publish(self, nodes: list[Process], count: int) -> list[str]:
        """So many messages, from one node after another; their ids."""
        return [nodes[number % len(nodes)].publish("t", number)["id"] for number in range(count)]

    def check(self, recorder: Recorder, owed: list[str]) -> None:
        """Exactly these are written down, each once, the live ones of each author in their order."""
        wait_for(f"{len(owed)} lines", lambda: len(recorder.lines) >= len(owed), 30)
        quiet = time.monotonic() + 1
        wait_for("a quiet second", lambda: time.monotonic() > quiet, 5)
        written = [message_id for message_id, _ in recorder.lines]
        self.assertEqual(sorted(written), sorted(owed))
        order: dict[str, tuple[int, int]] = {}
        for message_id, when in recorder.lines:
            author, epoch, seq = message_id.split(".")
            if when == "live":
                self.assertLess(order.get(author, (0, 0)), (int(epoch), int(seq)), message_id)
                order[author] = int(epoch), int(seq)

    def test_killed_in_the_middle(self) -> None:
        """Killed with -9 while messages come in: nothing is missed, and repeated is at most what was heard in the
        last second, which may not have been committed."""
        nodes = [self.fleet.node().start().ready()]
        nodes.append(self.fleet.node("--bootstrap", nodes[0].address).start().ready())
        recorder = Recorder(self.root, nodes[0].address)
        self.fleet.nodes.append(recorder)
        recorder.start().ready()
        wait_for("linked", lambda: all(node.up() == 2 for node in (*nodes, recorder)), 30)
        owed: list[str] = []
        written: list[tuple[float, int]] = []
        begun = time.monotonic()
        # Slowly, so that it is the clock and not the number of rows that has them committed.
        for turn in range(1, 31):
            owed += self.publish(nodes, 2)
            written.append((time.monotonic(), len(recorder.lines)))
            due = begun + turn * 0.1
            wait_for("the next turn", lambda due=due: time.monotonic() > due, 5)  # type: ignore[misc]
        recorder.kill()
        killed_at, before = time.monotonic(), recorder.lines
        committed = max(count for moment, count in written if moment < killed_at - 1)
        self.assertGreater(committed, 20)
        owed += self.publish(nodes, 50)
        recorder.start().ready()
        wait_for("all of them", lambda: {message_id for message_id, _ in recorder.lines} >= set(owed), 30)
        after = [message_id for message_id, _ in recorder.lines[len(before) :]]
        self.assertEqual(len(set(after)), len(after))
        self.assertEqual({message_id for message_id, _ in recorder.lines} - set(owed), set())
        self.assertEqual(set(after) & {message_id for message_id, _ in before[:committed]}, set())

    def test_killed_and_restarted(self) -> None:
        """Killed with -9 after a quiet second: what came before is not repeated, what came meanwhile is not missed."""
        nodes = [self.fleet.node().start().ready()]
        nodes.append(self.fleet.node("--bootstrap", nodes[0].address).start().ready())
        recorder = Recorder(self.root, nodes[0].address)
        self.fleet.nodes.append(recorder)
        recorder.start().ready()
        # One that is older than the recorder's first start, and one that is younger.
        nodes.append(self.fleet.node("--bootstrap", nodes[0].address).start().ready())
        everybody = [*nodes, recorder]
        wait_for("linked", lambda: all(node.up() == 3 for node in everybody), 30)
        owed = self.publish(everybody, 100)
        self.check(recorder, owed)  # which ends with the quiet second

        recorder.kill()
        owed += self.publish(nodes, 100)
        recorder.start().ready()
        self.check(recorder, owed)

        wait_for("linked again", lambda: recorder.up() == 3, 30)
        owed += self.publish(everybody, 40)
        self.check(recorder, owed)
        own = [message_id.split(".") for message_id in owed if message_id.startswith(recorder.node_id)]
        epochs = [int(epoch) for _, epoch, _ in own]
        self.assertEqual(epochs, sorted(epochs))
        self.assertEqual(len(set(epochs)), 2)
        self.assertEqual(len({tuple(each) for each in own}), len(own))
