from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping

import pytest

from parley.cluster.redis_client import RedisClient
from tests.services.valkey import RedisServer, ValkeyServer


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that servers run on; for links both that there are: their transports differ."""
    if os.name == "nt":
        return {"asyncio": asyncio.new_event_loop}
    import uvloop  # noqa: PLC0415 - where there is one

    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"uvloop": uvloop.new_event_loop}
    if item.path.stem in {"test_link", "test_proofs"}:
        loops["asyncio"] = asyncio.new_event_loop
    return loops


@pytest.fixture(autouse=True)
async def no_task_is_left_over() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    left = [task for task in asyncio.all_tasks() - before if task is not asyncio.current_task()]
    assert not left, f"still running: {left}"


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[RedisClient]:
    """A client of a server, with a prefix of its own."""
    client = RedisClient(redis_server.options())
    yield client
    await client.close()


@pytest.fixture
async def own_redis(own_valkey: ValkeyServer) -> AsyncIterator[RedisClient]:
    """A client of a server that the test may kill."""
    client = RedisClient(own_valkey.options())
    yield client
    await client.close()


@pytest.fixture(params=["server", "cluster"])
async def any_redis(request: pytest.FixtureRequest) -> AsyncIterator[RedisClient]:
    """A client of a server, and of a cluster."""
    served = request.getfixturevalue(f"redis_{request.param}")
    client = RedisClient(served.options())
    yield client
    await client.close()
