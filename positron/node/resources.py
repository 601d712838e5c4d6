"""What a node holds while it runs and nobody else may: its data folder's lock, its key, its store.

Rule: opened in this order once privileges are dropped, closed in the reverse one; what was opened before something
failed is closed again.
"""

from __future__ import annotations

import os
import secrets
from typing import Any

from twisted.logger import Logger

from positron.checks import passphrase, private
from positron.config import Config, make_runtime_dir
from positron.core.identity import SEED_SIZE, Identity
from positron.core.records import Loaded
from positron.errors import ConfigError
from positron.node.clocks import Clocks
from positron.store import Store
from positron.store.folder import DataFolder
from positron.store.memory import MemoryStore


class Resources:
    """Of one run. `identity` and `store`, if given, are used instead of what the options name."""

    _log = Logger()

    def __init__(
        self, reactor: Any, config: Config, clocks: Clocks, identity: Identity | None, store: Store | None
    ) -> None:
        self._reactor = reactor
        self._config = config
        self._clocks = clocks
        self._folder: DataFolder | None = None
        self.control_path: str | None = None
        self.identity = identity
        self.store = store

    async def open(self) -> Loaded:
        """Lock, key, store. Raises `ConfigError`, `IdentityError` or `StoreError` with a sentence."""
        config = self._config
        self.control_path = config.control_path
        if config.data_dir is not None:
            self._folder = DataFolder(config.data_dir)
            self._folder.lock()
            self.control_path = self._folder.place_socket(config.control_socket or "", self._runtime())
        self._warn_of_open_secrets()
        if self.identity is None:
            self.identity = Identity(self._seed())
        if self.store is None:
            self.store = self._make_store()
        return await self.store.open(int(self._clocks.wall() * 1000))

    def note(self, port: int) -> None:
        """Leave a note for the command line that a node runs here; `port` is the one it listens on."""
        runtime = self._runtime() if self._folder is not None else ""
        if self._folder is None or self.control_path is None or not runtime:
            return
        try:
            self._folder.note(runtime, self._config.network, port, self.control_path)
        except OSError as error:
            self._log.warn("Clients must be given --data-dir: {error}", error=str(error))

    async def close(self) -> None:
        """Store, then lock."""
        store, self.store = self.store, None
        folder, self._folder = self._folder, None
        try:
            if store is not None:
                await store.close()
        finally:
            if folder is not None:
                folder.unlock()

    def _runtime(self) -> str:
        """The folder for notes and long sockets, empty where there is none to be had."""
        try:
            return make_runtime_dir(os.environ)
        except OSError as error:
            self._log.warn("Clients must be given --data-dir: {error}", error=str(error))
            return ""

    def _warn_of_open_secrets(self) -> None:
        try:
            private(self._config)
        except (ConfigError, OSError) as error:
            self._log.warn("{error}", error=str(error))

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
            return MemoryStore(
                self._reactor, quota=config.quota, retention=config.retention, wall=self._clocks.wall
            )
        from positron.store.sqlite import SQLiteStore

        return SQLiteStore(
            path,
            self._reactor,
            wall=self._clocks.wall,
            quota=config.quota,
            retention=config.retention,
            network=config.network,
        )
