"""Everything a node is born with, read back from the tables.

Rule: what is loaded hangs together. A crash may have cut a batch between an envelope and its sequence numbers, so
the numbers of every envelope held count as seen.
"""

from __future__ import annotations

import json
import sqlite3

from positron.core.records import (
    IndexEntry,
    Intervals,
    Loaded,
    PeerKept,
    SequencesDropped,
    SequencesKept,
    TrustKept,
)
from positron.store.tables import Totals

_Key = tuple[bytes, int, bytes, int]


def draw_epoch(cursor: sqlite3.Cursor, now_ms: int, network: str = "") -> int:
    """This run's epoch, written: max(stored + 1, `now_ms`). Never the same twice, nor after restoring an old copy.

    `network` is noted if none was.
    """
    row = cursor.execute("SELECT epoch, network FROM node").fetchone()
    epoch = max(row[0] + 1, now_ms) if row else now_ms
    cursor.execute(
        "REPLACE INTO node (one, epoch, network) VALUES (1, ?, ?)",
        (epoch, row[1] or network if row else network),
    )
    return int(epoch)


def load(cursor: sqlite3.Cursor, epoch: int) -> tuple[Loaded, Totals, int]:
    """All that a node is born with, the totals of what is held, and the highest number in use."""
    sequences = {
        (author, kind, recipient, number): SequencesKept(
            author, kind, recipient, number, [(low, high) for low, high in json.loads(seen)], live, touched
        )
        for author, kind, recipient, number, seen, live, touched in cursor.execute(
            "SELECT author, kind, recipient, epoch, seen, first_live, touched_ms FROM sequences"
        )
    }
    floors = [
        SequencesDropped(*row) for row in cursor.execute("SELECT author, kind, recipient, epoch FROM floors")
    ]
    index, totals = _envelopes(cursor, sequences, floors)
    stubs = cursor.execute("SELECT id, created_ms, expires_ms FROM stubs")
    index += [IndexEntry(each, created_ms, expires_ms, b"", 0) for each, created_ms, expires_ms in stubs]
    loaded = Loaded(
        epoch, index, list(sequences.values()), floors, _peers(cursor), _trust(cursor), _state(cursor)
    )
    last = cursor.execute(
        "SELECT max(ifnull((SELECT max(cursor) FROM envelopes), 0), ifnull((SELECT max(n) FROM trust_changes), 0))"
    ).fetchone()[0]
    return loaded, totals, last


def _envelopes(
    cursor: sqlite3.Cursor, sequences: dict[_Key, SequencesKept], floors: list[SequencesDropped]
) -> tuple[list[IndexEntry], Totals]:
    """The index of what is held; adds the numbers of each envelope to `sequences`."""
    refused = {(floor.author, floor.kind, floor.recipient): floor.floor_epoch for floor in floors}
    ranges: dict[_Key, Intervals] = {}
    touched: dict[_Key, int] = {}
    index, messages, size = [], 0, 0
    rows = cursor.execute(
        "SELECT id, created_ms, expires_ms, author, length(raw), kind, recipient, epoch, seq, count FROM envelopes"
    )
    for each, created_ms, expires_ms, author, length, kind, recipient, epoch, seq, count in rows:
        index.append(IndexEntry(each, created_ms, expires_ms, author, length, kind))
        messages += count
        size += length
        if epoch > refused.get((author, kind, recipient), -1):
            key = (author, kind, recipient, epoch)
            ranges.setdefault(key, []).append((seq, seq + count - 1))
            touched[key] = max(touched.get(key, 0), created_ms)
    for key, seen in ranges.items():
        known = sequences.get(key)
        if known is None:
            sequences[key] = SequencesKept(*key, merged(seen), 0, touched[key])
        else:
            known.seen = merged(known.seen + seen)
    return index, Totals(messages, len(index), size)


def merged(intervals: Intervals) -> Intervals:
    """The same numbers as sorted, disjoint intervals that do not touch."""
    result: Intervals = []
    for low, high in sorted(intervals):
        if result and low <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(result[-1][1], high))
        else:
            result.append((low, high))
    return result


def _peers(cursor: sqlite3.Cursor) -> list[PeerKept]:
    rows = cursor.execute(
        "SELECT node_id, addresses, record, record_seq, source_group, tried, last_seen, last_tried, failures, learned"
        " FROM peers"
    )
    return [
        PeerKept(node_id, tuple(json.loads(addresses)), record, seq, group, bool(tried), *times)
        for node_id, addresses, record, seq, group, tried, *times in rows
    ]


def _trust(cursor: sqlite3.Cursor) -> list[TrustKept]:
    rows = cursor.execute(
        "SELECT node_id, value, time, bans, banned_until, valid, invalid, first_seen FROM trust ORDER BY time"
    )
    return [TrustKept(*row) for row in rows]


def _state(cursor: sqlite3.Cursor) -> dict[str, str]:
    return dict(cursor.execute("SELECT key, value FROM state").fetchall())
