"""Nodes on real sockets, and what a hundred of their lives leave behind: nothing."""

import gc
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from twisted.application.service import Application, IService, IServiceCollection, MultiService
from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.error import CannotListenError
from twisted.internet.task import deferLater
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from positron import Config, Node
from positron.config import runtime_dir
from positron.core.notices import PeerUp
from positron.errors import ConfigError, IdentityError, NotRunning
from positron.store import keyfile


def descriptors():
    """What this process has open, as far as it is not Python's own."""
    return len(os.listdir("/proc/self/fd"))


class SocketsTestCase(TestCase):
    timeout = 60

    def setUp(self):
        # Nodes with a folder note themselves for the command line; these are not for this user's.
        before = os.environ.get("XDG_RUNTIME_DIR")
        self.runtime = tempfile.mkdtemp(prefix="p")  # short, as the path of a UNIX socket has to be
        self.addCleanup(shutil.rmtree, self.runtime)
        os.environ["XDG_RUNTIME_DIR"] = self.runtime
        self.addCleanup(self.restore, before)

    def restore(self, before):
        if before is None:
            del os.environ["XDG_RUNTIME_DIR"]
        else:
            os.environ["XDG_RUNTIME_DIR"] = before

    def node(self, **options):
        options = {"host": "127.0.0.1", "port": 0, **options}
        node = Node(reactor, Config(**options))
        self.addCleanup(node.stopService)
        return node

    def folder(self):
        path = self.mktemp()
        os.makedirs(path, mode=0o700)
        return os.path.abspath(path)


class TwoNodesTests(SocketsTestCase):
    @inlineCallbacks
    def test_talk(self):
        """Two nodes in one process, over TCP and TLS, one with a database: publish, send, history, status."""
        a = self.node(data_dir=self.folder())
        a.startService()
        yield a.when_ready()
        b = self.node(bootstrap=[f"{a.node_id}@{a.address}"])
        heard = []
        b.subscribe("t", heard.append)
        b.startService()
        yield b.when_peers(1)
        yield a.when_peers(1)
        receipt = yield a.publish("t", {"n": 1}, min_peers=1)
        yield receipt.stored
        acknowledgement = yield a.send(b.node_id, "hello")
        self.assertGreater(acknowledgement.rtt_seconds, 0)
        self.assertEqual([message.data for message in heard], [{"n": 1}])
        (found,) = yield a.history("t")
        self.assertEqual(found.id, receipt.id)
        self.assertEqual(a.status()["peers"]["inbound"], 1)
        self.assertEqual(a.listen, [a.address])

    @inlineCallbacks
    def test_wrong_identity(self):
        """A pinned id that another node answers for is no link, and the reason is counted."""
        a, other = self.node(), self.node()
        for node in (a, other):
            node.startService()
            yield node.when_ready()
        b = self.node(bootstrap=[f"{other.node_id}@{a.address}"])
        b.startService()
        yield b.when_ready()
        while "wrong identity" not in b.stats().links_refused:
            yield deferLater(reactor, 0.01, lambda: None)
        self.assertEqual(b.peers(), [])

    @inlineCallbacks
    def test_restart_keeps_id_and_history(self):
        """A node with a folder comes back as itself, with what it had, under a newer epoch."""
        a = self.node(data_dir=self.folder())
        a.startService()
        yield a.when_ready()
        node_id = a.node_id
        first = yield a.publish("t", 1)
        yield a.stopService()
        a.startService()
        yield a.when_ready()
        self.assertEqual(a.node_id, node_id)
        second = yield a.publish("t", 2)
        yield second.stored
        found = yield a.history("t")
        self.assertEqual([message.id for message in found], [first.id, second.id])
        self.assertLess(first.id, second.id)

    @inlineCallbacks
    def test_stopped_and_started_in_a_hurry(self):
        """A node does not stand in its own way, whatever was asked for before it had stopped."""
        a = self.node(data_dir=self.folder())
        a.startService()
        yield a.when_ready()
        for _ in range(3):
            a.stopService()
            a.startService()
        yield a.when_ready()
        yield a.publish("t", 1)
        yield a.flush()
        self.assertEqual(a.stats().store["messages"], 1)

    @inlineCallbacks
    def test_a_new_key(self):
        """A node whose key was replaced is somebody else, who keeps what the first one wrote and may write himself."""
        folder = self.folder()
        a = self.node(data_dir=folder)
        a.startService()
        yield a.when_ready()
        yield a.publish("t", "before")
        yield a.stopService()
        keyfile.replace(os.path.join(folder, "identity.key"), bytes(range(32)))
        b = self.node(data_dir=folder)
        b.startService()
        yield b.when_ready()
        yield b.publish("t", "after")
        found = yield b.history("t")
        self.assertEqual([message.data for message in found], ["before", "after"])
        self.assertEqual([message.author for message in found], [a.node_id, b.node_id])
        self.assertNotEqual(a.node_id, b.node_id)

    @inlineCallbacks
    def test_one_node_a_folder(self):
        """A second node in one data folder is told so, in a sentence, and harms nothing."""
        folder = self.folder()
        a, b = self.node(data_dir=folder), self.node(data_dir=folder)
        a.startService()
        yield a.when_ready()
        b.startService()
        error = yield self.assertFailure(b.when_ready(), ConfigError)
        self.assertIn("--data-dir", str(error))
        self.assertEqual(b.listen, [])
        yield b.stopService()
        yield a.publish("t", 1)
        yield a.stopService()
        b.startService()
        yield b.when_ready()

    @inlineCallbacks
    def test_bad_key_file(self):
        """A start that fails says why to who waits, frees the port and the folder, and can be tried again."""
        folder = self.folder()
        key = Path(folder, "identity.key")
        key.write_bytes(b"nonsense")
        key.chmod(0o600)
        a = self.node(data_dir=folder)
        a.startService()
        yield self.assertFailure(a.when_ready(), IdentityError)
        self.assertEqual(a.listen, [])
        yield a.stopService()
        key.unlink()
        a.startService()
        yield a.when_ready()

    @inlineCallbacks
    def test_nobody_waits_for_a_start_that_fails(self):
        """Then it is logged, once, as a sentence."""
        folder = self.folder()
        a, b = self.node(data_dir=folder), self.node(data_dir=folder)
        a.startService()
        yield a.when_ready()
        logged = []

        def keep(event):
            if event.get("log_source") is b:
                logged.append(event)

        globalLogPublisher.addObserver(keep)
        self.addCleanup(globalLogPublisher.removeObserver, keep)
        b.startService()
        while not logged:
            yield deferLater(reactor, 0, lambda: None)
        yield b.stopService()
        self.assertEqual([event["log_level"].name for event in logged], ["critical"])

    def test_taken_port(self):
        """Binding fails at once, in privilegedStartService and in startService."""
        a = self.node()
        a.privilegedStartService()
        port = int(a.listen[0].rpartition(":")[2])
        b = self.node(port=port)
        self.assertRaises(CannotListenError, b.privilegedStartService)
        self.assertRaises(CannotListenError, b.startService)
        self.assertFalse(b.running)

    @inlineCallbacks
    def test_started_while_stopping(self):
        """A start waits for a stop under way, so that it can have the same port and folder."""
        a = self.node(data_dir=self.folder())
        a.startService()
        yield a.when_ready()
        a.reload(Config(host="127.0.0.1", port=int(a.address.rpartition(":")[2])))
        for _ in range(2):  # from within the start, and later
            stopped = a.stopService()
            a.startService()
            yield stopped
            yield a.when_ready()
            yield a.publish("t", 1)
            yield deferLater(reactor, 0, lambda: None)

    def test_all_or_nothing(self):
        """When one of several endpoints cannot be bound, the others are let go."""
        taken = self.node()
        taken.privilegedStartService()
        port = taken.listen[0].rpartition(":")[2]
        b = self.node(listen=["tcp:0:interface=127.0.0.1", f"tcp:{port}:interface=127.0.0.1"])
        self.assertRaises(CannotListenError, b.startService)
        self.assertEqual(b.listen, [])

    @inlineCallbacks
    def test_not_ready_yet(self):
        """Between bind and ready the port is taken and nobody is let in."""
        a = self.node()
        a.privilegedStartService()
        b = self.node(bootstrap=[a.listen[0]])
        b.startService()
        yield b.when_ready()
        yield deferLater(reactor, 0.1, lambda: None)
        self.assertEqual(b.peers(), [])
        a.startService()
        yield b.when_peers(1)

    @inlineCallbacks
    def test_in_an_application(self):
        """A child of somebody's MultiService, started before or after it got its parent, two in one process."""
        application = Application("somebody's")
        parent = MultiService()
        parent.setServiceParent(application)
        a = self.node()
        a.setServiceParent(parent)
        IService(application).privilegedStartService()
        IServiceCollection(application).startService()
        yield a.when_ready()
        b = self.node(bootstrap=[a.address])
        b.setServiceParent(parent)
        yield b.when_peers(1)
        yield IServiceCollection(application).stopService()
        self.assertFalse(a.ready or b.ready)
        yield self.assertFailure(b.publish("t", 1), NotRunning)

    @inlineCallbacks
    def test_many_of_one_private_address(self):
        """What the profile `wan` allows a public address does not bind the nodes of one computer or one LAN."""
        hub = self.node(profile="wan")
        hub.startService()
        yield hub.when_ready()
        for _ in range(6):
            self.node(profile="wan", bootstrap=[hub.address], discovery=False).startService()
        yield hub.when_peers(6).addTimeout(10, reactor)
        self.assertEqual(hub.stats().links_refused, {})

    @inlineCallbacks
    def test_dials_that_cross(self):
        """Two nodes that dial each other at once end with one link, five times; it carries, and never goes down."""
        for _ in range(5):
            nodes = [self.node(), self.node()]
            notices = []
            for node in nodes:
                node.startService()
                yield node.when_ready()
                node.on_event(notices.append)
            for node, other in zip(nodes, reversed(nodes), strict=True):
                node.add_peer(other.address)
            while any(len(node._peers._links) != 1 or not node.peers() for node in nodes):
                yield deferLater(reactor, 0.01, lambda: None)
            heard = []
            nodes[1].subscribe("t", heard.append)
            yield nodes[0].publish("t", 1, min_peers=1)
            while not heard:
                yield deferLater(reactor, 0.01, lambda: None)
            self.assertEqual([type(notice) for notice in notices], [PeerUp, PeerUp])
            self.assertEqual({node.peers()[0].direction for node in nodes}, {"in", "out"})
            for node in nodes:
                yield node.stopService()

    @inlineCallbacks
    def test_listen_on_several(self):
        """Endpoint strings instead of host and port; a UNIX socket has no port to advertise."""
        path = os.path.join(self.runtime, "s")
        a = self.node(listen=["tcp:0:interface=127.0.0.1", "tcp6:0:interface=\\:\\:1", f"unix:{path}"])
        a.startService()
        yield a.when_ready()
        self.assertEqual(len(a.listen), 3)
        self.assertTrue(a.listen[1].startswith("[::1]:"))
        b = self.node(bootstrap=[a.listen[1]])
        b.startService()
        yield b.when_peers(1)


class LeakTests(SocketsTestCase):
    """trial itself fails a test that leaves a socket or a delayed call in the reactor."""

    @inlineCallbacks
    def lives(self, count, **options):
        peer = self.node()
        peer.startService()
        yield peer.when_ready()
        node = self.node(bootstrap=[peer.address], **options)
        before = None
        for number in range(count):
            node.startService()
            yield node.when_peers(1)
            node.publish("t", number)
            yield node.stopService()
            if number == 2:
                gc.collect()
                before = descriptors(), threading.active_count()
        gc.collect()
        yield deferLater(reactor, 0.05, lambda: None)
        self.assertEqual((descriptors(), threading.active_count()), before)
        self.assertEqual(peer.peers(), [])

    def test_memory(self):
        """A hundred starts and stops with a memory store, a link and a message each."""
        return self.lives(100)

    def test_database(self):
        """A hundred with a data folder: lock, key, database, its thread, control socket, note."""
        done = self.lives(100, data_dir=self.folder())
        return done.addCallback(lambda _: self.assertEqual(os.listdir(runtime_dir(os.environ)), []))

    @inlineCallbacks
    def test_stopped_at_any_point(self):
        """A stop after any number of reactor turns of a start leaves nothing either."""
        folder = self.folder()
        for turns in range(40):
            node = self.node(data_dir=folder)
            node.startService()
            for _ in range(turns):
                yield deferLater(reactor, 0, lambda: None)
            yield node.stopService()
            self.assertEqual((node.listen, node.ready), ([], False))


class ReactorTests(SynchronousTestCase):
    def test_nothing_imports_the_reactor(self):
        """A node, its control plane, its database and a memory network leave the choice of a reactor open."""
        code = (
            "import sys, positron.node, positron.control, positron.store.sqlite, positron.testing\n"
            "from twisted.internet.task import Clock\n"
            "network = positron.testing.MemoryNetwork(Clock())\n"
            "a, b = network.node('a'), network.node('b', bootstrap=['a'])\n"
            "a.startService(), b.startService()\n"
            "network.wait(b.when_peers(1)), network.wait(a.publish('t', 1))\n"
            "network.run(5), network.stop()\n"
            "sys.exit('twisted.internet.reactor' in sys.modules)\n"
        )
        self.assertEqual(
            subprocess.run([sys.executable, "-W", "error", "-c", code], check=False).returncode, 0
        )
