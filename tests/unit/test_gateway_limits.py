"""Limits on a user's clients, and tokens that become worthless: neither gets in the other's way."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from parley.chat import jws
from parley.chat.ports import Revocation
from parley.socketio.frames import CloseCode
from parley.socketio.limits import Rate, RateLimits, Rates
from parley.socketio.options import Options
from parley.socketio.protocol import CloseReason
from tests.unit.chat import ALICE, BOB
from tests.unit.socketio import WebSocketClient, settle, until

from .gateways import KICK, SIGNER, Node, Site, error_of, join, opened_site

HARDLY = 0.001
"""A rate by which nothing comes while a test runs."""
TWICE = RateLimits(account_connects=Rate(HARDLY, burst=2))
FOREVER = 1e9


def old_token() -> bytes:
    """The packet with which a client joins whose token is from long ago."""
    claims = json.dumps({"sub": ALICE, "iat": 1}).encode()
    return b"40" + json.dumps({"token": jws.sign(claims, SIGNER.secret.encode())}).encode()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with opened_site(tmp_path, Options(limits=TWICE)) as site:
        yield site


def connected(node: Node) -> WebSocketClient:
    client = WebSocketClient(node.server.engine)
    client.open()
    return client


async def answer(client: WebSocketClient, packet: bytes) -> bytes:
    """What the server says to a packet: a packet, or the payload of its Close frame."""
    client.say(packet)
    await until(lambda: client.wire.writes)
    ((_, payload),) = client.frames()
    return payload


async def test_a_user_joins_so_often_and_no_more(site: Site) -> None:
    engine = site.a.server.engine
    for _ in range(2):
        assert (await answer(connected(site.a), join())).startswith(b"40{")
    closing = await answer(connected(site.a), join())
    assert int.from_bytes(closing[:2], "big") == CloseCode.TRY_AGAIN
    assert closing[2:] == b"too many connects"
    assert engine.limiter.refused["user_connects"] == 1
    assert engine.closed[CloseReason.TOO_MANY] == 1
    assert (await answer(connected(site.a), join(BOB))).startswith(b"40{")
    assert len(engine.sessions) == 3


async def test_leaving_the_namespace_and_joining_again_counts(site: Site) -> None:
    client = connected(site.a)
    for _ in range(2):
        assert (await answer(client, join())).startswith(b"40{")
        client.say(b"41")
    assert (await answer(client, join()))[2:] == b"too many connects"


async def test_bad_tokens_use_nothing_up(site: Site) -> None:
    """Else whoever has an old token could keep its user out."""
    await site.kicks.put(Revocation(ALICE, issued_before=2_000, until=2**50, reason=""))
    await site.a.learn()
    for _ in range(5):
        assert b'"token_revoked"' in await answer(connected(site.a), old_token())
    for _ in range(2):
        assert (await answer(connected(site.a), join())).startswith(b"40{")


async def test_a_session_that_moves_counts_once(site: Site) -> None:
    websocket = WebSocketClient(site.b.server.engine)
    websocket.dial(sid=await site.joined())
    websocket.say(b"2probe")
    await until(lambda: websocket.packets() == [b"3probe"])
    websocket.say(b"5")
    await until(lambda: site.b.delivery.users == 1 and not site.a.server.engine.sessions)
    for node, left in ((site.a, 1), (site.b, 2)):
        for _ in range(left):
            assert (await answer(connected(node), join())).startswith(b"40{")
        assert (await answer(connected(node), join()))[2:] == b"too many connects"


SLOWED = RateLimits(connection=Rates(events=Rate(HARDLY, burst=20)), patience=FOREVER)
"""Who sends more is not read any more."""
REFUSED = RateLimits(connection=Rates(events=Rate(HARDLY, burst=20)), patience=0.001)
"""Who sends more is told to wait."""


@pytest.fixture(params=[SLOWED, REFUSED], ids=["slowed", "refused"])
async def strict(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    async with opened_site(tmp_path, Options(limits=request.param)) as site:
        yield site


async def flooding(site: Site, joining: bytes) -> WebSocketClient:
    """A client that has joined, and has sent too much."""
    client = connected(site.a)
    assert (await answer(client, joining)).startswith(b"40{")
    client.say(*[b'42["ping"]'] * 40)
    await settle()
    (session,) = site.a.server.engine.sessions.values()
    assert session.throttle is not None
    assert session.throttle.holds or session.throttle.refuses
    client.wire.writes.clear()
    return client


async def test_who_sends_too_much_is_kicked_all_the_same(strict: Site) -> None:
    client = await flooding(strict, join())
    await strict.kicks.put(KICK)
    await strict.a.learn()
    assert (await error_of(client))["code"] == "token_revoked"
    assert strict.a.server.engine.sessions == {}
    assert len(strict.a.server.engine.limiter.pauses) == 0


async def test_whose_token_expires_too(strict: Site) -> None:
    client = await flooding(strict, join(ttl=2))
    assert (await error_of(client))["code"] == "token_expired"
    assert strict.a.server.engine.sessions == {}
    assert len(strict.a.server.engine.limiter.pauses) == 0
