"""What the processes at both ends of a link know of its beginning and its end, by their logs and their answers."""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from pathlib import Path

from fleet import Fleet, Process, wait_for
from twisted.trial.unittest import SynchronousTestCase

GONE = 15.0
"""Seconds after which a frozen peer is gone at the others, and knows it once it wakes."""
IDLE_CPU = 0.05
"""Share of one CPU that a node with five idle peers may take; it takes a tenth of that on a quiet computer."""
MIB = 1 << 20


class LinksTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="positron-"))
        self.addCleanup(shutil.rmtree, self.root)
        self.fleet = Fleet(self.root)
        self.addCleanup(self.fleet.close)

    def star(self, count: int, *options: str) -> tuple[Process, list[Process]]:
        """A hub with these options, and so many nodes one after another that are linked to it alone."""
        hub = self.fleet.node(*options).start().ready()
        guests = []
        for _ in range(count):
            guest = self.fleet.node("--discovery", "false", "--bootstrap", hub.address).start().ready()
            wait_for("linked", lambda guest=guest: guest.up() == 1, 15)  # type: ignore[misc]
            guests.append(guest)
        return hub, guests

    def when_logged(self, node: Process, text: str) -> float:
        """Seconds since the start of the wait for this in a log."""
        begun = time.monotonic()
        node.logs(text, 60)
        return time.monotonic() - begun


class LimitTests(LinksTestCase):
    def test_full_and_evicted(self) -> None:
        """Past the limit: `full`, in the log of the one that is refused; then `evicted`, in the log of the one that
        made room because it had lost our trust."""
        hub, (first, second) = self.star(2, "--max-peers", "4", "--min-peers", "1")
        hub_id = hub.node_id[:8]
        late = self.fleet.node("--discovery", "false", "--bootstrap", hub.address).start().ready()
        late.logs(f"{hub_id} at {hub.address} is not linked: full")
        self.assertEqual(hub.peer_ids(), {first.node_id, second.node_id})
        self.assertEqual(late.up(), 0)
        hub.ask("POST", f"/v1/trust/{first.node_id}", {"score": 0.25})
        first.logs(f"No longer linked to {hub_id}: evicted", 90)
        wait_for("late came in", lambda: hub.peer_ids() == {second.node_id, late.node_id}, 10)
        hub.logs(f"No longer linked to {first.node_id[:8]}: evicted")
        self.assertNotIn("No longer linked", second.log())


class EndTests(LinksTestCase):
    def test_goodbye(self) -> None:
        """Peers of a node that SIGTERM or SIGINT ended log at once that it left, and do not wait for its silence."""
        hub, guests = self.star(2)
        for guest, number in zip(guests, (signal.SIGTERM, signal.SIGINT), strict=True):
            node_id = guest.node_id
            guest.signal(number)
            self.assertLess(self.when_logged(hub, f"No longer linked to {node_id[:8]}: leaving"), 5)
            self.assertEqual(guest.wait(5), 0)

    def test_a_killed_peer_did_not_leave(self) -> None:
        """The control: of one that is killed with -9 they know just that the connection ended."""
        hub, (guest,) = self.star(1)
        node_id = guest.node_id[:8]
        guest.kill()
        hub.logs(f"No longer linked to {node_id}: ", 5)
        self.assertNotIn("leaving", hub.log())

    def test_frozen(self) -> None:
        """SIGSTOP: gone at the other within 15 s, for its silence. SIGCONT: within 15 s it knows so itself; both
        are linked again."""
        hub, (guest,) = self.star(1)
        ids = {hub: hub.node_id[:8], guest: guest.node_id[:8]}
        guest.signal(signal.SIGSTOP)
        seconds = self.when_logged(hub, f"No longer linked to {ids[guest]}: silent")
        # Measured from the last word of the guest, which may be the interval of its PINGs ago.
        self.assertGreater(seconds, 5)
        self.assertLess(seconds, GONE)
        self.assertEqual(hub.up(), 0)
        guest.signal(signal.SIGCONT)
        self.assertLess(self.when_logged(guest, f"No longer linked to {ids[hub]}: "), GONE)
        wait_for("linked again", lambda: guest.up() == hub.up() == 1, 30)


class IdleTests(LinksTestCase):
    def test_memory_and_cpu(self) -> None:
        """An idle node takes under 64 MiB, alone and with five idle peers, and next to no CPU with them."""
        hub = self.fleet.node().start().ready()
        settled = time.monotonic() + 10
        wait_for("ten seconds", lambda: time.monotonic() > settled, 15)
        self.assertLess(hub.memory(), 64 * MIB)
        for _ in range(5):
            self.fleet.node("--discovery", "false", "--bootstrap", hub.address).start()
        wait_for("five peers", lambda: hub.up() == 5, 60)
        settled, cpu = time.monotonic() + 10, hub.cpu()
        wait_for("ten seconds", lambda: time.monotonic() > settled, 15)
        self.assertLess(hub.memory(), 64 * MIB)
        self.assertLess((hub.cpu() - cpu) / 10, IDLE_CPU)
