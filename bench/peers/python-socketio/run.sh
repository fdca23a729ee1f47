#!/usr/bin/env bash
# Creates the database and its table, and becomes the server.
# PYTHON must have the packages that README.md names.
set -euo pipefail
cd "$(dirname "$0")"

export PYTHON="${PYTHON:-python3}"
export PORT="${PORT:-3000}"
export JWT_SECRET_KEY="${JWT_SECRET_KEY:-mysecretkey}"
export REDIS_HOST="${REDIS_HOST:-127.0.0.1}" REDIS_PORT="${REDIS_PORT:-6379}"
export DATABASE_TYPE="${DATABASE_TYPE:-postgres}"
export DATABASE_HOST="${DATABASE_HOST:-127.0.0.1}" DATABASE_PORT="${DATABASE_PORT:-5432}"
export DATABASE_USER="${DATABASE_USER:-postgres}" DATABASE_PASSWORD="${DATABASE_PASSWORD:-postgres}"
export DATABASE_DB="${DATABASE_DB:-bench_python_socketio}"

"$PYTHON" -m chat_server.schema

exec "$PYTHON" -m chat_server
