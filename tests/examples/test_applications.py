"""Users of the example applications log in there, and chat here."""

from __future__ import annotations

import asyncio
import time

import jwt
import pytest
from aiohttp import ClientSession

from tests.e2e.clients import Device, Devices
from tests.e2e.kicks import kick
from tests.e2e.server import HUSH, ChatServer

from .applications import Application
from .conftest import Browsers


async def log_in(browser: ClientSession, application: Application, name: str) -> None:
    """As the form on the page does it."""
    async with browser.post(f"{application.url}/login", data={"name": name}) as response:
        assert response.status == 200
        assert str(response.url) == f"{application.url}/"


async def token_of(browser: ClientSession, application: Application) -> str:
    """What the page hands to Parley."""
    async with browser.get(f"{application.url}/token") as response:
        assert response.status == 200
        assert response.headers["Cache-Control"] == "no-store"
        return await response.text()


async def connect(
    devices: Devices, parley: ChatServer, browser: ClientSession, application: Application
) -> Device:
    """Whoever is logged in, connected from the application's page."""
    token = await token_of(browser, application)
    claims = jwt.decode(token, parley.secret, algorithms=["HS256"])
    device = devices.make(parley, claims["sub"])
    await device.connect(auth={"token": token}, headers={"Origin": application.url})
    return device


async def test_two_users_chat(
    parley: ChatServer, application: Application, browsers: Browsers, devices: Devices
) -> None:
    await log_in(browsers[0], application, "alice")
    await log_in(browsers[1], application, "bob")
    alice = await connect(devices, parley, browsers[0], application)
    bob = await connect(devices, parley, browsers[1], application)
    assert alice.user != bob.user

    hello = await alice.send(bob.user, f"{HUSH} hello Bob")
    assert await bob.wait("message") == [hello]
    await bob.mark_received(hello)
    answer = await bob.send(alice.user, f"{HUSH} hello Alice")
    assert await alice.wait("message") == [answer]
    assert await bob.unreceived() == []


async def test_a_token_says_who_since_when_and_until_when(
    parley: ChatServer, application: Application, browsers: Browsers
) -> None:
    await log_in(browsers[0], application, "alice")
    token = await token_of(browsers[0], application)
    claims = jwt.decode(token, parley.secret, algorithms=["HS256"])
    assert claims.keys() == {"sub", "iat", "exp"}
    assert time.time() - 60 < claims["iat"] <= time.time() < claims["exp"]


async def test_a_kicked_user_comes_back_with_the_next_token(
    parley: ChatServer, application: Application, browsers: Browsers, devices: Devices
) -> None:
    await log_in(browsers[0], application, "alice")
    alice = await connect(devices, parley, browsers[0], application)
    await asyncio.to_thread(kick, parley, alice.user)
    assert (await alice.wait("error"))[0]["code"] == "token_revoked"
    await alice.wait("disconnect")
    again = await connect(devices, parley, browsers[0], application)
    await again.settle()


async def test_the_page_learns_what_it_needs(
    parley: ChatServer, application: Application, browsers: Browsers
) -> None:
    await log_in(browsers[0], application, "bob")
    async with browsers[0].get(f"{application.url}/me") as response:
        told = await response.json()
    token = await token_of(browsers[0], application)
    claims = jwt.decode(token, parley.secret, algorithms=["HS256"])
    assert (told["name"], told["users"]["bob"]) == ("bob", claims["sub"])
    assert told["parley"] == parley.url


@pytest.mark.parametrize("path", ["/me", "/token"])
async def test_strangers_get_nothing(
    application: Application, browsers: Browsers, path: str
) -> None:
    async with browsers[0].get(f"{application.url}{path}") as response:
        assert response.status == 401


async def test_nobody_logs_in_by_another_name(application: Application, browsers: Browsers) -> None:
    async with browsers[0].post(f"{application.url}/login", data={"name": "mallory"}) as response:
        assert response.status == 403
    assert len(browsers[0].cookie_jar) == 0


async def test_a_session_ends(application: Application, browsers: Browsers) -> None:
    await log_in(browsers[0], application, "alice")
    cookies = {cookie.key: cookie.value for cookie in browsers[0].cookie_jar}
    async with browsers[0].post(f"{application.url}/logout") as response:
        assert response.status == 200
    async with browsers[1].get(f"{application.url}/token", cookies=cookies) as response:
        assert response.status == 401


async def test_the_page_may_load_the_client(
    parley: ChatServer, application: Application, browsers: Browsers
) -> None:
    """A module from elsewhere is loaded only if that place says so."""
    headers = {"Origin": application.url}
    async with browsers[0].get(f"{parley.url}/parley.js", headers=headers) as response:
        assert response.status == 200
        assert response.content_type == "text/javascript"
        assert response.headers["Access-Control-Allow-Origin"] in ("*", application.url)
        assert "export class Parley" in await response.text()
