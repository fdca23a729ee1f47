"""What clients are refused can be seen by the operator: in the metrics, and in the log."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import aiohttp

from .clients import Devices
from .conftest import StartServer
from .raw import joined
from .server import ChatServer, new_user, wait_until


def lines(server: ChatServer, kind: str) -> list[dict[str, Any]]:
    """The log lines of a kind."""
    told = (json.loads(line) for line in server.log().splitlines() if line.startswith("{"))
    return [line for line in told if line.get("kind") == kind]


def incidents(server: ChatServer, kind: str) -> float:
    return server.metrics()[f'parley_incidents_total{{kind="{kind}"}}']


async def test_refused_connects(own_server: ChatServer, devices: Devices) -> None:
    for _ in range(3):
        await devices.make(own_server).refused({"token": "not.a.token"})
    assert incidents(own_server, "connect_refused") == 3
    (line,) = lines(own_server, "connect_refused")  # at most one a minute
    assert (line["level"], line["reason"]) == ("info", "token_invalid")


async def test_refused_events(own_server: ChatServer, devices: Devices) -> None:
    device = await devices.connect(own_server)
    await device.call("send message", {"receiver": device.user, "message": ""})
    await device.call("no such event")
    assert incidents(own_server, "event_refused") == 2
    told = [line["reason"] for line in lines(own_server, "event_refused")]
    assert told == ["bad_request", "unknown_event"]


async def test_refused_requests(own_server: ChatServer, http: aiohttp.ClientSession) -> None:
    query = {"EIO": "4", "transport": "polling", "sid": "gone"}
    async with http.get(f"{own_server.url}/socket.io/", params=query) as response:
        assert response.status == 400
    metric = 'parley_requests_refused_total{status="400",transport="polling"}'
    assert own_server.metrics()[metric] == 1
    (line,) = lines(own_server, "request_refused")
    assert (line["reason"], line["transport"]) == ("400", "polling")


async def test_clients_that_are_cut(own_server: ChatServer, http: aiohttp.ClientSession) -> None:
    async with joined(http, own_server, new_user()) as client:
        await client.send("4?")
        packets, _ = await client.rest()
    assert not packets
    wait_until(lambda: incidents(own_server, "client_cut") == 1, own_server.log)
    (line,) = lines(own_server, "client_cut")
    assert line["reason"] == "parse error"


async def test_clients_that_flood(start_server: StartServer, http: aiohttp.ClientSession) -> None:
    server = start_server(
        RATE_CONNECTION_EVENTS="10", RATE_CONNECTION_BURST="10", RATE_PATIENCE="1"
    )
    user = new_user()
    async with joined(http, server, user) as client:
        with suppress(ConnectionError):  # it may be cut off before it has sent all
            await client.send(*(['42["ping"]'] * 5_000))
        await client.rest()
    wait_until(lambda: incidents(server, "client_cut") == 1, server.log)
    (cut,) = lines(server, "client_cut")
    assert cut["reason"] == "flooding client"
    (limited,) = lines(server, "rate_limited")
    assert (limited["reason"], limited["who"]) == ("connection_events", user)
    assert server.metrics()['parley_rate_limited_total{limit="connection_events"}'] > 0
