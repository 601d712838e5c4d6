"""A node's data folder: who may use it, where its control socket is, and how a client finds the nodes that run.

Rule: only the standard library, since the command line waits for this import. What lies in the folder is believed
only under its lock, and a note in the runtime folder only while the lock it points to is held.

    DATA_DIR/lock          held (flock) while a node runs here
    DATA_DIR/positron.db   `positron.store.sqlite`
    DATA_DIR/identity.key  `positron.store.keyfile`
    DATA_DIR/control.sock  the control socket, or
    DATA_DIR/control.path  where it is, when that path is too long for a socket
    RUNTIME/PID            a note of one running node (`RUNTIME/PID.1` and so on, if one process hosts several)
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
import time
from contextlib import suppress
from typing import NamedTuple

from positron.errors import ConfigError, StoreError

LOCK = "lock"
DATABASE = "positron.db"
SOCKET = "control.sock"
SOCKET_NOTE = "control.path"

MAX_SOCKET_PATH = 100
"""Bytes; a UNIX socket's address holds 107 on Linux and 103 on macOS."""

_ATTEMPTS = 5
_PAUSE = 0.01
"""Whoever only looks whether a lock is held holds it for an instant; a node tries again."""


class Running(NamedTuple):
    """A node that runs, as it notes itself. `port` is the real one it listens on."""

    pid: int
    data_dir: str
    network: str
    port: int
    control: str


class DataFolder:
    """The folder at `path`. Nothing is touched before `lock`."""

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        self._lock: int | None = None
        self._note: str | None = None

    def lock(self) -> None:
        """Make the folder with mode 0700 if it is missing, and hold it alone until `unlock`.

        Raises `ConfigError` with a sentence that names --data-dir if another node holds it, or it is no folder of
        this user's that nobody else may write to.
        """
        if self._lock is not None:
            raise StoreError(f"{self.path} is already held by this node")
        try:
            os.makedirs(self.path, mode=0o700, exist_ok=True)
        except OSError as error:
            raise _unusable(self.path, error.strerror or "not a folder") from error
        judge(self.path)
        try:
            self._lock = _take(os.path.join(self.path, LOCK), self.path)
        except OSError as error:
            raise _unusable(self.path, error.strerror or "cannot be locked") from error

    def unlock(self) -> None:
        """Take the note back and let the folder go. Again is no harm."""
        note, self._note = self._note, None
        if note is not None:
            with suppress(OSError):  # a note without its lock means nothing
                os.unlink(note)
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def note(self, runtime: str, network: str, port: int, control: str) -> None:
        """Tell clients that a node runs here, in the folder `runtime` (0700, of this user). Needs the lock.

        `control` is the control socket's path. Raises OSError if the note cannot be written.
        """
        if self._lock is None:
            raise StoreError("a folder is noted only while it is held")
        content = json.dumps({"data_dir": self.path, "network": network, "port": port, "control": control})
        for name in os.listdir(runtime):  # whoever else says that it runs here was killed: the lock is ours
            stale = _read_note(os.path.join(runtime, name))
            if stale is not None and stale.data_dir == self.path:
                os.unlink(os.path.join(runtime, name))
        for number in range(1000):
            path = os.path.join(runtime, str(os.getpid()) + (f".{number}" if number else ""))
            found = _read_note(path)
            if found is None or found.data_dir == self.path or not is_held(found.data_dir):
                _write(path, content)
                self._note = path
                return

    def place_socket(self, wanted: str = "", runtime: str = "") -> str:
        """Where to bind the control socket, noted for clients. Needs the lock.

        `wanted` is the operator's choice, else it is `control.sock` here; over 100 bytes it moves to `runtime`.
        `control.path` names it unless it is `control.sock` here. Raises `ConfigError` if it is too long either way.
        """
        if self._lock is None:
            raise StoreError("a socket is placed only while its folder is held")
        usual = os.path.join(self.path, SOCKET)
        path = os.path.abspath(wanted) if wanted else usual
        if len(os.fsencode(path)) > MAX_SOCKET_PATH:
            name = hashlib.blake2b(os.fsencode(path), digest_size=8).hexdigest() + ".sock"
            path = os.path.join(runtime, name)
            if not runtime or len(os.fsencode(path)) > MAX_SOCKET_PATH:
                raise ConfigError("the control socket's path is too long: choose a shorter --data-dir")
        noted = os.path.join(self.path, SOCKET_NOTE)
        if path != usual:
            _write(noted, path)
        elif os.path.lexists(noted):
            os.unlink(noted)
        return path


def socket_of(data_dir: str) -> str:
    """Where a node in this folder has its control socket, for a client. Creates nothing, asks nobody."""
    try:
        with open(os.path.join(data_dir, SOCKET_NOTE), encoding="utf-8", errors="surrogateescape") as file:
            return file.read(4096)
    except OSError:
        return os.path.join(data_dir, SOCKET)


def is_held(data_dir: str) -> bool:
    """Whether a node runs in this folder. Creates nothing; False also if that cannot be seen."""
    try:
        lock = os.open(os.path.join(data_dir, LOCK), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def running(runtime: str) -> list[Running]:
    """The nodes of this user that run, by data folder. `runtime` need not exist; stale notes in it are removed."""
    found = {}
    try:
        names = os.listdir(runtime)
    except OSError:
        return []
    for name in names:
        path = os.path.join(runtime, name)
        note = _read_note(path)
        if note is None:
            continue
        if is_held(note.data_dir):
            found[note.data_dir] = note
        else:
            with suppress(OSError):  # the next one who looks removes it
                os.unlink(path)
    return [found[data_dir] for data_dir in sorted(found)]


def judge(path: str, uid: int | None = None) -> None:
    """Raise `ConfigError` unless the folder at `path` is this user's own and nobody else may write to it.

    `uid` is who this process is going to be, if not who it is.
    """
    try:
        found = os.stat(path)
    except OSError as error:
        raise _unusable(path, error.strerror or "not to be seen") from error
    if not stat.S_ISDIR(found.st_mode):
        raise _unusable(path, "not a folder")
    if found.st_uid != (os.geteuid() if uid is None else uid):
        raise _unusable(path, "it belongs to another user")
    if found.st_mode & 0o022:
        raise ConfigError(f"other users may write to {path}: chmod 700 {path}, or choose another --data-dir")


def _take(path: str, folder: str) -> int:
    """The descriptor of the lock file at `path`, held exclusively."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    for attempt in range(_ATTEMPTS):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            if attempt < _ATTEMPTS - 1:
                time.sleep(_PAUSE)
        except OSError:
            os.close(lock)
            raise
    os.close(lock)
    raise ConfigError(f"another node runs in {folder}: give this one a folder of its own with --data-dir")


def _unusable(path: str, reason: str) -> ConfigError:
    return ConfigError(f"cannot use the folder {path} ({reason}): choose another --data-dir")


def _write(path: str, content: str) -> None:
    """Put a small file in its place at once, mode 0600."""
    partial = f"{path}.{os.urandom(4).hex()}.partial"
    file = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    with open(file, "w", encoding="utf-8", errors="surrogateescape") as writer:
        writer.write(content)
    os.replace(partial, path)


def _read_note(path: str) -> Running | None:
    """The note at `path`; None if it is not one."""
    name = os.path.basename(path).partition(".")
    if not name[0].isdigit() or not (name[2].isdigit() or not name[1]):
        return None
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(file, encoding="utf-8") as reader:
            note = json.loads(reader.read(16384))
        return Running(
            int(name[0]), str(note["data_dir"]), str(note["network"]), int(note["port"]), str(note["control"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
