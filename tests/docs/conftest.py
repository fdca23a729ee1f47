"""What the pages need beside Parley."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.clients import mark_as_careless
from tests.e2e.javascript import install_packages
from tests.e2e.server import OURS
from tests.services.deployment import psql
from tests.services.postgres import Postgres
from tests.services.valkey import RedisServer


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mark_as_careless(items, Path(__file__).parent)


@pytest.fixture(scope="session")
def node_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder ``node_modules`` with what the pages' JavaScript imports."""
    source = Path(__file__).with_name("node")
    return install_packages(source, tmp_path_factory.mktemp("node") / "pages") / "node_modules"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A terminal's, with the commands of this Python's environment and no settings of Parley's."""
    others = {name: value for name, value in os.environ.items() if name not in OURS}
    return {**others, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture
def postgres_environment(
    environment: dict[str, str], postgres: Postgres, redis_server: RedisServer
) -> Iterator[dict[str, str]]:
    """The same with PostgreSQL's commands, an empty database, and Parley's settings for it."""
    with postgres.temporary_database() as database:
        yield {
            **environment,
            **postgres.environment(database),
            **redis_server.environment(),
            "JWT_SECRET_KEY": "a-long-random-text-that-nobody-can-guess",
            "PATH": f"{psql().parent}{os.pathsep}{environment['PATH']}",
            "PGHOST": postgres.host,
            "PGPORT": str(postgres.port),
            "PGUSER": postgres.user,
            "PGPASSWORD": postgres.password,
            "PGDATABASE": database,
        }
