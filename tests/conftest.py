"""Servers and programs that every test may ask for."""

from __future__ import annotations

import pytest

from parley import incidents

from .e2e.javascript import scripts
from .services.postgres import own_postgres, postgres, postgres_installation
from .services.valkey import own_cluster, own_valkey, redis_cluster, redis_server

__all__ = [
    "own_cluster",
    "own_postgres",
    "own_valkey",
    "postgres",
    "postgres_installation",
    "redis_cluster",
    "redis_server",
    "scripts",
]


@pytest.fixture(autouse=True)
def no_incidents_yet() -> None:
    """What one test provoked does not keep the log of another silent."""
    incidents.forget()
