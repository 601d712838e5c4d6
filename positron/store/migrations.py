"""The database's form: numbered scripts in `schema/`, applied in order, each in a transaction of its own.

Rule: forward only. A database newer than this code, or of somebody else, is refused and never guessed at; before an
older one is changed, a copy is left beside it.

A script is `NNNN_name.sql`; the highest NNNN applied is `PRAGMA user_version`. `PRAGMA application_id` marks the
file as ours.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from importlib import resources

from positron.errors import StoreError
from positron.store import copying

APPLICATION_ID = 0x504F5349
"""`POSI`."""

_MAGIC = b"SQLite format 3\0"
_HEADER = 100


def scripts() -> list[str]:
    """The SQL of every migration; the first leads to version 1."""
    folder = resources.files("positron.store").joinpath("schema")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [folder.joinpath(name).read_text(encoding="utf-8") for name in names]


def check(path: str, newest: int | None = None) -> None:
    """Judge the database at `path` by its header alone, creating and locking nothing.

    Raises `StoreError` with one sentence if it is newer than this code, foreign, damaged or unreadable. None there
    yet is fine. `newest` is the version this code writes.
    """
    newest = len(scripts()) if newest is None else newest
    try:
        with open(path, "rb") as file:
            header = file.read(_HEADER)
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(f"cannot read the database {path}: {error.strerror}") from error
    if not header:
        return
    if len(header) < _HEADER or not header.startswith(_MAGIC):
        raise StoreError(f"{path} is damaged or not a database: move it away, or restore a backup")
    page_size = int.from_bytes(header[16:18], "big")
    version = int.from_bytes(header[60:64], "big")
    application = int.from_bytes(header[68:72], "big")
    just_made = application == 0 and version == 0 and size <= (65536 if page_size == 1 else page_size)
    if not just_made:
        judge(path, application, version, newest)


def judge(path: str, application: int, version: int, newest: int) -> None:
    """Raise `StoreError` unless these marks are those of a database that this code can use or upgrade."""
    if application != APPLICATION_ID:
        raise StoreError(f"{path} is a database of another program: choose another --data-dir")
    if version > newest:
        raise StoreError(
            f"{path} has version {version} and this positron knows up to {newest}: "
            "use the newer positron, or another --data-dir"
        )


def upgrade(connection: sqlite3.Connection, path: str, steps: Sequence[str]) -> None:
    """Bring the open database to version `len(steps)`, in the caller's thread; `path` is its file.

    The copy of an older one is `PATH.vN`. Raises `StoreError` as `check` does; errors of SQLite come through.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    application = int(connection.execute("PRAGMA application_id").fetchone()[0])
    empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if not empty:
        judge(path, application, version, len(steps))
    if version == len(steps):
        return
    if version:
        copying.copy(connection, f"{path}.v{version}")
    for number in range(version + 1, len(steps) + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in _statements(steps[number - 1]):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # SQLite ends it by itself when the disk is full
                connection.execute("ROLLBACK")
            raise
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # so that `check` reads the version in the header


def _statements(script: str) -> list[str]:
    """The statements of a script, one by one: `executescript` would commit before it begins."""
    statements, gathered = [], ""
    for line in script.splitlines(keepends=True):
        gathered += line
        if sqlite3.complete_statement(gathered):
            statements.append(gathered)
            gathered = ""
    return statements
