"""The SQLite store keeps the contract; and what only a disk can do wrong."""

from __future__ import annotations

import os

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from positron.store.sqlite import SQLiteStore
from tests.store.contract import QUOTA, RETENTION, StoreContract


class SQLiteStoreTests(StoreContract, TestCase):
    def make_store(self) -> SQLiteStore:
        self.folder = self.mktemp()
        os.mkdir(self.folder, 0o700)
        self.path = os.path.join(self.folder, "positron.db")
        return SQLiteStore(self.path, reactor, clock=self.clock, quota=QUOTA, retention=RETENTION)
