-- Chats, and the inboxes they land in. Times are milliseconds since the Unix epoch.
--
-- Every primary key begins with the owner of what is in the row, and so does every condition of
-- every statement: the tables may be partitioned by it, or spread over several servers.

CREATE TABLE chats (
    receiver   uuid    NOT NULL,
    id         uuid    NOT NULL,
    sender     uuid    NOT NULL,
    seq        bigint  NOT NULL, -- the chat's position in the receiver's inbox
    created_at bigint  NOT NULL,
    received   boolean NOT NULL DEFAULT false,
    message    text    NOT NULL,
    PRIMARY KEY (receiver, id)
);

-- Holds only what is still to be received, so that asking for it costs by what is returned.
CREATE INDEX chats_unreceived ON chats (receiver, seq) WHERE NOT received;

-- Every user's inbox: seq starts at 1 for each owner and has no gaps.
CREATE TABLE inbox (
    owner   uuid     NOT NULL,
    seq     bigint   NOT NULL,
    chat_id uuid     NOT NULL, -- no foreign key: one statement makes both rows
    kind    smallint NOT NULL, -- parley.model.EntryKind
    PRIMARY KEY (owner, seq)
);

-- The last seq of each inbox. Owners with an empty inbox have no row.
CREATE TABLE heads (
    owner uuid   NOT NULL PRIMARY KEY,
    seq   bigint NOT NULL
);

-- Each message rewrites a head. With room for the new version in the same page, that costs no
-- index entry and no vacuum.
ALTER TABLE heads SET (fillfactor = 50);
