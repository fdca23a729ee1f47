"""The official JavaScript client, as applications use it; see ``node/scenarios.mjs``."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import Process
from pathlib import Path

import pytest

from .conftest import StartServer
from .javascript import output_of, start_script
from .server import PATIENCE, ChatServer

pytestmark = pytest.mark.node

SCENARIOS = (
    "acknowledgements",
    "refusal",
    "header",
    "expiry",
    "burst",
    "volatile",
    "binary",
    "transport",
)


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_the_official_client_works(
    server: ChatServer, scripts: Path, transports: list[str] | None, scenario: str
) -> None:
    node = await _start(scripts, scenario, server, transports)
    await output_of(node)


async def test_the_official_client_comes_back_after_a_restart(
    own_server: ChatServer, scripts: Path, transports: list[str] | None
) -> None:
    node = await _start(scripts, "restart", own_server, transports)
    assert node.stdout is not None
    line = await asyncio.wait_for(node.stdout.readline(), PATIENCE)
    assert line == b"restart, please\n"
    await asyncio.to_thread(own_server.restart)
    await output_of(node)


async def test_the_official_client_gets_all_through_that_it_sends_again(
    start_server: StartServer, scripts: Path, transports: list[str] | None
) -> None:
    limits = {"RATE_CONNECTION_EVENTS": "50", "RATE_CONNECTION_BURST": "60", "RATE_PATIENCE": "1"}
    node = await _start(scripts, "limits", start_server(**limits), transports)
    await output_of(node)


async def test_official_clients_that_are_too_many_at_once_come_back_by_themselves(
    start_server: StartServer, scripts: Path, transports: list[str] | None
) -> None:
    server = start_server(RATE_USER_CONNECTS="2", RATE_USER_CONNECTS_BURST="2")
    node = await _start(scripts, "crowd", server, transports)
    await output_of(node)
    assert server.metrics()['parley_rate_limited_total{limit="user_connects"}'] > 0


async def _start(
    scripts: Path, scenario: str, server: ChatServer, transports: list[str] | None
) -> Process:
    settings = {"url": server.url, "secret": server.secret, "transports": transports}
    return await start_script(scripts, settings, "scenarios.mjs", scenario)
