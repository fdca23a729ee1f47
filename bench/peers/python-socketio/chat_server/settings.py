"""What the environment says.  run.sh gives each variable a default."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Database:
    """How to reach PostgreSQL."""

    host: str
    port: int
    user: str
    password: str
    name: str


@dataclass(frozen=True)
class Settings:
    """All that may be set."""

    port: int
    secret: str
    redis_url: str
    database: Database

    @classmethod
    def read(cls) -> Self:
        """Raises KeyError for what is missing, and ValueError for what is no number."""
        env = os.environ
        if env["DATABASE_TYPE"] != "postgres":
            raise ValueError("DATABASE_TYPE must be postgres")
        return cls(
            port=int(env["PORT"]),
            secret=env["JWT_SECRET_KEY"],
            redis_url=f"redis://{env['REDIS_HOST']}:{int(env['REDIS_PORT'])}/0",
            database=Database(
                host=env["DATABASE_HOST"],
                port=int(env["DATABASE_PORT"]),
                user=env["DATABASE_USER"],
                password=env["DATABASE_PASSWORD"],
                name=env["DATABASE_DB"],
            ),
        )
