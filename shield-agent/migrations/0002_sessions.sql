-- Links that log a reviewer in once, and the sessions they became. Only hashes of the tokens are kept.
CREATE TABLE login_links (
    token_hash BLOB PRIMARY KEY,
    expires_at INTEGER NOT NULL            -- microseconds since 1970
) STRICT;

CREATE TABLE sessions (
    token_hash BLOB PRIMARY KEY,
    reviewer   TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
