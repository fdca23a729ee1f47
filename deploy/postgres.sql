-- Two roles instead of one: parley_owner makes and changes the tables (`parley migrate`), and
-- parley, the one that serves (`parley start`), can neither delete messages nor change tables.
-- For whoever may create roles and databases:
--
--   psql --set owner_password=SECRET --set password=ANOTHER --file deploy/postgres.sql postgres
--   DATABASE_USER=parley_owner DATABASE_PASSWORD=SECRET parley migrate
--
-- Run `parley migrate` again with each new version, before it is started.

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

-- What parley_owner makes, parley may use. Only a member of a role may say so for it.
GRANT parley_owner TO CURRENT_USER;
ALTER DEFAULT PRIVILEGES FOR ROLE parley_owner IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE ON TABLES TO parley;
