-- Every record, in order. `hash` covers all other columns; `prev` is the hash of the record before.
CREATE TABLE journal (
    seq     INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,           -- microseconds since 1970
    kind    TEXT NOT NULL,
    agent   TEXT,
    subject TEXT,                       -- the exchange or hold it is about
    verdict TEXT,                       -- only where an exchange was judged
    body    TEXT NOT NULL,              -- JSON, secrets masked
    prev    BLOB NOT NULL,
    hash    BLOB NOT NULL
) STRICT;
CREATE INDEX journal_by_subject ON journal (subject) WHERE subject IS NOT NULL;
CREATE INDEX journal_judged ON journal (agent, seq) WHERE verdict IS NOT NULL;
CREATE INDEX journal_stopped ON journal (verdict, seq) WHERE verdict IN ('hold', 'deny');

-- One row for each hold, kept for good. Nothing here is secret.
CREATE TABLE holds (
    id            TEXT PRIMARY KEY,     -- ULID: sorts by time of creation
    agent         TEXT NOT NULL,
    digest        BLOB NOT NULL,        -- of the canonical request
    state         TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    asked         INTEGER NOT NULL DEFAULT 1,
    body_size     INTEGER NOT NULL,
    body_sha256   BLOB NOT NULL,
    decision      TEXT,
    decided_by    TEXT,
    decided_at    INTEGER,
    reason        TEXT NOT NULL DEFAULT '',
    ended_at      INTEGER,
    status        INTEGER,
    answer_size   INTEGER NOT NULL DEFAULT 0,
    verified_name TEXT,
    error         TEXT,
    collected     INTEGER NOT NULL DEFAULT 0,
    card          TEXT                  -- JSON of what was shown, written when the request itself is dropped
) STRICT;
CREATE INDEX holds_by_request ON holds (agent, digest, id);
CREATE INDEX holds_pending ON holds (agent) WHERE state = 'pending';
CREATE INDEX holds_open ON holds (expires_at) WHERE state IN ('pending', 'approved');
CREATE INDEX holds_by_state ON holds (state, id);

-- What it takes to forward a held request. Dropped some time after the hold is over.
CREATE TABLE hold_requests (
    hold    TEXT PRIMARY KEY REFERENCES holds (id),
    request BLOB NOT NULL,              -- everything but the body, credentials included
    body    BLOB NOT NULL,
    seal    BLOB NOT NULL               -- hash of id, request and body
) STRICT;

-- Answers kept for collection. Dropped with the request.
CREATE TABLE hold_answers (
    hold   TEXT PRIMARY KEY REFERENCES holds (id),
    answer BLOB NOT NULL
) STRICT;

-- What each agent did so far.
CREATE TABLE agents (
    name           TEXT PRIMARY KEY,
    attached_since INTEGER,
    frozen         INTEGER NOT NULL DEFAULT 0,
    exchanges      INTEGER NOT NULL DEFAULT 0,
    held           INTEGER NOT NULL DEFAULT 0,
    denied         INTEGER NOT NULL DEFAULT 0,
    last_seen      INTEGER
) STRICT;
