"""Servers that are put under load."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.server import ChatServer, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChatServer]:
    """A real server with an SQLite file."""
    with running(ChatServer(tmp_path_factory.mktemp("parley"))) as server:
        yield server
