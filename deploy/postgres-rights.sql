-- What the role that serves may do with Parley's tables: read and add, mark a message received, count
-- an inbox on, and kick users. It can neither change messages, nor delete anything.
--
-- After each `parley migrate`, whether Parley runs or not:
--
--   psql --username parley_owner --file deploy/postgres-rights.sql parley

\set ON_ERROR_STOP on

BEGIN;
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM parley;
GRANT SELECT ON schema_version TO parley;
GRANT SELECT, INSERT ON chats, inbox, heads TO parley;
GRANT UPDATE (received) ON chats TO parley;
GRANT UPDATE (seq) ON heads TO parley;
GRANT SELECT, INSERT, UPDATE ON revocations TO parley;
COMMIT;
