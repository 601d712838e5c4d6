"""The door: flags, checks, what twistd and twist are told, and the node as a process of its own."""

from __future__ import annotations

import fcntl
import gc
import io
import os
import signal
import socket
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.application.twist._options import TwistOptions
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import ILogObserver
from twisted.scripts._twistd_unix import ServerOptions
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from positron import checks, logs, tap
from positron.config import OPTIONS, Config
from positron.errors import ConfigError, StoreError
from positron.store import keyfile, migrations


class DoorTestCase(SynchronousTestCase):
    """Options parsed in an environment of the test's own."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.patch(os, "environ", {"XDG_DATA_HOME": str(self.folder / "share")})
        self.patch(logs, "OUTPUT", logs.Output())
        self.patch(sys, "stderr", io.StringIO())
        self.here = ["--host", "127.0.0.1", "--port", "0"]

    def parse(self, *arguments: str) -> tap.Options:
        options = tap.Options()
        options.parseOptions([*self.here, *arguments])
        return options

    def refused(self, *arguments: str) -> str:
        """The one line on stderr with which these arguments end in exit code 2."""
        ended = self.assertRaises(SystemExit, self.parse, *arguments)
        self.assertEqual(ended.code, 2)
        (line,) = sys.stderr.getvalue().splitlines()  # type: ignore[attr-defined]
        self.assertTrue(line.startswith("positron: "), line)
        return line.removeprefix("positron: ")


class FlagTests(DoorTestCase):
    def test_every_option_has_its_flag(self) -> None:
        """Each declared option is a flag, each flag a declared option, and the help shows each with its default."""
        flags = {name.removesuffix("=") for name in tap.Options().longOpt}
        self.assertEqual(flags, {o.flag[2:] for o in OPTIONS.values()} | {"config", "help", "version"})
        shown = " ".join(str(tap.Options()).split())
        for option in OPTIONS.values():
            self.assertIn(option.flag, shown)

    def test_values(self) -> None:
        """Flags become the configuration; a repeated list flag adds, any other keeps its last value."""
        config = self.parse(
            "--bootstrap", "a:1", "--bootstrap=b:2", "--ttl", "1", "--ttl", "2", "--discovery", "false"
        ).config
        self.assertEqual((config.bootstrap, config.ttl, config.discovery), (("a:1", "b:2"), 2, False))

    def test_environment_and_file(self) -> None:
        """The environment and --config work as in the configuration itself."""
        os.environ["POSITRON_TTL"] = "7"
        (self.folder / "c.toml").write_text("ttl = 6\nfanout = 6\n")
        config = self.parse("--config", str(self.folder / "c.toml")).config
        self.assertEqual((config.ttl, config.fanout), (7, 6))

    def test_paths_are_absolute(self) -> None:
        """twistd changes its folder later, so every path is absolute before."""
        config = self.parse("--data-dir", "some/where").config
        self.assertEqual(config.data_dir, os.path.abspath("some/where"))

    def test_unknown_flag(self) -> None:
        """An unknown flag is answered with the nearest one."""
        self.assertEqual(
            self.refused("--bootsrap", "a:1"), "unknown option --bootsrap; did you mean --bootstrap?"
        )

    def test_abbreviated_flag(self) -> None:
        """An abbreviation is refused: a later option could make it mean something else."""
        self.assertIn("--bootstrap", self.refused("--boot", "a:1"))

    def test_value_that_looks_like_a_flag(self) -> None:
        """What follows a flag is its value, whatever it looks like."""
        self.assertEqual(self.parse("--network", "--net").config.network, "--net")

    def test_bad_value(self) -> None:
        """A bad value names the key, the problem and the flag."""
        self.assertEqual(self.refused("--ttl", "99"), "ttl: 99 is not within 1 to 64 (flag --ttl)")

    def test_missing_value(self) -> None:
        """A flag without its value is one line too."""
        self.assertIn("--ttl", self.refused("--ttl"))

    def test_stray_argument(self) -> None:
        """A word that belongs to no flag is refused."""
        self.refused("8888")

    def test_version(self) -> None:
        """--version is positron's."""
        self.patch(sys, "stdout", io.StringIO())
        self.assertEqual(self.assertRaises(SystemExit, self.parse, "--version").code, 0)
        self.assertIn("positron 0.", sys.stdout.getvalue())  # type: ignore[attr-defined]


class CheckTests(DoorTestCase):
    def test_nothing_is_created(self) -> None:
        """A parse that passes every check leaves no trace."""
        self.parse("--data-dir", str(self.folder / "a/b"), "--log-file", str(self.folder / "c/log"))
        self.parse()
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_data_dir_is_a_file(self) -> None:
        """A data folder that cannot be one is refused by name."""
        (self.folder / "file").write_text("")
        self.assertIn("--data-dir", self.refused("--data-dir", str(self.folder / "file")))

    def test_data_dir_below_a_file(self) -> None:
        """A data folder that could not be made is refused by name."""
        (self.folder / "file").write_text("")
        self.assertIn("is not a folder", self.refused("--data-dir", str(self.folder / "file/below")))

    def test_unwritable_data_dir(self) -> None:
        """A data folder without permission to write is refused, unless this user may write anywhere."""
        self.folder.chmod(0o500)
        self.addCleanup(self.folder.chmod, 0o700)
        if os.access(self.folder, os.W_OK):
            self.parse("--data-dir", str(self.folder / "d"))
        else:
            self.assertIn("not writable", self.refused("--data-dir", str(self.folder / "d")))

    def test_locked_data_dir(self) -> None:
        """A data folder in use is refused by the option that chooses another; once it is free, it is taken."""
        lock = os.open(self.folder / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        self.assertIn("another node", self.refused("--data-dir", str(self.folder)))
        self.assertIn("--data-dir", sys.stderr.getvalue())  # type: ignore[attr-defined]
        os.close(lock)
        self.parse("--data-dir", str(self.folder))

    def test_check_leaves_the_lock_free(self) -> None:
        """Looking at the lock does not keep it."""
        (self.folder / "lock").write_text("")
        self.parse("--data-dir", str(self.folder))
        with open(self.folder / "lock") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def test_open_data_dir(self) -> None:
        """A data folder that others may write to is refused."""
        self.folder.chmod(0o777)
        self.assertIn("chmod 700", self.refused("--data-dir", str(self.folder)))

    def test_long_socket_path(self) -> None:
        """A socket path that is too long is refused, if the runtime folder is no help."""
        deep = str(self.folder / ("d" * 100))
        os.environ["XDG_RUNTIME_DIR"] = "/tmp"
        self.parse("--data-dir", deep)
        (self.folder / ("r" * 100)).mkdir()
        os.environ["XDG_RUNTIME_DIR"] = str(self.folder / ("r" * 100))
        self.assertIn("too long", self.refused("--data-dir", deep))

    def listening(self) -> int:
        server = socket.socket()
        self.addCleanup(server.close)
        server.bind(("127.0.0.1", 0))
        server.listen()
        return int(server.getsockname()[1])

    def test_taken_port(self) -> None:
        """A port in use is refused by the option that chooses another."""
        port = self.listening()
        self.assertEqual(
            self.refused("--port", str(port)),
            f"port {port} on 127.0.0.1 is taken; choose another with --port",
        )

    def test_taken_endpoint(self) -> None:
        """So is the port of an endpoint string, and the page's."""
        port = self.listening()
        self.assertIn("--listen", self.refused("--listen", f"tcp:{port}:interface=127.0.0.1"))
        sys.stderr = io.StringIO()
        self.assertIn("--http", self.refused("--http", str(port)))

    def test_foreign_address(self) -> None:
        """An address that is not this computer's, or none at all, is refused."""
        self.assertIn("203.0.113.1", self.refused("--host", "203.0.113.1"))
        sys.stderr = io.StringIO()
        self.assertIn("not an address", self.refused("--host", "not.a.host.invalid"))

    def test_bad_endpoint(self) -> None:
        """An endpoint string that no plugin knows is refused."""
        self.assertIn("listen", self.refused("--listen", "carrier-pigeon:8888"))

    def test_port_is_free_again(self) -> None:
        """The trial bind holds nothing: the same port can be tried again at once."""
        port = self.listening()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        for _ in range(2):
            self.parse("--port", str(port))

    def test_named_files_must_be_there(self) -> None:
        """A file that was named and is missing is refused by its key."""
        for key in ("passphrase_file", "secret_file", "members_file"):
            sys.stderr = io.StringIO()
            self.assertIn(key, self.refused(OPTIONS[key].flag, str(self.folder / "missing")))

    def test_files_of_a_closed_network(self) -> None:
        """Secrets and members that the node could not use are refused by their key."""
        file = self.folder / "file"
        file.write_text("not base32, no id\n")
        for key in ("secret_file", "members_file"):
            sys.stderr = io.StringIO()
            self.assertIn(key, self.refused(OPTIONS[key].flag, str(file)))

    def test_key_with_a_wide_mode(self) -> None:
        """A key file that others may read is refused in one line."""
        key = self.folder / "identity.key"
        key.write_bytes(b"x")
        key.chmod(0o644)
        self.assertIn(str(key), self.refused("--data-dir", str(self.folder)))

    def test_damaged_key(self) -> None:
        """A key file that is no key is refused in one line."""
        key = self.folder / "identity.key"
        key.write_bytes(b"x")
        key.chmod(0o600)
        self.assertIn(str(key), self.refused("--data-dir", str(self.folder)))

    def test_newer_database(self) -> None:
        """A database that a newer positron wrote is refused, and not touched."""
        path = self.folder / "positron.db"
        connection = sqlite3.connect(path)
        connection.execute(f"PRAGMA application_id = {migrations.APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 99")
        connection.execute("CREATE TABLE later (x)")
        connection.close()
        before = path.read_bytes()
        self.assertIn("version 99", self.refused("--data-dir", str(self.folder)))
        self.assertEqual(path.read_bytes(), before)

    def test_log_file(self) -> None:
        """A log file that cannot be written to its end is refused: a folder, a pipe. One that is missing is made."""
        os.mkfifo(self.folder / "pipe")
        for path in (self.folder, self.folder / "pipe"):
            sys.stderr = io.StringIO()
            self.assertIn("--log-file", self.refused("--log-file", str(path)))
        path = self.folder / "logs" / "positron.log"
        self.parse("--log-file", str(path))
        self.assertFalse(path.parent.exists())
        output = logs.Output()
        output.path = str(path)
        output.observer("text")
        self.assertTrue(path.exists())

    def test_control_socket(self) -> None:
        """A control socket where none can be is refused in one line: no folder, or something else there."""
        (self.folder / "file").write_text("")
        for path in (self.folder / "missing" / "sock", self.folder / "file"):
            sys.stderr = io.StringIO()
            self.assertIn("--control-socket", self.refused("--control-socket", str(path)))
        data_dir = self.folder / "later"
        self.parse("--data-dir", str(data_dir), "--control-socket", str(data_dir / "sock"))

    def test_empty_passphrase(self) -> None:
        """An empty first line is no passphrase: a file that was not filled in protects nothing."""
        path = self.folder / "pass"
        path.write_bytes(b"\nsecond line\n")
        self.assertIn("passphrase_file", self.refused("--passphrase-file", str(path)))

    def test_passphrase(self) -> None:
        """The passphrase is the file's first line, without its line end."""
        path = self.folder / "pass"
        path.write_bytes(b"open sesame \r\nsecond line\n")
        config = Config(data_dir="/d", passphrase_file=str(path))
        self.assertEqual(checks.passphrase(config), b"open sesame ")


class ParentTests(DoorTestCase):
    def twistd(self, *arguments: str) -> ServerOptions:
        options = ServerOptions()
        options.parseOptions(list(arguments))
        return options

    def test_another_user(self) -> None:
        """With --uid, folder and key have to be that user's, who is to use them."""
        if os.geteuid() != 0:
            raise SkipTest("only root can give files away")
        arguments = ("-n", "--uid", "65534", "positron", *self.here, "--data-dir", str(self.folder))
        self.folder.chmod(0o700)
        self.assertRaises(SystemExit, self.twistd, *arguments)
        os.chown(self.folder, 65534, -1)
        key = self.folder / "identity.key"
        keyfile.create(str(key), b"k" * 32)
        self.assertRaises(SystemExit, self.twistd, *arguments)
        folder, owned = sys.stderr.getvalue().splitlines()  # type: ignore[attr-defined]
        self.assertIn("belongs to another user", folder)
        self.assertIn("identity.key belongs to another user", owned)
        os.chown(key, 65534, -1)
        self.twistd(*arguments)

    def test_foreground(self) -> None:
        """In the foreground there is no pidfile, so two nodes can be started in one folder."""
        parent = self.twistd("-n", "positron", *self.here)
        self.assertEqual(parent["pidfile"], "")
        self.assertIs(parent["logger"], logs.text)

    def test_pidfile_asked_for(self) -> None:
        """A pidfile that was asked for stays."""
        parent = self.twistd("-n", "--pidfile", "mine.pid", "positron", *self.here)
        self.assertEqual(os.path.basename(parent["pidfile"]), "mine.pid")

    def test_daemon(self) -> None:
        """A daemon keeps its pidfile and logs to twistd.log."""
        parent = self.twistd("positron", *self.here)
        self.assertEqual(os.path.basename(parent["pidfile"]), "twistd.pid")
        self.assertEqual(logs.OUTPUT.path, os.path.abspath("twistd.log"))

    def test_daemon_has_no_stdout(self) -> None:
        """A daemon told to log to stdout is refused in one line."""
        ended = self.assertRaises(SystemExit, self.twistd, "--logfile", "-", "positron", *self.here)
        self.assertEqual(ended.code, 2)

    def test_json(self) -> None:
        """--log-format json is twistd's logger; a logger asked for on twistd's side wins."""
        parent = self.twistd("-n", "positron", *self.here, "--log-format", "json")
        self.assertIs(parent["logger"], logs.json)
        parent = self.twistd(
            "-n", "--logger", "positron.logs.text", "positron", *self.here, "--log-format", "json"
        )
        self.assertIs(parent["logger"], logs.text)

    def test_log_file(self) -> None:
        """--log-file, and else twistd's --logfile, says where the log goes."""
        self.twistd("-n", "--logfile", "a.log", "positron", *self.here)
        self.assertEqual(logs.OUTPUT.path, os.path.abspath("a.log"))
        self.twistd("-n", "--logfile", "a.log", "positron", *self.here, "--log-file", "/b.log")
        self.assertEqual(logs.OUTPUT.path, "/b.log")

    def test_twist(self) -> None:
        """twist gets an observer that writes our lines to its log file."""
        parent = TwistOptions()
        parent.parseOptions(["positron", *self.here, "--log-format", "json"])
        file = io.StringIO()
        observer = parent["fileLogObserverFactory"](file)
        self.assertTrue(ILogObserver.providedBy(observer))
        observer(
            {"log_time": 1.0, "log_format": "hello", "log_namespace": "x", "log_level": parent["logLevel"]}
        )
        self.assertEqual(file.getvalue(), "")
        observer(
            {"log_time": 1.0, "log_format": "hello", "log_namespace": "x", "log_level": logs.LogLevel.info}
        )
        self.assertIn('"msg": "hello"', file.getvalue())


class StubNode(Service):
    """A node as the door sees one."""

    on_leave: Any = None
    on_reload: Any = None

    def __init__(self) -> None:
        self.ready: Deferred[None] = Deferred()
        self.reloaded: list[Config] = []

    def when_ready(self) -> Deferred[None]:
        return self.ready

    def reload(self, config: Config) -> None:
        self.reloaded.append(config)


class StubReactor(Clock):
    """A clock that runs when told to, and notes being stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.running = False
        self.stopped = 0
        self.hooks: list[Callable[[], object]] = []

    def callWhenRunning(self, function: Callable[[], object]) -> None:
        if self.running:
            function()
        else:
            self.hooks.append(function)

    def callFromThread(self, function: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        self.callLater(0, function, *args, **kwargs)

    def run(self) -> None:
        self.running = True
        for function in self.hooks:
            function()

    def stop(self) -> None:
        self.stopped += 1


class ProgramTests(DoorTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.reactor = StubReactor()
        self.node = StubNode()
        self.program = tap.Program(self.reactor, self.node, self.parse("--data-dir", str(self.folder / "d")))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            self.addCleanup(signal.signal, number, signal.getsignal(number))

    def start(self) -> None:
        self.program.privilegedStartService()
        self.program.startService()
        self.reactor.run()

    def test_leave_stops_the_reactor_once(self) -> None:
        """The node's own wish to leave stops the reactor, which stops the node; a second wish changes nothing."""
        self.start()
        self.node.on_leave()
        self.node.on_leave()
        self.reactor.advance(0)
        self.assertEqual(self.reactor.stopped, 1)

    def test_signal_leaves(self) -> None:
        """SIGTERM leaves in good order."""
        self.start()
        os.kill(os.getpid(), signal.SIGTERM)
        self.reactor.advance(0)
        self.assertEqual(self.reactor.stopped, 1)

    def test_hangup_reloads(self) -> None:
        """SIGHUP hands the node the configuration as it is now, relative paths meaning what they meant at the start."""
        self.start()
        os.environ["POSITRON_TTL"] = "9"
        os.kill(os.getpid(), signal.SIGHUP)
        self.reactor.advance(0)
        self.assertEqual([config.ttl for config in self.node.reloaded], [9])

    def test_bad_reload_changes_nothing(self) -> None:
        """A configuration that has become wrong is logged and not used."""
        self.start()
        os.environ["POSITRON_TTL"] = "99"
        self.node.on_reload()
        self.assertEqual(self.node.reloaded, [])

    def test_ready(self) -> None:
        """What the start left in memory is not looked at by the garbage collector again; not before it is done."""
        self.addCleanup(gc.unfreeze)
        gc.unfreeze()
        self.start()
        self.assertEqual(gc.get_freeze_count(), 0)
        self.node.ready.callback(None)
        self.assertGreater(gc.get_freeze_count(), 10_000)

    def test_failed_start_leaves(self) -> None:
        """A start that fails stops the reactor, and the process will end with exit code 1."""
        registered: list[tuple[object, ...]] = []
        self.patch(tap.atexit, "register", lambda *args: registered.append(args))
        self.start()
        self.node.ready.errback(StoreError("the disk is gone"))
        self.assertEqual(self.reactor.stopped, 1)
        self.assertEqual(registered, [(tap._end, 1)])

    def test_unexpected_failure_is_logged_whole(self) -> None:
        """A bug in the start is logged with its traceback."""
        self.patch(tap.atexit, "register", lambda *args: None)
        self.start()
        self.node.ready.errback(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_failure_while_leaving(self) -> None:
        """A start cut short by a signal is no failure."""
        registered: list[tuple[object, ...]] = []
        self.patch(tap.atexit, "register", lambda *args: registered.append(args))
        self.start()
        self.program.leave()
        self.node.ready.errback(ConfigError("stopped"))
        self.assertEqual(registered, [])
