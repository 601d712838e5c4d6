-- Rowid tables with unique indexes: keyed by random ids, WITHOUT ROWID costs 3.5 times as much to write.
-- `cursor` and `n` are numbers of one count, that of all records the store was handed.
-- Times in _ms are whole milliseconds, others Unix seconds. Lists are JSON.

-- What must never go backwards: one row.
CREATE TABLE node (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    epoch INTEGER NOT NULL,
    network TEXT NOT NULL
);

CREATE TABLE envelopes (
    cursor INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    author BLOB NOT NULL,
    kind INTEGER NOT NULL,
    recipient BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    count INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    received REAL NOT NULL,
    hops INTEGER NOT NULL,
    topics TEXT NOT NULL,
    raw BLOB NOT NULL
);
CREATE UNIQUE INDEX envelopes_by_id ON envelopes (id);
CREATE INDEX envelopes_by_time ON envelopes (created_ms, expires_ms);
CREATE INDEX envelopes_by_author ON envelopes (author, epoch, seq) WHERE kind = 1;

-- Which broadcasts carry a topic. Written nearly in the order of its key, so here WITHOUT ROWID is the cheaper form.
CREATE TABLE topics (
    topic TEXT NOT NULL,
    cursor INTEGER NOT NULL,
    PRIMARY KEY (topic, cursor)
) WITHOUT ROWID;

-- Envelopes that are known and not held.
CREATE TABLE stubs (
    id BLOB NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL
);
CREATE UNIQUE INDEX stubs_by_id ON stubs (id);
CREATE INDEX stubs_by_time ON stubs (created_ms, expires_ms);

CREATE TABLE sequences (
    author BLOB NOT NULL,
    kind INTEGER NOT NULL,
    recipient BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    seen TEXT NOT NULL,
    first_live INTEGER NOT NULL,
    touched_ms INTEGER NOT NULL
);
CREATE UNIQUE INDEX sequences_by_key ON sequences (author, kind, recipient, epoch);
CREATE INDEX sequences_by_time ON sequences (touched_ms);

-- Epochs of a stream up to this one are refused as old.
CREATE TABLE floors (
    author BLOB NOT NULL,
    kind INTEGER NOT NULL,
    recipient BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    written_ms INTEGER NOT NULL
);
CREATE UNIQUE INDEX floors_by_key ON floors (author, kind, recipient);
CREATE INDEX floors_by_time ON floors (written_ms);

CREATE TABLE peers (
    node_id BLOB NOT NULL,
    addresses TEXT NOT NULL,
    record BLOB NOT NULL,
    record_seq INTEGER NOT NULL,
    source_group TEXT NOT NULL,
    tried INTEGER NOT NULL,
    last_seen REAL NOT NULL,
    last_tried REAL NOT NULL,
    failures INTEGER NOT NULL,
    learned REAL NOT NULL
);
CREATE UNIQUE INDEX peers_by_id ON peers (node_id);

CREATE TABLE trust (
    node_id BLOB NOT NULL,
    value INTEGER NOT NULL,
    time REAL NOT NULL,
    bans INTEGER NOT NULL,
    banned_until REAL NOT NULL,
    valid INTEGER NOT NULL,
    invalid INTEGER NOT NULL,
    first_seen REAL NOT NULL
);
CREATE UNIQUE INDEX trust_by_id ON trust (node_id);

-- The audit trail, in the order of `n`.
CREATE TABLE trust_changes (
    n INTEGER PRIMARY KEY,
    node_id BLOB NOT NULL,
    time REAL NOT NULL,
    cause TEXT NOT NULL,
    count INTEGER NOT NULL,
    delta INTEGER NOT NULL,
    before INTEGER NOT NULL,
    after INTEGER NOT NULL
);
CREATE INDEX trust_changes_by_node ON trust_changes (node_id);

CREATE TABLE state (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
