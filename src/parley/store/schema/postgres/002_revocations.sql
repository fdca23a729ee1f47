-- Whose tokens `parley kick` has made worthless; one row for each user. Rows are never deleted: a
-- change must be seen by those who look for higher versions, and its end is a change too.

CREATE TABLE revocations (
    user_id       uuid   NOT NULL PRIMARY KEY,
    issued_before bigint NOT NULL, -- earlier tokens are of no use
    until         bigint NOT NULL, -- and from then on they are again
    reason        text   NOT NULL, -- what the user is told
    version       bigint NOT NULL UNIQUE -- grows with every change, whoever's it is
);
