/** What the environment says. run.sh gives each variable a default. */
export interface Settings {
  port: number;
  secret: string;
  redis: { host: string; port: number };
  database: {
    type: 'postgres';
    host: string;
    port: number;
    username: string;
    password: string;
    database: string;
  };
}

const NAMES = [
  'PORT',
  'JWT_SECRET_KEY',
  'REDIS_HOST',
  'REDIS_PORT',
  'DATABASE_TYPE',
  'DATABASE_HOST',
  'DATABASE_PORT',
  'DATABASE_USER',
  'DATABASE_PASSWORD',
  'DATABASE_DB',
] as const;

type Environment = Record<(typeof NAMES)[number], string>;

/** Throws an error that names every variable that is missing. */
export function readSettings(variables: Record<string, unknown>): Settings {
  const missing = NAMES.filter((name) => !variables[name]);
  if (missing.length > 0) throw new Error(`Missing in the environment: ${missing.join(', ')}`);

  const env = variables as Environment;
  if (env.DATABASE_TYPE !== 'postgres') throw new Error('DATABASE_TYPE must be postgres');
  return {
    port: Number(env.PORT),
    secret: env.JWT_SECRET_KEY,
    redis: { host: env.REDIS_HOST, port: Number(env.REDIS_PORT) },
    database: {
      type: env.DATABASE_TYPE,
      host: env.DATABASE_HOST,
      port: Number(env.DATABASE_PORT),
      username: env.DATABASE_USER,
      password: env.DATABASE_PASSWORD,
      database: env.DATABASE_DB,
    },
  };
}
