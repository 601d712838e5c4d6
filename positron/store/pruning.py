"""Every table is bounded: what is over goes, and what a flood brought goes from the oldest on.

Rule: one step deletes at most `limit` rows and is a transaction of its own, so that reads come between. The caller
repeats `step` until it says that nothing is left to do.

The core prunes by its own, lower, bounds and says so; these hold whatever it does. Never pruned here: an envelope
that is neither expired nor beyond retention.
"""

from __future__ import annotations

import sqlite3

from positron.core.envelope import MAX_LIFETIME_MS
from positron.core.records import TrustChange
from positron.core.trust import checkpoint
from positron.store.tables import NOTHING, Totals, drop_envelopes, raise_floor

BATCH = 500
"""Rows in one step."""

LAST_RESORT = 50
"""Rows in one step on a truly full disk: a delete needs room as well (docs/design.rst, Figures)."""

MAX_CHANGES = 32_768
"""Audit rows, about 6 MiB; beyond it the oldest are folded into one checkpoint row per peer."""

STUB_SHARE = 1024
"""A stub for each so many bytes of quota: they take a tenth of it at most, whatever a flood leaves behind."""

MAX_TRUST = 16_384
MAX_PEERS = 16_384
MAX_STREAMS = 65_536
"""Twice or more what the core keeps of trust records, address book entries and sequence intervals."""

FLOOR_LIFE_MS = MAX_LIFETIME_MS + 24 * 3600 * 1000
"""After this nothing that a floor refuses is unexpired."""


def step(
    cursor: sqlite3.Cursor, now_ms: int, retention_ms: int, quota: int, limit: int = BATCH
) -> tuple[int, Totals]:
    """Delete up to `limit` rows that are over at `now_ms`: how many, and what that adds to the totals."""
    removed, totals = _envelopes(cursor, now_ms, retention_ms, limit)
    removed += _stubs(cursor, now_ms, retention_ms, quota // STUB_SHARE, limit - removed)
    for prune in (_floors, _sequences, _changes, _trust, _peers):
        if removed >= limit:
            break
        removed += prune(cursor, now_ms, limit - removed)
    return removed, totals


def _envelopes(cursor: sqlite3.Cursor, now_ms: int, retention_ms: int, limit: int) -> tuple[int, Totals]:
    ids = [
        row[0]
        for row in cursor.execute(
            "SELECT id FROM envelopes WHERE created_ms <= ? OR expires_ms <= ? LIMIT ?",
            (now_ms - retention_ms, now_ms, limit),
        ).fetchall()
    ]
    return len(ids), drop_envelopes(cursor, ids) if ids else NOTHING


def _stubs(cursor: sqlite3.Cursor, now_ms: int, retention_ms: int, most: int, limit: int) -> int:
    cursor.execute(
        "DELETE FROM stubs WHERE rowid IN"
        " (SELECT rowid FROM stubs WHERE created_ms <= ? OR expires_ms <= ? LIMIT ?)",
        (now_ms - retention_ms, now_ms, limit),
    )
    removed = cursor.rowcount
    cursor.execute(
        "DELETE FROM stubs WHERE rowid IN (SELECT rowid FROM stubs ORDER BY created_ms LIMIT ?)",
        (min(limit - removed, _excess(cursor, "stubs", most)),),
    )
    return removed + cursor.rowcount


def _floors(cursor: sqlite3.Cursor, now_ms: int, limit: int) -> int:
    cursor.execute(
        "DELETE FROM floors WHERE rowid IN (SELECT rowid FROM floors WHERE written_ms <= ? LIMIT ?)",
        (now_ms - FLOOR_LIFE_MS, limit),
    )
    removed = cursor.rowcount
    # One for each author that had to make room: who makes up authors would fill the quota with them.
    cursor.execute(
        "DELETE FROM floors WHERE rowid IN (SELECT rowid FROM floors ORDER BY written_ms LIMIT ?)",
        (min(limit - removed, _excess(cursor, "floors", MAX_STREAMS)),),
    )
    return removed + cursor.rowcount


def _sequences(cursor: sqlite3.Cursor, now_ms: int, limit: int) -> int:
    """Forget what was touched longest ago, and refuse those epochs from then on: forgetting must admit no replay."""
    most = min(limit, _excess(cursor, "sequences", MAX_STREAMS))
    rows = cursor.execute(
        "SELECT author, kind, recipient, epoch FROM sequences ORDER BY touched_ms LIMIT ?", (most,)
    ).fetchall()
    for author, kind, recipient, epoch in rows:
        raise_floor(cursor, author, kind, recipient, epoch, now_ms)
        cursor.execute(
            "DELETE FROM sequences WHERE author = ? AND kind = ? AND recipient = ? AND epoch <= ?",
            (author, kind, recipient, epoch),
        )
    return len(rows)


def _changes(cursor: sqlite3.Cursor, _now_ms: int, limit: int) -> int:
    """Fold the oldest audit rows into one checkpoint per peer, so that the rest still replays."""
    most = min(limit, _excess(cursor, "trust_changes", MAX_CHANGES))
    if not most:
        return 0
    rows = cursor.execute(
        "SELECT node_id, max(n) FROM"
        " (SELECT node_id, n FROM trust_changes WHERE cause != 'checkpoint' ORDER BY n LIMIT ?) GROUP BY node_id",
        (most,),
    ).fetchall()
    removed = 0
    for node_id, last in rows:
        removed += _fold(cursor, node_id, last)
    if removed:
        return removed
    cursor.execute(
        "DELETE FROM trust_changes WHERE n IN (SELECT n FROM trust_changes"
        " WHERE node_id NOT IN (SELECT node_id FROM trust) ORDER BY n LIMIT ?)",
        (most,),
    )
    return cursor.rowcount


def _fold(cursor: sqlite3.Cursor, node_id: bytes, last: int) -> int:
    """Turn this peer's rows up to number `last` into one checkpoint; how many rows that removed."""
    rows = cursor.execute(
        "SELECT time, node_id, cause, count, delta, before, after FROM trust_changes"
        " WHERE node_id = ? AND n <= ? ORDER BY n",
        (node_id, last),
    ).fetchall()
    folded = checkpoint([TrustChange(*row) for row in rows])
    cursor.execute("DELETE FROM trust_changes WHERE node_id = ? AND n < ?", (node_id, last))
    cursor.execute(
        "UPDATE trust_changes SET time = ?, cause = ?, count = ?, delta = ?, before = ?, after = ? WHERE n = ?",
        (folded.time, folded.cause, folded.count, folded.delta, folded.before, folded.after, last),
    )
    return len(rows) - 1


def _trust(cursor: sqlite3.Cursor, now_ms: int, limit: int) -> int:
    """Forget the scores that moved longest ago, those of nodes banned at present last."""
    most = min(limit, _excess(cursor, "trust", MAX_TRUST))
    chosen = "SELECT node_id FROM trust ORDER BY banned_until > ?, time LIMIT ?"
    cursor.execute(
        f"DELETE FROM trust WHERE node_id IN ({chosen})",  # noqa: S608 - a constant
        (now_ms / 1000, most),
    )
    return cursor.rowcount


def _peers(cursor: sqlite3.Cursor, _now_ms: int, limit: int) -> int:
    """Forget the addresses heard of longest ago, those of nodes we were linked to last."""
    most = min(limit, _excess(cursor, "peers", MAX_PEERS))
    chosen = "SELECT node_id FROM peers ORDER BY tried, max(last_seen, learned) LIMIT ?"
    cursor.execute(f"DELETE FROM peers WHERE node_id IN ({chosen})", (most,))  # noqa: S608 - a constant
    return cursor.rowcount


def _excess(cursor: sqlite3.Cursor, table: str, most: int) -> int:
    count = int(cursor.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608 - a constant
    return max(0, count - most)
