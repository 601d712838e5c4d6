"""A whole copy of a database in a file of its own: before an upgrade, and for `positron backup`.

Rule: only the standard library, since the command line waits for this import. A copy is in its place whole and synced,
or nothing of it is left.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress

from positron.errors import StoreError


class BackupError(StoreError):
    """A backup cannot be written where it was asked for."""

    code = "backup"
    hint = "name a new file, in a folder with room that the node may write to"


def copy(connection: sqlite3.Connection, path: str) -> None:
    """Write a consistent copy to `path` (0600, replaced only when the copy is whole)."""
    partial = path + ".partial"
    if os.path.lexists(partial):
        os.unlink(partial)
    os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    try:
        _fill(partial, connection)
        os.replace(partial, path)
        _sync(os.path.dirname(os.path.abspath(path)))  # its name, too, survives a power loss
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(partial)
        raise


def _fill(path: str, connection: sqlite3.Connection) -> None:
    """Copy into the empty file at `path` and sync it."""
    target = sqlite3.connect(path, isolation_level=None)
    try:
        target.execute("PRAGMA journal_mode = OFF")  # a journal would stay behind when the disk is full
        connection.backup(target)
    finally:
        target.close()
    _sync(path)


def _sync(path: str) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def back_up(connection: sqlite3.Connection, path: str) -> int:
    """Write a consistent copy to `path`, a new file of mode 0600; its bytes. `BackupError` if that cannot be."""
    if os.path.lexists(path):
        raise BackupError(f"{path} is already there")
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise BackupError(f"there is no folder {folder}")
    try:
        copy(connection, path)
        return os.path.getsize(path)
    except (OSError, sqlite3.OperationalError) as error:
        raise BackupError(
            f"{path} cannot be written ({getattr(error, 'strerror', None) or error})"
        ) from error


def back_up_at_rest(database: str, path: str) -> int:
    """The same of a database that no node has open: hold its folder's lock. `StoreError` if it cannot be read."""
    try:
        with closing(sqlite3.connect(database, isolation_level=None)) as connection:
            connection.execute(
                "PRAGMA user_version"
            ).fetchone()  # what a crash left in the WAL is recovered here
            return back_up(connection, path)
    except sqlite3.Error as error:
        raise StoreError(f"cannot read the database {database}: {error}") from error
