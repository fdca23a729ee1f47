/** Creates the database and its table if they are missing: `node src/schema.js`. */

import pg from "pg";
import { postgres } from "./settings.js";

const DUPLICATE_DATABASE = "42P04";

const TABLE = `
BEGIN;
SELECT pg_advisory_xact_lock(1); -- nodes may start at the same moment
CREATE TABLE IF NOT EXISTS chat (
  id uuid PRIMARY KEY,
  sender uuid NOT NULL,
  receiver uuid NOT NULL,
  message text NOT NULL,
  created_at bigint NOT NULL,
  received boolean NOT NULL DEFAULT false,
  seq bigint -- its place in the receiver's inbox; only COMMIT=group knows that
);
CREATE INDEX IF NOT EXISTS chat_receiver ON chat (receiver, created_at);
CREATE TABLE IF NOT EXISTS inbox (
  owner uuid, seq bigint, kind smallint NOT NULL, chat_id uuid NOT NULL, PRIMARY KEY (owner, seq)
);
CREATE TABLE IF NOT EXISTS heads (owner uuid PRIMARY KEY, seq bigint NOT NULL)
  WITH (fillfactor = 50);
COMMIT`;

/** Connect to a database, do something there, and disconnect. */
async function connected(database, run) {
  const client = new pg.Client({ ...postgres, database });
  await client.connect();
  try {
    await run(client);
  } finally {
    await client.end();
  }
}

await connected("postgres", async (client) => {
  try {
    await client.query(`CREATE DATABASE ${client.escapeIdentifier(postgres.database)}`);
  } catch (error) {
    if (error.code !== DUPLICATE_DATABASE) throw error;
  }
});
await connected(postgres.database, (client) => client.query(TABLE));
