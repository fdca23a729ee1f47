/** What the environment says. run.sh gives each variable a default. */

const { env } = process;

if (env.DATABASE_TYPE !== "postgres") throw new Error("DATABASE_TYPE must be postgres");
if (!["each", "group"].includes(env.COMMIT)) throw new Error("COMMIT must be each or group");
if (!env.JWT_SECRET_KEY) throw new Error("JWT_SECRET_KEY is missing");

export const port = Number(env.PORT);
export const commit = env.COMMIT;
export const secret = env.JWT_SECRET_KEY;
export const redis = { host: env.REDIS_HOST, port: Number(env.REDIS_PORT) };
export const postgres = {
  host: env.DATABASE_HOST,
  port: Number(env.DATABASE_PORT),
  user: env.DATABASE_USER,
  password: env.DATABASE_PASSWORD,
  database: env.DATABASE_DB,
};
