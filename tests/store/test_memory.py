"""The memory store keeps the contract, on a clock alone."""

from twisted.trial.unittest import TestCase

from positron.errors import StoreError
from positron.store.memory import MemoryStore
from tests.store.contract import QUOTA, RETENTION, StoreContract


class MemoryStoreTests(StoreContract, TestCase):
    def make_store(self) -> MemoryStore:
        return MemoryStore(self.clock, quota=QUOTA, retention=RETENTION, wall=self.wall)

    async def test_nothing_to_back_up(self) -> None:
        """A backup of nothing on disk is refused, not faked."""
        await self.open()
        with self.assertRaises(StoreError):
            await self.store.backup("anywhere")
