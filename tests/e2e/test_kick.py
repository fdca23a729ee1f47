"""`parley kick`: whoever is kicked is out at once, and comes back only with a newer token."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import aiohttp
import pytest
from socketio.exceptions import ConnectionError as Refused

from .clients import Devices
from .conftest import StartServer
from .kicks import BEFORE, kick, old_then_new_token, old_token
from .raw import joined
from .server import PATIENCE, ChatServer, new_user, wait_until


async def test_all_devices_are_told_and_disconnected(
    server: ChatServer, devices: Devices, transports: list[str] | None
) -> None:
    user, other = new_user(), await devices.connect(server)
    kicked = [devices.make(server, user, transports) for _ in range(3)]
    for device in kicked:
        await device.connect(old_token(server, user))
    said = await asyncio.to_thread(kick, server, user, "--reason", "That was too much.")
    assert said.startswith(f"Kicked {user}. Tokens issued before 20")
    for device in kicked:
        (error,) = await device.wait("error")
        assert (error["id"], error["code"]) == (user, "token_revoked")
        assert error["message"].endswith("That was too much.")
        await device.wait("disconnect")
    assert other.undisturbed

    refusal = await devices.make(server, user, transports).refused(old_token(server, user))
    assert refusal["data"] == {"code": "token_revoked"}
    assert refusal["message"].endswith("That was too much.")


async def test_a_newer_token_is_good_and_official_clients_fetch_it(
    server: ChatServer, devices: Devices, transports: list[str] | None
) -> None:
    user = new_user()
    device = devices.make(server, user, transports, reconnection=True)
    await device.connect(old_then_new_token(server, user))
    await asyncio.to_thread(kick, server, user)
    await device.wait("connect", 2)
    chat = await device.send(user)
    assert await device.wait("message") == [chat]
    assert len(device.received("error")) == 1
    assert device.received("connect_error") == [], "also if it is fetched right after the kick"


async def test_many_clients_of_a_kicked_user_come_back_at_the_rate(
    start_server: StartServer, devices: Devices
) -> None:
    server = start_server(RATE_USER_CONNECTS="1", RATE_USER_CONNECTS_BURST="6")
    user = new_user()
    made = [devices.make(server, user, ["websocket"], reconnection=True) for _ in range(6)]
    for device in made:
        await device.connect(old_then_new_token(server, user))
    await asyncio.to_thread(kick, server, user)
    for device in made:
        await device.wait("connect", 2, 3 * PATIENCE)
        assert [error["code"] for error in device.received("error")] == ["token_revoked"]
        assert device.received("connect_error") == []
    chat = await made[0].send(user)
    for device in made:
        assert await device.wait("message") == [chat]


async def test_who_has_a_newer_token_stays(server: ChatServer, devices: Devices) -> None:
    user = new_user()
    leaving, staying = devices.make(server, user), devices.make(server, user)
    await leaving.connect(old_token(server, user))
    await staying.connect({"token": server.token(user, iat=time.time() + 60)})
    await asyncio.to_thread(kick, server, user)
    await leaving.wait("disconnect")
    await staying.settle()
    assert staying.undisturbed


async def test_tokens_that_do_not_say_when_they_were_issued(
    server: ChatServer, devices: Devices
) -> None:
    user = new_user()
    device = await devices.connect(server, user)
    await asyncio.to_thread(kick, server, user)
    assert (await device.wait("error"))[0]["code"] == "token_revoked"
    refusal = await devices.make(server, user).refused()
    assert refusal["data"] == {"code": "token_revoked"}


async def test_a_kick_is_forgotten(server: ChatServer, devices: Devices) -> None:
    user = new_user()
    await asyncio.to_thread(kick, server, user)
    await _until(server, devices, user, refused=True)
    said = await asyncio.to_thread(kick, server, user, "--forget")
    assert said == f"Earlier tokens of {user} are accepted again.\n"
    await _until(server, devices, user, refused=False)


async def test_a_kick_outlives_the_server(own_server: ChatServer, devices: Devices) -> None:
    user, other = new_user(), new_user()
    await asyncio.to_thread(kick, own_server, user)
    await asyncio.to_thread(own_server.kill)
    await asyncio.to_thread(kick, own_server, other)
    await asyncio.to_thread(own_server.start)
    for each in (user, other):
        refusal = await devices.make(own_server, each).refused()
        assert refusal["data"] == {"code": "token_revoked"}
    metrics = await asyncio.to_thread(own_server.metrics)
    assert metrics['parley_tokens_refused_total{reason="revoked"}'] == 2
    assert metrics['parley_errors_total{code="token_revoked"}'] == 2


async def test_a_kick_lasts_as_long_as_the_setting_says(
    own_server: ChatServer, devices: Devices
) -> None:
    own_server.environment["JWT_REVOCATION_LIFETIME"] = "1"
    user = new_user()
    await asyncio.to_thread(kick, own_server, user)
    await _until(own_server, devices, user, refused=False)


async def test_the_transport_is_closed_and_not_the_namespace(
    server: ChatServer, http: aiohttp.ClientSession
) -> None:
    user = new_user()
    async with joined(http, server, user, iat=int(time.time()) - BEFORE) as client:
        await asyncio.to_thread(kick, server, user)
        packets, close_code = await client.rest()
    # A DISCONNECT packet would keep official clients from coming back with a newer token.
    ((kind, _, (event, error)),) = packets
    assert (kind, event, error["code"]) == ("2", "error", "token_revoked")
    assert close_code == 1000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--user"),
        (["--user", "alice"], "'alice' is not a UUID"),
        (["--user", new_user(), "--reason", "x" * 201], "200 characters"),
        (["--user", new_user(), "--reason", "a\x1b[31m"], "one line"),
    ],
)
def test_bad_arguments(server: ChatServer, arguments: list[str], words: str) -> None:
    command = [sys.executable, "-m", "parley", "kick", *arguments]
    done = subprocess.run(
        command, env=server.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_database_there_is_nobody_to_kick(server: ChatServer) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "parley", "kick", "--user", new_user()],
        env={**server.environment, "DATABASE_DB": "/nowhere/parley.db"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "parley: There is no database /nowhere/parley.db, and so nobody to kick.\n"
    )


async def _until(server: ChatServer, devices: Devices, user: str, *, refused: bool) -> None:
    """Connect with an old token until it is accepted, or isn't."""

    async def tried() -> bool:
        device = devices.make(server, user)
        try:
            await device.connect(old_token(server, user))
        except Refused:
            return True
        await device.disconnect()
        return False

    loop = asyncio.get_running_loop()

    def look() -> bool:
        return asyncio.run_coroutine_threadsafe(tried(), loop).result() == refused

    await asyncio.to_thread(wait_until, look, lambda: "it stays as it was")
