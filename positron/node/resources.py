"""What a node holds while it runs and nobody else may: its data folder's lock, its key, its store.

Rule: opened in this order once privileges are dropped, closed in the reverse one; what was opened before something
failed is closed again.
"""

from __future__ import annotations

import secrets
from typing import Any

from twisted.internet.defer import Deferred

from positron.checks import passphrase
from positron.config import Config
from positron.core.identity import SEED_SIZE, Identity
from positron.core.records import Loaded
from positron.node.clocks import Clocks
from positron.store import Store
from positron.store.memory import MemoryStore


class Resources:
    """Of one run. `identity` and `store`, if given, are used instead of what the options name."""

    def __init__(
        self, reactor: Any, config: Config, clocks: Clocks, identity: Identity | None, store: Store | None
    ) -> None:
        self._reactor = reactor
        self._config = config
        self._clocks = clocks
        self._folder: Any = None
        self.identity = identity
        self.store = store

    async def open(self) -> Loaded:
        """Lock, key, store. Raises `ConfigError`, `IdentityError` or `StoreError` with a sentence."""
        if self._config.data_dir is not None:
            # Not at the top: only nodes with a folder pay for SQLite and adbapi.
            from positron.store.folder import DataFolder

            self._folder = DataFolder(self._config.data_dir)
            self._folder.lock()
        if self.identity is None:
            self.identity = Identity(self._seed())
        if self.store is None:
            self.store = self._make_store()
        return await self.store.open(int(self._clocks.wall() * 1000))

    async def close(self) -> None:
        """Store, then lock."""
        store, self.store = self.store, None
        if store is not None:
            await store.close()
        folder, self._folder = self._folder, None
        if folder is not None:
            folder.unlock()

    def _seed(self) -> bytes:
        path = self._config.identity_path
        if path is None:
            return secrets.token_bytes(SEED_SIZE)
        from positron.store import keyfile

        return keyfile.load_or_create(path, passphrase(self._config)).seed

    def _make_store(self) -> Store:
        config = self._config
        path = config.database_path
        if path is None:
            return MemoryStore(self._reactor, quota=config.quota, retention=config.retention)
        from positron.store.sqlite import SQLiteStore

        return SQLiteStore(
            path, self._reactor, quota=config.quota, retention=config.retention, network=config.network
        )


def flushed(store: Store | None) -> Deferred[None] | None:
    """What `Store.flush` says, None without a store."""
    return None if store is None else store.flush()
