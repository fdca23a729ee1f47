-- Two roles instead of one: parley_owner makes and changes the tables (`parley migrate`), and
-- parley, the one that serves (`parley start`), can neither change nor delete messages, nor tables.
-- For whoever may create roles and databases:
--
--   psql --set owner_password=SECRET --set password=ANOTHER --file deploy/postgres.sql postgres
--   DATABASE_USER=parley_owner DATABASE_PASSWORD=SECRET parley migrate
--   psql --username parley_owner --file deploy/postgres-rights.sql parley
--
-- Run the last two again with each new version, before it is started.

\set ON_ERROR_STOP on

CREATE ROLE parley_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE parley LOGIN PASSWORD :'password';
CREATE DATABASE parley ENCODING 'UTF8' TEMPLATE template0;
REVOKE ALL ON DATABASE parley FROM PUBLIC;
GRANT CONNECT ON DATABASE parley TO parley, parley_owner;

\connect parley

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO parley;
GRANT USAGE, CREATE ON SCHEMA public TO parley_owner;
