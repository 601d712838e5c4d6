"""`twistd positron`: the command line, the operator's checks before anything starts, signals and exit codes.

Rules: this module (with `simulate --real` and `bench`) alone names the global reactor. Every operator's mistake is
found before the service exists and ends in one line on stderr and exit code 2; the checks create nothing. What goes
wrong later ends the process with one log line and exit code 1.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from threading import Thread
from types import FrameType
from typing import Any, NoReturn

from twisted.application.service import IService, MultiService
from twisted.internet._resolver import GAIResolver  # there is no public name for it
from twisted.internet.error import CannotListenError
from twisted.logger import Logger, LogLevel
from twisted.python import usage
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from positron import __version__, checks, logs
from positron.config import OPTIONS, Config, Option, load
from positron.config.kinds import nearest
from positron.errors import ConfigError, PositronError

STOP_TIMEOUT = 4.0
"""Seconds a node has to leave; past it the process ends regardless, so that a signal always ends it within 5 s."""

NAME_THREADS = 10
"""Names looked up at a time, as many as by a reactor itself."""

log = Logger()


def _reactor() -> Any:
    """The global reactor, which twistd's and twist's --reactor have chosen by the time this is called."""
    from twisted.internet import reactor

    return reactor


class Options(usage.Options):
    """The options of `twistd positron`, made from `positron.config`; `config` holds the result."""

    synopsis = "[options]"
    longdesc = "A node of a peer-to-peer gossip network. POSITRON_* variables and files set the same options."

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[str, Any] = {}
        self.config_file: str | None = None
        self.folder = os.getcwd()
        self.config = Config()

    def opt_config(self, path: str) -> None:
        """Read options from this file (TOML or JSON)."""
        self.config_file = os.path.abspath(os.path.expanduser(path))

    def opt_version(self) -> NoReturn:
        """Print the version and exit."""
        print(f"positron {__version__}")
        raise SystemExit(0)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse, check and settle; whatever is wrong ends the process with one line and exit code 2.

        A UsageError would leave twistd with exit code 1, twist with 64, and both with a page of help.
        """
        arguments = list(sys.argv[1:] if options is None else options)
        try:
            self._refuse_unknown(arguments)
            super().parseOptions(arguments)
        except (usage.UsageError, PositronError) as error:
            print(f"positron: {' '.join(str(error).split())}", file=sys.stderr)
            raise SystemExit(2) from None

    def _refuse_unknown(self, arguments: list[str]) -> None:
        """Refuse unknown flags with the nearest valid one, and the abbreviations that getopt would accept."""
        expected = {name.removesuffix("="): name.endswith("=") for name in self.longOpt}
        rest = iter(arguments)
        for argument in rest:
            if argument == "--" or not argument.startswith("--"):
                return
            name, equals, _ = argument[2:].partition("=")
            if name not in expected:
                flags = ["--" + flag for flag in expected]
                raise ConfigError(f"unknown option --{name}{nearest('--' + name, flags)}")
            if expected[name] and not equals:
                next(rest, None)

    def postOptions(self) -> None:
        """Settle the configuration, run the operator's checks, and tell twistd or twist what it has to know."""
        self.config = self.load()
        # twistd changes to this user once the ports are bound; twist cannot.
        uid = None if self.parent is None else self.parent.get("uid")
        checks.run(self.config, _reactor(), uid)
        _check_closed_network(self.config)
        logs.OUTPUT.set_level(self.config.log_level)
        if self.parent is not None and "nodaemon" in self.parent:
            _tell_twistd(self.parent, self.config, self.is_daemon())
        elif self.parent is not None:
            _tell_twist(self.parent, self.config)

    def is_daemon(self) -> bool:
        """Whether twistd runs this in the background."""
        parent = self.parent
        return parent is not None and "nodaemon" in parent and not (parent["nodaemon"] or parent["debug"])

    def load(self) -> Config:
        """The configuration as flags, environment and files have it now; ConfigError if one is wrong."""
        return load(self.given, os.environ, self.config_file, self.folder).config


def _add_flag(option: Option) -> None:
    """Give Options the method that takes this option's flag. A repeated optParameter would keep its last value only."""

    def take(self: Options, value: str) -> None:
        if option.many:
            self.given.setdefault(option.key, []).append(value)
        else:
            self.given[option.key] = value

    take.__doc__ = f"{option.help} [{option.default_text().replace('``', '')}]"
    setattr(Options, f"opt_{option.key}", take)


for _option in OPTIONS.values():
    _add_flag(_option)


def _check_closed_network(config: Config) -> None:
    """Refuse a secrets or members file that does not hold what the node will read from it."""
    from positron.node.parameters import read_members, read_secrets

    read_secrets(config.secret_file)
    read_members(config.members_file)


def _tell_twistd(parent: usage.Options, config: Config, is_daemon: bool) -> None:
    """Say where the log goes and in which form, and that a foreground process needs no pidfile."""
    if not is_daemon and parent["pidfile"] == "twistd.pid":
        # Else two nodes started in one working directory would refuse each other. A pidfile asked for stays.
        parent["pidfile"] = ""
    logfile = config.log_file or parent["logfile"] or ("twistd.log" if is_daemon else "-")
    if logfile == "-" and is_daemon:
        raise ConfigError("log_file: a daemon has no stdout to log to; name a file, or give twistd -n")
    logs.OUTPUT.path = None if logfile == "-" else os.path.abspath(logfile)
    if not parent["logger"] and not parent["syslog"]:
        parent["logger"] = f"positron.logs.{config.log_format}"


def _tell_twist(parent: usage.Options, config: Config) -> None:
    """Put our observer between twist and its log file; it filters by level itself."""
    logs.OUTPUT.path = config.log_file
    parent["logLevel"] = LogLevel.debug
    parent["fileLogObserverFactory"] = lambda file: logs.OUTPUT.observer(
        config.log_format, None if config.log_file else file
    )


class Program(MultiService):
    """A node that is a process of its own: it leaves on SIGTERM and SIGINT, reloads on SIGHUP, and its fatal
    failures end the process.

    Ordinary signals are the reactor's, but twistd kills itself anew with the signal that stopped it, and a node that
    left in good order should end with exit code 0.
    """

    def __init__(self, reactor: Any, node: Any, options: Options) -> None:
        super().__init__()
        self._reactor = reactor
        self._node = node
        self._options = options
        self._leaving = False
        node.on_leave = self.leave
        node.on_reload = self.reload
        node.setServiceParent(self)

    def privilegedStartService(self) -> None:
        """Bind; what fails here ends the process at once, for nothing runs yet."""
        self._or_exit(super().privilegedStartService)

    def startService(self) -> None:
        """Start the node, and watch over its start."""
        self._take_signals()
        self._reactor.callWhenRunning(self._take_signals)
        self._or_exit(super().startService)
        self._node.when_ready().addCallbacks(_freeze, self._fail)

    def leave(self) -> None:
        """Stop the reactor, which stops the node first; calling again changes nothing."""
        if self._leaving:
            return
        self._leaving = True
        self._reactor.callLater(STOP_TIMEOUT, self._give_up)
        self._reactor.callWhenRunning(self._reactor.stop)

    def _or_exit(self, start: Callable[[], None]) -> None:
        """Run a step of the start; if it fails by somebody's mistake, end with one log line and exit code 1.

        A daemon's parent process waits to be told by twistd itself, which does so for an exception only.
        """
        try:
            start()
        except (CannotListenError, PositronError, OSError) as error:
            log.critical("the node cannot start: {error}", error=str(error))
            if self._options.is_daemon():
                sys.excepthook = lambda *_: None  # it is logged, in one line
                raise
            _end(1)

    def _fail(self, failure: Failure) -> None:
        """Log a start that failed, one line where it is somebody's mistake, and end with exit code 1."""
        if self._leaving:
            return
        if failure.check(PositronError, OSError, CannotListenError):
            log.critical("the node cannot start: {error}", error=failure.getErrorMessage())
        else:
            log.failure("the node cannot start", failure, LogLevel.critical)
        # twistd has no other way to an exit code of our own: this runs after it has put away its pidfile.
        atexit.register(_end, 1)
        self.leave()

    def _give_up(self) -> None:
        log.critical("the node did not stop within {seconds} s", seconds=STOP_TIMEOUT)
        _end(1)

    def _take_signals(self) -> None:
        """Make the signals ours: while starting, and again once the reactor has installed its own."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop_signal)
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self.reload))
        signal.signal(signal.SIGUSR1, lambda *_: self._reactor.callFromThread(logs.OUTPUT.rotate))

    def _on_stop_signal(self, number: int, frame: FrameType | None) -> None:
        """The first one leaves, a second one ends at once."""
        if self._leaving:
            os._exit(128 + number)
        self._reactor.callFromThread(log.info, "{signal}: leaving", signal=signal.Signals(number).name)
        self._reactor.callFromThread(self.leave)

    def reload(self) -> None:
        """Read the configuration anew; a wrong one is logged in one line and changes nothing."""
        try:
            config = self._options.load()
            self._node.reload(config)
        except PositronError as error:
            log.error("the configuration is not reloaded: {error}", error=str(error))
            return
        logs.OUTPUT.set_level(config.log_level)
        log.info("configuration reloaded")


def _freeze(_: object) -> None:
    """Take what the start left behind out of every later garbage collection, for it stays until the end.

    A full one takes 7 ms less then (research: limits, section 5). It is a matter of the whole process, so a `Node`
    leaves it to its program.
    """
    gc.collect()
    gc.freeze()


def _look_names_up_apart(reactor: Any) -> None:
    """Look names up in threads that nobody waits for at the end.

    A lookup may hang for a minute, and before it ends the reactor joins its own threads, as Python does all that are no
    daemons: a signal would not end the process within 5 s.
    """
    threads = ThreadPool(0, NAME_THREADS, "names")
    threads.threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment] # it is only called
    reactor.callWhenRunning(threads.start)
    reactor.installNameResolver(GAIResolver(reactor, lambda: threads))


def _end(code: int) -> NoReturn:
    """End the process now, whatever threads or handlers remain, with what was logged written."""
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None and not stream.closed:
            stream.flush()
    os._exit(code)


def makeService(options: Options) -> IService:
    """The node as twistd runs it; nothing is bound, opened or created yet."""
    from positron.node import Node

    reactor = _reactor()
    # Twisted's delayed calls are by the wall clock: one that is set back by an hour would keep all of them, and what is
    # to be written to disk, waiting for an hour. The process is ours alone, so nobody else reads this clock as a date.
    reactor.seconds = time.monotonic
    _look_names_up_apart(reactor)
    return Program(reactor, Node(reactor, options.config), options)
