"""Every table of the database is bounded, whatever was poured into it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from twisted.trial.unittest import SynchronousTestCase

from positron.core.records import Record, SequencesDropped, SequencesKept, TrustChange
from positron.core.trust import replay
from positron.store import loading, migrations, pruning, tables
from positron.store.backlog import Entry
from tests.store.samples import AUTHOR, HOUR_MS, NOW_MS, change, envelope, id_of, peer, sequences, stub, trust

QUOTA = 10 * 1024 * 1024


class PruningTests(SynchronousTestCase):
    def setUp(self) -> None:
        connection = sqlite3.connect(":memory:", isolation_level=None)
        self.addCleanup(connection.close)
        migrations.upgrade(connection, ":memory:", migrations.scripts())
        self.cursor = connection.cursor()
        self.number = 0

    def write(self, records: Iterable[Record], now_ms: int = NOW_MS) -> None:
        entries = []
        for record in records:
            self.number += 1
            entries.append(Entry(self.number, record, 0))
        self.cursor.execute("BEGIN")
        tables.write(self.cursor, entries, now_ms)
        self.cursor.execute("COMMIT")

    def prune(self, now_ms: int = NOW_MS, quota: int = QUOTA, limit: int = pruning.BATCH) -> list[int]:
        """Prune to the end; what each step removed."""
        steps = []
        while (removed := pruning.step(self.cursor, now_ms, 24 * HOUR_MS, quota, limit)[0]) > 0:
            assert removed <= limit
            steps.append(removed)
        return steps

    def count(self, table: str) -> int:
        return int(self.cursor.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    def test_steps_are_small(self) -> None:
        """A thousand expired envelopes go 50 at a time if need be, with their topics, and nothing else goes."""
        self.write(envelope(number, ("a", "b"), expires_ms=NOW_MS - 1) for number in range(1000))
        self.write([envelope(2000, ("a",)), stub(3000)])
        assert self.prune(limit=50) == [50] * 20
        assert (self.count("envelopes"), self.count("topics"), self.count("stubs")) == (1, 1, 1)

    def test_the_difference_is_told(self) -> None:
        """A step says what it took from the totals, so that they need no counting."""
        gone = envelope(1, expires_ms=NOW_MS - 1)
        self.write([gone, envelope(2)])
        assert pruning.step(self.cursor, NOW_MS, HOUR_MS, QUOTA) == (
            1,
            tables.Totals(-gone.count, -1, -len(gone.raw)),
        )

    def test_stubs_take_a_share_of_the_quota(self) -> None:
        """The oldest stubs go when there are more than one for each KiB of quota."""
        self.write(stub(number) for number in range(1500))
        self.prune(quota=1024 * 1024)
        assert self.count("stubs") == 1024
        assert self.cursor.execute("SELECT min(created_ms) FROM stubs").fetchone() == (NOW_MS + 476,)

    def test_forgotten_sequences_leave_floors(self) -> None:
        """Streams beyond the bound go from the longest untouched on, and what is forgotten is refused."""
        self.patch(pruning, "MAX_STREAMS", 2)
        self.write(sequences(epoch, touched_ms=NOW_MS + epoch) for epoch in (1, 2, 3, 4))
        self.write([SequencesKept(b"z" * 32, 1, b"", 1, [(1, 1)], 1, NOW_MS - 5)])
        self.prune()
        assert self.count("sequences") == 2
        floors = [
            SequencesDropped(*row)
            for row in self.cursor.execute(
                "SELECT author, kind, recipient, epoch FROM floors ORDER BY author"
            )
        ]
        assert floors == [SequencesDropped(AUTHOR, 1, b"", 2), SequencesDropped(b"z" * 32, 1, b"", 1)]

    def test_floors_end_when_nothing_is_left_to_refuse(self) -> None:
        """Eight days after it was set a floor guards nothing, since every envelope of then is expired."""
        self.write([SequencesDropped(AUTHOR, 1, b"", 2)])
        self.prune(NOW_MS + 7 * 24 * HOUR_MS)
        assert self.count("floors") == 1
        self.prune(NOW_MS + 8 * 24 * HOUR_MS)
        assert self.count("floors") == 0

    def test_floors_are_bounded(self) -> None:
        """T33: authors made up without end leave no more floors than there may be sequences; the oldest go."""
        self.patch(pruning, "MAX_STREAMS", 20)
        for number in range(30):
            self.write([SequencesDropped(number.to_bytes(32, "big"), 1, b"", 2)], NOW_MS + number)
        self.prune()
        assert self.count("floors") == 20
        assert self.cursor.execute("SELECT min(written_ms) FROM floors").fetchone() == (NOW_MS + 10,)

    def test_a_floor_never_sinks(self) -> None:
        """A later record with a lower floor does not open what was closed."""
        self.write([SequencesDropped(AUTHOR, 1, b"", 9), SequencesDropped(AUTHOR, 1, b"", 4)])
        loaded, _, _ = loading.load(self.cursor, 1)
        assert loaded.floors == [SequencesDropped(AUTHOR, 1, b"", 9)]

    def test_audit_rows_fold_and_still_replay(self) -> None:
        """A flood of rows becomes one checkpoint per peer and the newest rows, and those replay to the same score."""
        self.patch(pruning, "MAX_CHANGES", 700)
        nodes = [bytes([number]) * 32 for number in range(40)]
        wall = 1000.0
        rows = []
        for n in range(50):
            for node in nodes:
                step = 1 if n % 7 else -3
                before = 500_000 + sum(1 if m % 7 else -3 for m in range(n))
                rows.append(TrustChange(wall, node, "useful", 1, step, before, before + step))
        self.write([*map(trust, nodes), *rows])
        self.prune()
        assert 700 - 40 <= self.count("trust_changes") <= 700
        for node in nodes:
            whole = [row for row in rows if row.node_id == node]
            kept = tables.trust_history(self.cursor, node, 1000, self.number)
            assert len(kept) < len(whole)
            assert kept[0].cause == "checkpoint"
            assert [row.cause for row in kept].count("checkpoint") == 1
            assert sum(row.count for row in kept) == 50
            assert replay(kept, 500_000, wall) == replay(whole, 500_000, wall)

    def test_audit_rows_of_nobody_go(self) -> None:
        """Checkpoints alone can exceed the bound: those of nodes without a score go, those with one stay."""
        self.patch(pruning, "MAX_CHANGES", 10)
        nodes = [bytes([number]) * 32 for number in range(30)]
        self.write([*map(trust, nodes[:5]), *(change(0, 1, node) for node in nodes)])
        for _ in range(3):
            self.prune()
        assert self.count("trust_changes") == 10
        for node in nodes[:5]:
            assert len(tables.trust_history(self.cursor, node, 9, self.number)) == 1

    def test_a_million_changes_fit(self) -> None:
        """T33 in small: however many rows come, what stays is bounded, and so is each peer's share of a step."""
        self.patch(pruning, "MAX_CHANGES", 500)
        self.write([trust()])
        for start in range(0, 20_000, 500):
            self.write(change(n, n + 1) for n in range(start, start + 500))
            self.prune()
        assert self.count("trust_changes") <= 500
        kept = tables.trust_history(self.cursor, trust().node_id, 1000, self.number)
        assert (kept[0].before, kept[-1].after) == (0, 20_000)

    def test_scores_and_addresses_are_bounded(self) -> None:
        """The least recent score goes first, a banned node's last; an address we never linked to before one we did."""
        self.patch(pruning, "MAX_TRUST", 2)
        self.patch(pruning, "MAX_PEERS", 2)
        banned = NOW_MS / 1000 + 60
        self.write(
            [
                trust(b"a" * 32, time=1.0, banned_until=banned),
                trust(b"b" * 32, time=2.0, banned_until=1.0),
                trust(b"c" * 32, time=3.0),
                peer(b"a" * 32, tried=True, last_seen=1.0),
                peer(b"b" * 32, tried=False, last_seen=2.0, learned=9.0),
                peer(b"c" * 32, tried=False, last_seen=8.0),
            ]
        )
        self.prune()
        loaded, _, _ = loading.load(self.cursor, 1)
        assert [kept.node_id[:1] for kept in loaded.trust] == [b"a", b"c"]
        assert sorted(kept.node_id[:1] for kept in loaded.peers) == [b"a", b"b"]

    def test_nothing_to_do(self) -> None:
        """What is within bounds stays as it is."""
        self.write([envelope(1), stub(2), sequences(), peer(), trust(), change(1, 2)])
        assert self.prune() == []
        assert self.count("envelopes") == 1
        assert tables.fetch(self.cursor, [id_of(1)]) == {id_of(1): envelope(1).raw}
