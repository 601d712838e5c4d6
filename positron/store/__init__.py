"""What outlives the process: the interface of a store, and the map of this folder.

Rule: a store takes records (`positron.core.records`) and gives them back; it judges nothing. Which envelopes go and
whose is the core's to say; a store only keeps to its own hard quota and to retention.

- `memory`      the same contract without a disk
- `sqlite`      the store on disk, written behind: what the reactor's thread does
- `backlog`     what waits to be written, and how it is cut into batches
- `questions`   answers out of what is on disk and what waits
- `lane`        the one thread, through adbapi
- `disk`        what that thread does: open, write, prune, make room
- `tables`      how each record becomes rows, and the questions asked of them
- `loading`     everything a node is born with, read back
- `copying`     a whole copy of a database in a new file
- `migrations`  the numbered `schema/*.sql`, and refusing a newer or foreign database
- `pruning`     every table is bounded
- `reserve`     a file to give up when the disk is truly full
- `topics`      topic patterns
- `keyfile`     the identity's own file
- `folder`      the data folder: its lock, its control socket's place, the note that a node runs here

Importing this package costs no Twisted: the command line reads `folder`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from positron.core.records import EnvelopeKept, Loaded, Record, TrustChange

MIB = 1024 * 1024
DEFAULT_QUOTA = 100 * MIB
"""Bytes; docs/guarantees.rst."""

DEFAULT_RETENTION = 24 * 3600.0
"""Seconds; docs/guarantees.rst."""

PRUNE_AT = 0.80
"""From this share of its quota on, a store prunes what is over at once instead of once a minute."""

FULL_AT = 0.95
"""Above this share of its quota a store takes no more envelopes; the node goes on relaying (docs/security.rst)."""

RESUME_AT = 0.90
"""Below this share it takes them again. Lower than `FULL_AT`, so that it does not flutter."""

PRUNE_EVERY = 60.0
"""Seconds between two rounds of pruning, and how long a store leaves the core to drop an expired envelope first."""


class Store(Protocol):
    """Where a node keeps what outlives it.

    Order: records are kept in the order they are remembered, so what a crash leaves is a state that once was.
    `on_stored` and `on_health` are called in the reactor's thread, never from within `remember` or a question.
    What is asked of a store that is not open fails with `StoreError`.
    """

    on_stored: Callable[[int], None]
    """Called with the highest mark of which everything up to it is on disk (memory store: is kept).

    While the store is not storing no mark is reported, and those handed over in that time, or waiting when it began,
    never are by themselves: whoever waits for one gives up at `on_health(False)`.
    """

    on_health: Callable[[bool], None]
    """Called with False when the store stops taking envelopes (quota, full disk, I/O error), True when it resumes."""

    def open(self, now_ms: int) -> Deferred[Loaded]:
        """Open or make the store and read what it holds. `now_ms` is the wall clock.

        The epoch in it is max(stored + 1, now_ms) and on disk, synced, before this fires. Fails with `StoreError`
        for a newer, foreign or damaged database, or if the disk does not let it.
        """

    def remember(self, record: Record, mark: int = 0) -> None:
        """Keep `record`, behind, in order. A `mark` above 0, rising, is reported by `on_stored` once it is on disk.

        Never raises for trouble with the disk. Before `open` fired and after `close` began it does nothing.
        """

    def flush(self) -> Deferred[None]:
        """Fires when everything remembered so far is on disk. `StoreError` if it is not, or cannot be at present."""

    def fetch(self, ids: Sequence[bytes]) -> Deferred[dict[bytes, bytes]]:
        """The bytes of those of these envelopes that are held, by id. Sees what is not yet written, too.

        Never fails: an envelope that cannot be read is not held.
        """

    def history(
        self, topic_pattern: str, limit: int, before: int | None = None
    ) -> Deferred[list[EnvelopeKept]]:
        """The newest `limit` broadcasts with a topic that the pattern matches, in the order they were remembered.

        `before`, a value of `cursor()`, leaves out what was remembered after it: then `history(..., before=c)` and
        `after(c, ...)` together are everything, each once. Patterns: `positron.store.topics`.
        """

    def after(self, cursor: int, topic_pattern: str, limit: int) -> Deferred[list[tuple[int, EnvelopeKept]]]:
        """The oldest `limit` matching broadcasts remembered after `cursor`, in order, each with its own cursor."""

    def cursor(self) -> int:
        """Where the store stands: above that of every envelope remembered so far, or equal to the newest's.

        Cursors rise with the order of `remember`, and are good for the life of this object.
        """

    def envelope_of(self, author: bytes, epoch: int, seq: int) -> Deferred[EnvelopeKept | None]:
        """The broadcast that carries message `seq` of `author` in `epoch`, None if it is not held."""

    def trust_history(self, node_id: bytes, limit: int) -> Deferred[list[TrustChange]]:
        """The newest `limit` audit rows of this node, oldest first."""

    def size(self) -> tuple[int, int, int]:
        """Messages, envelopes and envelope bytes that are written. Cheap: the numbers are kept, not counted."""

    def backup(self, path: str) -> Deferred[int]:
        """Write a consistent copy to `path`, a new file of mode 0600; fires with its bytes, once they are synced.

        `StoreError` if it exists or cannot be made; then nothing of it is left.
        """

    def close(self) -> Deferred[None]:
        """Write what waits, and let go of everything. Fires when no thread, file or timer of the store is left.

        What could not be written was reported by `on_health(False)`. Closing twice is no harm.
        """


def no_mark(mark: int) -> None:
    """What `on_stored` is until somebody listens."""


def no_health(storing: bool) -> None:
    """What `on_health` is until somebody listens."""
