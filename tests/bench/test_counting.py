"""What a receiver counts, and what a process knows of its own cost."""

from __future__ import annotations

import socket
import sys
from types import SimpleNamespace

from twisted.trial.unittest import SynchronousTestCase

from positron.bench import costs
from positron.bench.counting import Heard, quantile


class HeardTests(SynchronousTestCase):
    def test_counts_each_once(self) -> None:
        """A message that comes again is repeated, not another one, and its second delay is no delay."""
        heard = Heard(4)
        for number, published, now in ((0, 10.0, 10.5), (2, 10.2, 10.3), (2, 10.2, 19.0), (1, 10.1, 11.1)):
            heard.add(number, published, now)
        found = heard.report()
        self.assertEqual((found["messages"], found["repeated"]), (3, 1))
        self.assertAlmostEqual(found["seconds"], 1.1)
        self.assertAlmostEqual(found["latency_seconds"]["p50"], 0.5)
        self.assertAlmostEqual(found["latency_seconds"]["p999"], 1.0)

    def test_nothing(self) -> None:
        """Who heard nothing has no latency."""
        found = Heard(4).report()
        self.assertEqual((found["messages"], found["seconds"]), (0, 0.0))
        self.assertEqual(set(found["latency_seconds"].values()), {None})

    def test_foreign_number(self) -> None:
        """There is no message beyond the last."""
        self.assertRaises(IndexError, Heard(4).add, 4, 0.0, 1.0)

    def test_quantile(self) -> None:
        """The value at a share of the way, the last one at the end."""
        ordered = [float(one) for one in range(100)]
        self.assertEqual([quantile(ordered, share) for share in (0.0, 0.5, 0.99, 1.0)], [0, 50, 99, 99])


class CostTests(SynchronousTestCase):
    def test_cpu_and_memory(self) -> None:
        """CPU time rises with work; memory is that of an interpreter, in bytes."""
        before = costs.cpu_seconds()
        while costs.cpu_seconds() < before + 0.005:
            pass
        self.assertGreater(costs.resident_bytes(), 4 << 20)

    def test_wire(self) -> None:
        """What TCP connections sent is counted with headers; other sockets and what is no socket are not."""
        if not sys.platform.startswith("linux"):
            self.assertIsNone(costs.wire_bytes([]))
            return
        with socket.create_server(("127.0.0.1", 0)) as server:
            with socket.create_connection(server.getsockname()) as sender, server.accept()[0] as receiver:
                asked = [SimpleNamespace(socket=sender), SimpleNamespace(socket=None), object()]
                before = costs.wire_bytes(asked)
                sender.sendall(bytes(1000))
                receiver.recv(1000)
                after = costs.wire_bytes(asked)
        assert before is not None and after is not None
        self.assertEqual(after - before, 1000 + 52)
