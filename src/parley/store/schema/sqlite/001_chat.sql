-- Chats, and the inboxes they land in. Ids are UUIDs in canonical form, times are milliseconds
-- since the Unix epoch.

CREATE TABLE chats (
    receiver   TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    sender     TEXT    NOT NULL,
    seq        INTEGER NOT NULL, -- the chat's position in the receiver's inbox
    message    TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    received   INTEGER NOT NULL DEFAULT 0 CHECK (received IN (0, 1)),
    PRIMARY KEY (id, receiver) -- in this order it grows at its end, as ids grow with time
) STRICT;

-- Holds only what is still to be received, so that asking for it costs by what is returned.
CREATE INDEX chats_unreceived ON chats (receiver, seq) WHERE received = 0;

-- Every user's inbox: seq starts at 1 for each owner and has no gaps.
CREATE TABLE inbox (
    owner   TEXT    NOT NULL,
    seq     INTEGER NOT NULL,
    kind    INTEGER NOT NULL, -- parley.model.EntryKind
    chat_id TEXT    NOT NULL, -- no foreign key: rows are made from chats, in one transaction
    PRIMARY KEY (owner, seq)
) STRICT, WITHOUT ROWID;

-- The last seq of each inbox. Owners with an empty inbox have no row.
CREATE TABLE heads (
    owner TEXT    NOT NULL PRIMARY KEY,
    seq   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
