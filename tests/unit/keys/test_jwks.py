"""Keys that are published: fetched, kept, and fetched again when a token asks for one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest

from parley.errors import KeysBroken, KeysUnavailable
from parley.keys.jwks import MOST_WAITING, Pace, PublishedKeys, read_set
from parley.keys.public import MOST_KEYS
from tests.services.jwks import JwksServer, KeyPair, document, publishing

PATIENCE = 10
OLD, NEW = KeyPair("ES256", "old"), KeyPair("EdDSA", "new")
SELDOM = Pace(usual=3600, retry=3600, spacing=0)
OFTEN = Pace(usual=0.05, retry=0.05, spacing=0.05)


@pytest.fixture
def server() -> Iterator[JwksServer]:
    with publishing(OLD) as server:
        yield server


@asynccontextmanager
async def opened(server: JwksServer, pace: Pace = SELDOM) -> AsyncIterator[PublishedKeys]:
    keys = await PublishedKeys.open(server.url, pace)
    try:
        yield keys
    finally:
        await keys.close()


def knows(keys: PublishedKeys, pair: KeyPair) -> bool:
    return bool(keys.find(pair.algorithm, pair.kid))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - who makes it true knows of no event
            await asyncio.sleep(0.005)


async def test_keys_are_there_when_it_is_open(server: JwksServer) -> None:
    async with opened(server) as keys:
        assert knows(keys, OLD)
        assert not knows(keys, NEW)
        assert len(keys.find("ES256", None)) == 1, "a token need not name its key"
        assert keys.find("EdDSA", "old") == [], "the algorithm belongs to the key"
        assert keys.fetched == server.requests == 1


async def test_they_are_fetched_again_by_and_by(server: JwksServer) -> None:
    async with opened(server, OFTEN) as keys:
        server.publish(NEW)
        await until(lambda: knows(keys, NEW))
        assert not knows(keys, OLD), "a key that is gone does not count any more"


async def test_they_are_fetched_when_somebody_asks(server: JwksServer) -> None:
    async with opened(server) as keys:
        server.publish(OLD, NEW)
        assert not knows(keys, NEW)
        assert await keys.renew()
        assert knows(keys, NEW)


async def test_all_who_ask_wait_for_one_fetch(server: JwksServer) -> None:
    async with opened(server) as keys:
        server.gate.clear()
        first = asyncio.ensure_future(keys.renew())
        await until(lambda: server.requests == 2)
        others = [asyncio.ensure_future(keys.renew()) for _ in range(100)]
        await asyncio.sleep(0)
        server.publish(NEW)
        server.gate.set()
        assert await asyncio.gather(first, *others) == [True] * 101
        # The others came when the first fetch had begun: what that found may be older than they.
        assert server.requests == 3


async def test_fetches_keep_their_distance_whoever_asks(server: JwksServer) -> None:
    async with opened(server, Pace(usual=3600, spacing=3600)) as keys:
        asking = [asyncio.ensure_future(keys.renew()) for _ in range(10)]
        await asyncio.sleep(0.05)
        assert server.requests == 1
        assert not any(each.done() for each in asking)
    assert await asyncio.gather(*asking) == [False] * 10, "nobody waits for one that is closed"


async def test_who_gives_up_waiting_does_not_end_it_for_others(server: JwksServer) -> None:
    async with opened(server) as keys:
        server.gate.clear()
        leaving, staying = (asyncio.ensure_future(keys.renew()) for _ in range(2))
        await until(lambda: server.requests == 2)
        leaving.cancel()
        server.gate.set()
        assert await staying


async def test_only_so_many_may_wait(server: JwksServer) -> None:
    async with opened(server, Pace(usual=3600, spacing=3600)) as keys:
        waiting = [asyncio.ensure_future(keys.renew()) for _ in range(MOST_WAITING)]
        await asyncio.sleep(0)
        assert not await asyncio.wait_for(keys.renew(), PATIENCE)
        assert keys.waiting == MOST_WAITING
    assert not any(await asyncio.gather(*waiting))
    assert keys.waiting == 0


@pytest.mark.parametrize("status", [500, 404])
async def test_keys_are_kept_while_there_are_none_to_be_had(
    server: JwksServer, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with opened(server) as keys:
        server.status = status
        assert not await keys.renew()
        assert not await keys.renew()
        assert (keys.failed, knows(keys, OLD)) == (2, True)
        server.status = 200
        assert await keys.renew()
    told = [record.message for record in caplog.records]
    assert len([each for each in told if str(status) in each]) == 1, "once, and not each time"
    assert any("again" in each for each in told)


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b"<html>", b'{"keys":[]}', b'{"keys":{}}', b"\xff", b"[" * 9999]
)
async def test_keys_are_kept_when_something_else_is_there(server: JwksServer, body: bytes) -> None:
    async with opened(server) as keys:
        server.body = body
        assert not await keys.renew()
        assert knows(keys, OLD)


async def test_a_failure_is_tried_again_soon(server: JwksServer) -> None:
    async with opened(server, Pace(usual=3600, retry=0.02, spacing=0)) as keys:
        server.status = 503
        assert not await keys.renew()
        server.status = 200
        server.publish(NEW)
        await until(lambda: knows(keys, NEW))


async def test_it_does_not_open_without_keys(server: JwksServer) -> None:
    server.status = 503
    with pytest.raises(KeysUnavailable):
        await PublishedKeys.open(server.url, SELDOM)
    server.status = 404
    with pytest.raises(KeysBroken, match="JWT_JWKS_URL gives no keys: it answers with status 404"):
        await PublishedKeys.open(server.url, SELDOM)


def test_what_cannot_be_used_is_left_out_and_told() -> None:
    secret = {"kty": "oct", "k": "c2VjcmV0"}
    keys, ignored = read_set(document(OLD.jwk(), secret, NEW.jwk(use="enc"), NEW.jwk(alg="RS512")))
    assert [key.kid for key in keys] == ["old"]
    assert len(ignored) == 3
    assert "c2VjcmV0" not in str(ignored)


def test_a_set_of_other_things() -> None:
    with pytest.raises(KeysBroken):
        read_set(b'{"keys": [1, "a", null, [], {}]}')


def test_very_many_keys() -> None:
    keys, ignored = read_set(document(*[OLD.jwk(kid=str(n)) for n in range(MOST_KEYS + 1)]))
    assert len(keys) == MOST_KEYS
    assert len(ignored) == 1
