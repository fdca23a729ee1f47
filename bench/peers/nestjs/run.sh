#!/usr/bin/env bash
# Installs and builds what is missing, creates the database, and becomes the server.
# The server makes the table itself: start the first node alone on a new database.
set -euo pipefail
cd "$(dirname "$0")"

export NODE_ENV=production
export PORT="${PORT:-3000}"
export JWT_SECRET_KEY="${JWT_SECRET_KEY:-mysecretkey}"
export REDIS_HOST="${REDIS_HOST:-127.0.0.1}" REDIS_PORT="${REDIS_PORT:-6379}"
export DATABASE_TYPE="${DATABASE_TYPE:-postgres}"
export DATABASE_HOST="${DATABASE_HOST:-127.0.0.1}" DATABASE_PORT="${DATABASE_PORT:-5432}"
export DATABASE_USER="${DATABASE_USER:-postgres}" DATABASE_PASSWORD="${DATABASE_PASSWORD:-postgres}"
export DATABASE_DB="${DATABASE_DB:-bench_nestjs}"

# npm writes this file last: it is older than the lock, or missing, unless all is installed.
if [ ! node_modules/.package-lock.json -nt package-lock.json ]; then
  npm ci --include=dev --no-audit --no-fund
fi
if [ ! -f dist/main.js ] || [ -n "$(find src *.json -newer dist/main.js -print -quit)" ]; then
  npm run build
fi

node dist/create-database.js

exec node dist/main.js
