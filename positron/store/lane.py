"""The one thread that touches the database: an adbapi pool of one connection, so that all work is done in the order
asked, and trouble with the disk told apart from a fault in this program."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from json import JSONDecodeError
from typing import Any, TypeVar

from twisted.enterprise import adbapi
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from positron.errors import StoreError
from positron.store.disk import damaged

T = TypeVar("T")


class Lane:
    """A connection to the database at `path`, made ready by `set_up`, in a thread of `reactor`."""

    def __init__(self, path: str, reactor: Any, set_up: Callable[[sqlite3.Connection], None]) -> None:
        self._path = path
        self._reactor = reactor
        self._set_up = set_up
        self._pool: adbapi.ConnectionPool | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is a thread to run things in."""
        return self._pool is not None

    def open(self) -> None:
        """Begin. The connection is made with the first `run`; nothing runs before the reactor does."""
        self._pool = adbapi.ConnectionPool(
            "sqlite3",
            self._path,
            cp_min=1,
            cp_max=1,
            cp_reactor=self._reactor,
            cp_openfun=self._set_up,
            check_same_thread=False,
            isolation_level=None,
        )
        # The connection as it is: adbapi's wrapper looks in itself first, in vain, for all that is asked of it.
        self._pool.connectionFactory = adbapi.ConnectionPool.connect  # type: ignore[assignment] # any callable

    def run(self, work: Callable[..., T], *arguments: object) -> Deferred[T]:
        """Do `work(connection, *arguments)` in the thread, behind all that was asked before.

        Trouble with the disk, or a lane that is not open, fails with `StoreError`; any other failure is a bug.
        """
        if self._pool is None:
            return fail(StoreError("the store is not open"))
        running: Deferred[T] = self._pool.runWithConnection(work, *arguments)
        return running.addErrback(self._explain)

    def close(self) -> None:
        """Join the thread and close the connection. Waits for what runs, so let it be idle."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def _explain(self, failure: Failure) -> Failure:
        error = failure.value
        if isinstance(error, (OSError, sqlite3.OperationalError)):
            raise StoreError(f"cannot use the database {self._path}: {error}") from error
        if type(error) is sqlite3.DatabaseError or isinstance(error, JSONDecodeError):
            raise damaged(self._path, error) from error
        return failure
