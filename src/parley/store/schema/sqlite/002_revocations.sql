-- Whose tokens `parley kick` has made worthless; one row for each user. Rows are never deleted: a
-- change must be seen by those who look for higher versions, and its end is a change too.

CREATE TABLE revocations (
    user_id       TEXT    NOT NULL PRIMARY KEY,
    issued_before INTEGER NOT NULL, -- earlier tokens are of no use
    until         INTEGER NOT NULL, -- and from then on they are again
    reason        TEXT    NOT NULL, -- what the user is told
    version       INTEGER NOT NULL UNIQUE -- grows with every change, whoever's it is
) STRICT, WITHOUT ROWID;
