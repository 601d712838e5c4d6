"""How each record becomes rows, and the questions asked of them. Plain DB-API, run in the store's thread.

Rule: nothing here begins, ends or retries a transaction; the caller does.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from positron.core.envelope import BROADCAST
from positron.core.records import (
    EnvelopeKept,
    EnvelopesDropped,
    Intervals,
    PeerForgotten,
    PeerKept,
    SequencesDropped,
    SequencesKept,
    StateKept,
    StubKept,
    TrustChange,
    TrustKept,
)
from positron.store.backlog import Entry
from positron.store.topics import EVERYTHING, bounds


class Totals(NamedTuple):
    """What is held: messages, envelopes, envelope bytes. Also the difference that a write makes."""

    messages: int = 0
    envelopes: int = 0
    bytes: int = 0

    def plus(self, other: Totals) -> Totals:
        """Both together."""
        return Totals(
            self.messages + other.messages, self.envelopes + other.envelopes, self.bytes + other.bytes
        )


NOTHING = Totals()

_as_json = lru_cache(1024)(json.dumps)
"""For the topics of an envelope, which are the same again and again."""

COLUMNS = (
    "id, raw, author, kind, epoch, seq, count, created_ms, expires_ms, received, hops, topics, recipient"
)
"""Of `envelopes`, in the order of `EnvelopeKept`'s fields."""

_INSERT = (
    f"INSERT INTO envelopes ({COLUMNS}, cursor)"  # noqa: S608 - a constant
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)


# ------------------------------------------------------------------------------------------------------ writing


def write(cursor: sqlite3.Cursor, entries: Iterable[Entry], now_ms: int) -> Totals:
    """Write these records, in order; what that adds to the totals. `now_ms` is the wall clock."""
    totals = NOTHING
    run: list[tuple[int, EnvelopeKept]] = []
    for number, record, _ in entries:
        match record:
            case EnvelopeKept():
                run.append((number, record))
            case StubKept() | EnvelopesDropped():
                totals = totals.plus(_keep_envelopes(cursor, run))
                run.clear()
                totals = totals.plus(_keep_less(cursor, record))
            case _:
                _WRITERS[type(record)](cursor, number, record, now_ms)
    return totals.plus(_keep_envelopes(cursor, run))


def _keep_envelopes(cursor: sqlite3.Cursor, run: list[tuple[int, EnvelopeKept]]) -> Totals:
    """Insert these at once; those held already stay as they are."""
    if not run:
        return NOTHING
    cursor.executemany(
        _INSERT,
        [
            (
                kept.id,
                kept.raw,
                kept.author,
                kept.kind,
                kept.epoch,
                kept.seq,
                kept.count,
                kept.created_ms,
                kept.expires_ms,
                kept.received,
                kept.hops,
                _as_json(kept.topics),
                kept.recipient,
                number,
            )
            for number, kept in run
        ],
    )
    if cursor.rowcount < len(run):
        run = [each for each in run if _is_row(cursor, *each)]
    # Stubs are rare, so one look at them spares a statement for each envelope.
    if cursor.execute("SELECT EXISTS (SELECT 1 FROM stubs)").fetchone()[0]:
        cursor.executemany("DELETE FROM stubs WHERE id = ?", [(kept.id,) for _, kept in run])
    cursor.executemany(
        "INSERT INTO topics (topic, cursor) VALUES (?, ?) ON CONFLICT DO NOTHING",
        [(topic, number) for number, kept in run if kept.kind == BROADCAST for topic in kept.topics],
    )
    messages = size = 0
    for _, kept in run:
        messages += kept.count
        size += len(kept.raw)
    return Totals(messages, len(run), size)


def _is_row(cursor: sqlite3.Cursor, number: int, kept: EnvelopeKept) -> bool:
    row = cursor.execute("SELECT id FROM envelopes WHERE cursor = ?", (number,)).fetchone()
    return row is not None and row[0] == kept.id


def _keep_less(cursor: sqlite3.Cursor, record: StubKept | EnvelopesDropped) -> Totals:
    if type(record) is EnvelopesDropped:
        cursor.executemany("DELETE FROM stubs WHERE id = ?", [(each,) for each in record.ids])
        return drop_envelopes(cursor, record.ids)
    assert type(record) is StubKept
    cursor.execute(
        "INSERT INTO stubs (id, created_ms, expires_ms) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (record.id, record.created_ms, record.expires_ms),
    )
    return drop_envelopes(cursor, [record.id])


def drop_envelopes(cursor: sqlite3.Cursor, ids: Sequence[bytes]) -> Totals:
    """Delete the envelopes with these ids, not their stubs; what that adds (zero or less) to the totals."""
    totals = NOTHING
    for envelope_id in ids:
        row = cursor.execute(
            "SELECT cursor, topics, count, length(raw) FROM envelopes WHERE id = ?", (envelope_id,)
        ).fetchone()
        if row is not None:
            number, topics, count, size = row
            cursor.execute("DELETE FROM envelopes WHERE cursor = ?", (number,))
            cursor.executemany(
                "DELETE FROM topics WHERE topic = ? AND cursor = ?",
                [(topic, number) for topic in json.loads(topics)],
            )
            totals = totals.plus(Totals(-count, -1, -size))
    return totals


def _keep_sequences(cursor: sqlite3.Cursor, _number: int, record: SequencesKept, _now_ms: int) -> None:
    cursor.execute(
        "INSERT INTO sequences (author, kind, recipient, epoch, seen, first_live, touched_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (author, kind, recipient, epoch) DO UPDATE SET"
        " seen = excluded.seen, first_live = excluded.first_live, touched_ms = excluded.touched_ms",
        (
            record.author,
            record.kind,
            record.recipient,
            record.epoch,
            _intervals(record.seen),
            record.first_live,
            record.touched_ms,
        ),
    )


def _intervals(seen: Intervals) -> str:
    """As JSON. Every batch has some, and the encoder's machinery is out of the caches by then."""
    return "[" + ", ".join([f"[{low}, {high}]" for low, high in seen]) + "]"


def _drop_sequences(cursor: sqlite3.Cursor, _number: int, record: SequencesDropped, now_ms: int) -> None:
    stream = (record.author, record.kind, record.recipient)
    cursor.execute("DELETE FROM sequences WHERE author = ? AND kind = ? AND recipient = ?", stream)
    raise_floor(cursor, *stream, record.floor_epoch, now_ms)


def raise_floor(
    cursor: sqlite3.Cursor, author: bytes, kind: int, recipient: bytes, epoch: int, now_ms: int
) -> None:
    """Refuse epochs of this stream up to `epoch` from now on. A floor never sinks."""
    cursor.execute(
        "INSERT INTO floors (author, kind, recipient, epoch, written_ms) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (author, kind, recipient) DO UPDATE SET"
        " epoch = max(epoch, excluded.epoch), written_ms = excluded.written_ms",
        (author, kind, recipient, epoch, now_ms),
    )


def _keep_peer(cursor: sqlite3.Cursor, _number: int, record: PeerKept, _now_ms: int) -> None:
    cursor.execute(
        "REPLACE INTO peers (node_id, addresses, record, record_seq, source_group, tried, last_seen, last_tried,"
        " failures, learned) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            record.node_id,
            json.dumps(record.addresses),
            record.record,
            record.record_seq,
            record.source_group,
            record.tried,
            record.last_seen,
            record.last_tried,
            record.failures,
            record.learned,
        ),
    )


def _forget_peer(cursor: sqlite3.Cursor, _number: int, record: PeerForgotten, _now_ms: int) -> None:
    cursor.execute("DELETE FROM peers WHERE node_id = ?", (record.node_id,))


def _keep_state(cursor: sqlite3.Cursor, _number: int, record: StateKept, _now_ms: int) -> None:
    cursor.execute("REPLACE INTO state (key, value) VALUES (?, ?)", (record.key, record.value))


def _keep_trust(cursor: sqlite3.Cursor, _number: int, record: TrustKept, _now_ms: int) -> None:
    if not record.time:  # that of a node now forgotten
        cursor.execute("DELETE FROM trust WHERE node_id = ?", (record.node_id,))
        return
    cursor.execute(
        "REPLACE INTO trust (node_id, value, time, bans, banned_until, valid, invalid, first_seen)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            record.node_id,
            record.value,
            record.time,
            record.bans,
            record.banned_until,
            record.valid,
            record.invalid,
            record.first_seen,
        ),
    )


def _add_change(cursor: sqlite3.Cursor, number: int, record: TrustChange, _now_ms: int) -> None:
    cursor.execute(
        "INSERT INTO trust_changes (n, node_id, time, cause, count, delta, before, after)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            number,
            record.node_id,
            record.time,
            record.cause,
            record.count,
            record.delta,
            record.before,
            record.after,
        ),
    )


_WRITERS: dict[type, Callable[[sqlite3.Cursor, int, Any, int], None]] = {
    SequencesKept: _keep_sequences,
    SequencesDropped: _drop_sequences,
    PeerKept: _keep_peer,
    PeerForgotten: _forget_peer,
    TrustKept: _keep_trust,
    TrustChange: _add_change,
    StateKept: _keep_state,
}


# ------------------------------------------------------------------------------------------------------ reading


def fetch(cursor: sqlite3.Cursor, ids: Sequence[bytes]) -> dict[bytes, bytes]:
    """The bytes of those of these envelopes that are held."""
    found = {}
    for envelope_id in ids:
        row = cursor.execute("SELECT raw FROM envelopes WHERE id = ?", (envelope_id,)).fetchone()
        if row is not None:
            found[envelope_id] = row[0]
    return found


def history(cursor: sqlite3.Cursor, pattern: str, limit: int, before: int) -> list[EnvelopeKept]:
    """The newest `limit` matching broadcasts with a cursor up to `before`, oldest first."""
    return [kept for _, kept in _select(cursor, pattern, 0, before, "DESC", limit)][::-1]


def after(
    cursor: sqlite3.Cursor, number: int, pattern: str, limit: int, last: int
) -> list[tuple[int, EnvelopeKept]]:
    """The oldest `limit` matching broadcasts with a cursor above `number` and up to `last`."""
    return _select(cursor, pattern, number, last, "ASC", limit)


def _select(
    cursor: sqlite3.Cursor, pattern: str, above: int, upto: int, order: str, limit: int
) -> list[tuple[int, EnvelopeKept]]:
    window = f"cursor > ? AND cursor <= ? ORDER BY cursor {order} LIMIT ?"
    if pattern == EVERYTHING:
        chosen = f"SELECT cursor FROM envelopes WHERE kind = 1 AND {window}"  # noqa: S608 - constants
        values: tuple[object, ...] = (above, upto, limit)
    elif bounds(pattern)[1]:
        chosen = (
            "SELECT DISTINCT cursor FROM topics"  # noqa: S608 - constants
            f" WHERE (topic = ? OR (topic >= ? AND topic < ?)) AND {window}"
        )
        values = (*bounds(pattern), above, upto, limit)
    else:
        chosen = f"SELECT cursor FROM topics WHERE topic = ? AND {window}"  # noqa: S608 - constants
        values = (pattern, above, upto, limit)
    rows = cursor.execute(
        f"SELECT cursor, {COLUMNS} FROM envelopes WHERE cursor IN ({chosen}) ORDER BY cursor {order}",  # noqa: S608
        values,
    )
    return [(row[0], _envelope(row[1:])) for row in rows]


def envelope_of(cursor: sqlite3.Cursor, author: bytes, epoch: int, seq: int) -> EnvelopeKept | None:
    """The broadcast that carries this message."""
    row = cursor.execute(
        f"SELECT {COLUMNS} FROM envelopes"  # noqa: S608 - a constant
        " WHERE kind = 1 AND author = ? AND epoch = ? AND seq <= ? ORDER BY seq DESC LIMIT 1",
        (author, epoch, seq),
    ).fetchone()
    if row is None:
        return None
    kept = _envelope(row)
    return kept if seq < kept.seq + kept.count else None


def _envelope(row: tuple[Any, ...]) -> EnvelopeKept:
    topics = tuple(json.loads(row[-2]))
    return EnvelopeKept(*(*row[:-2], topics, row[-1]))


def trust_history(cursor: sqlite3.Cursor, node_id: bytes, limit: int, last: int) -> list[TrustChange]:
    """The newest `limit` audit rows of this node up to number `last`, oldest first."""
    rows = cursor.execute(
        "SELECT time, node_id, cause, count, delta, before, after FROM trust_changes"
        " WHERE node_id = ? AND n <= ? ORDER BY n DESC LIMIT ?",
        (node_id, last, limit),
    ).fetchall()
    return [TrustChange(*row) for row in reversed(rows)]
