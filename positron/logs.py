"""What `twistd positron` writes to its log: flat JSON lines or text, at a bounded rate, with nothing a peer sends raw.

Rule: a line is a line. Whatever a message holds, control characters leave here escaped, so no peer can forge a
line, move the cursor or reverse the text. Strings that come from a peer pass `remote` at the call as well, which
also bounds their length. An embedding application has its own observers and needs none of this but `remote`.
"""

from __future__ import annotations

import json as _json
import os
import sys
from collections.abc import Callable
from datetime import datetime
from typing import IO, Any

from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
)
from twisted.python.logfile import LogFile
from zope.interface import implementer

LINES_PER_SECOND = 20
REMOTE_LIMIT = 128
"""Characters kept of a string that a peer sent."""

_OWN_FIELDS = frozenset({"ts", "level", "logger", "msg", "exc"})
_LEGACY_FIELDS = frozenset(
    {"format", "time", "message", "isError", "system", "failure", "why", "printed", "logLevel"}
)


def escape(text: str) -> str:
    """The text with everything that is not printable written as a Python escape: \\n, \\x1b, \\u202e."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def remote(text: str) -> str:
    """A string that a peer sent, fit for a log line: escaped, and at most 128 characters."""
    escaped = escape(text[: REMOTE_LIMIT + 1])
    return escaped if len(escaped) <= REMOTE_LIMIT else escaped[: REMOTE_LIMIT - 3] + "..."


def json_line(event: LogEvent) -> str:
    """One flat JSON object: ts (Unix seconds), level, logger, msg, the event's plain fields, and exc if it has one."""
    line: dict[str, object] = {
        "ts": event.get("log_time"),
        "level": _level(event),
        "logger": _logger(event),
        "msg": escape(formatEvent(event)),
    }
    for key, value in event.items():
        if not key.startswith("log_") and key not in _OWN_FIELDS and key not in _LEGACY_FIELDS:
            if isinstance(value, str):
                line[key] = escape(value)
            elif isinstance(value, int | None) or (isinstance(value, float) and abs(value) < float("inf")):
                line[key] = value
    trace = _trace(event)
    if trace:
        line["exc"] = trace
    return _json.dumps(line) + "\n"


def text_line(event: LogEvent) -> str:
    """Time, level, logger and message; a traceback follows indented, so that none of it looks like a line of ours."""
    moment = datetime.fromtimestamp(event.get("log_time") or 0).astimezone()
    head = f"{moment.isoformat(timespec='milliseconds')} {_level(event)} [{_logger(event)}]"
    trace = "".join(f"\n    {line}" for line in _trace(event).split("\n") if line)
    return f"{head} {escape(formatEvent(event))}{trace}\n"


def _level(event: LogEvent) -> str:
    level = event.get("log_level")
    return level.name if level is not None else "info"


def _logger(event: LogEvent) -> str:
    """Who says so; what comes through Twisted's older log module is Twisted's."""
    namespace = event.get("log_namespace") or "-"
    return "twisted" if namespace == "log_legacy" else str(namespace)


def _trace(event: LogEvent) -> str:
    """The event's traceback, escaped line by line, or nothing."""
    failure = event.get("log_failure")
    return "\n".join(map(escape, failure.getTraceback().split("\n"))) if failure is not None else ""


@implementer(ILogObserver)
class RateLimit:
    """Passes at most `rate` events a second on, in bursts of as many, and says how many it held back.

    Errors have a bucket of their own, so that no chatter can hide one. The clock is the events' own.
    """

    def __init__(self, observer: Callable[[LogEvent], None], rate: float = LINES_PER_SECOND) -> None:
        self._observer = observer
        self._chatter = _Bucket(rate)
        self._errors = _Bucket(rate)

    def __call__(self, event: LogEvent) -> None:
        """Pass the event on, or count it."""
        severe = event.get("log_level") in (LogLevel.error, LogLevel.critical)
        bucket = self._errors if severe else self._chatter
        if not bucket.take(event.get("log_time") or 0.0):
            return
        if bucket.suppressed:
            self._observer(_suppressed(event, bucket.suppressed))
            bucket.suppressed = 0
        self._observer(event)


class _Bucket:
    """A token bucket filled by the time it is told."""

    def __init__(self, rate: float) -> None:
        self.suppressed = 0
        self._rate = rate
        self._tokens = rate
        self._filled = 0.0

    def take(self, now: float) -> bool:
        """Whether one more line fits; one that does not is counted. A clock set back adds nothing."""
        self._tokens = min(self._rate, self._tokens + max(0.0, now - self._filled) * self._rate)
        self._filled = now
        if self._tokens < 1:
            self.suppressed += 1
            return False
        self._tokens -= 1
        return True


def _suppressed(event: LogEvent, count: int) -> LogEvent:
    return {
        "log_time": event.get("log_time"),
        "log_level": LogLevel.warn,
        "log_namespace": "positron.logs",
        "log_format": "{suppressed} log lines were suppressed",
        "suppressed": count,
    }


FORMATS: dict[str, Callable[[LogEvent], str]] = {"json": json_line, "text": text_line}


class Output:
    """Where one process's log goes, from which level on. twistd knows an observer's factory by its dotted name
    alone, so what that factory needs is this module's `OUTPUT`, set before logging starts.
    """

    def __init__(self) -> None:
        self.path: str | None = None
        self._file: LogFile | None = None
        self._predicate = LogLevelFilterPredicate(defaultLogLevel=LogLevel.info)

    def set_level(self, name: str) -> None:
        """The least important level to write, from now on."""
        self._predicate.setLogLevelForNamespace("", LogLevel.levelWithName(name))

    def observer(self, format: str, file: IO[str] | None = None) -> ILogObserver:
        """An observer that writes `json` or `text` to a file object, or to `path`, or to stdout."""
        target: Any = file
        if target is None and self.path:
            os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
            target = self._file = LogFile.fromFullPath(self.path)
        written = FileLogObserver(target or sys.stdout, FORMATS[format])
        return FilteringLogObserver(RateLimit(written), [self._predicate])

    def rotate(self) -> None:
        """Begin a new log file; the old one keeps its lines under another name. Nothing to do for stdout."""
        if self._file is not None:
            self._file.rotate()


OUTPUT = Output()


def json() -> ILogObserver:
    """The observer of `--log-format json`, for twistd's --logger."""
    return OUTPUT.observer("json")


def text() -> ILogObserver:
    """The observer of `--log-format text`, for twistd's --logger."""
    return OUTPUT.observer("text")
