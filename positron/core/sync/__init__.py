"""Anti-entropy: two nodes find out which envelopes each of them lacks, by comparing ranges of a sorted set.

Range-based set reconciliation, as negentropy (NIP-77) does it: one side sends the fingerprint of a range of
(created, id); whoever finds it equal says nothing more, whoever does not answers with up to 16 smaller ranges, and a
range of at most 16 ids is sent as it is. In sync it costs one message; after a partition the differences lie next
to each other in time, which is its best case (docs/design.rst, Figures).

- `Index` is the sorted set, `Session` one side of one conversation over it, `SyncError` what a hostile message raises.
- Nothing is pushed: each side ends up knowing the ids it lacks, and fetches them with WANT.

Rule: a message is data of a stranger. Every count in it is checked before it costs anything, its ranges do not overlap,
and an answer ends when it is full. So the dearest message found, 34 KiB of wrong fingerprints against a full index,
costs 42 ms, and one of 40 bytes 14 ms; the budgets of sessions and bytes bound how many come.
"""

from __future__ import annotations

from positron.core.sync.index import MAX_ENTRIES, Index, bound
from positron.core.sync.ranges import MAX_MESSAGE, SyncError
from positron.core.sync.session import BRANCH, LEAF, MAX_ROUNDS, Round, Session

__all__ = [
    "BRANCH",
    "LEAF",
    "MAX_ENTRIES",
    "MAX_MESSAGE",
    "MAX_ROUNDS",
    "Index",
    "Round",
    "Session",
    "SyncError",
    "bound",
]
