/** Creates the database if it is missing. */

import pg from 'pg';
import { readSettings } from './settings.js';

const DUPLICATE_DATABASE = '42P04';

const { database } = readSettings(process.env);
const client = new pg.Client({ ...database, user: database.username, database: 'postgres' });
await client.connect();
try {
  await client.query(`CREATE DATABASE ${client.escapeIdentifier(database.database)}`);
} catch (error) {
  if ((error as pg.DatabaseError).code !== DUPLICATE_DATABASE) throw error;
} finally {
  await client.end();
}
