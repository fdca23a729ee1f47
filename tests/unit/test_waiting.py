"""Waiting for servers that start later: one clear line now and then, one sentence in the end."""

from __future__ import annotations

import logging

import pytest

from parley import waiting
from parley.errors import BackendBroken, StoreBroken, StoreUnavailable
from parley.waiting import wait_for


class Server:
    """A server that is away for some attempts."""

    def __init__(self, away: int) -> None:
        self.away = away
        self.attempts = 0

    async def connect(self) -> str:
        self.attempts += 1
        if self.attempts <= self.away:
            raise StoreUnavailable("connection refused")
        return "connected"


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_RETRY", 0.001)


async def test_one_that_is_there(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(away=0)
    assert await wait_for("Redis", server.connect, 60) == "connected"
    assert server.attempts == 1
    assert caplog.records == []


async def test_one_that_comes(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(away=5)
    assert await wait_for("Redis", server.connect, 60) == "connected"
    assert server.attempts == 6
    (line,) = caplog.records
    assert line.levelno == logging.WARNING
    assert line.getMessage() == "waiting for Redis, 60 seconds more: connection refused"


async def test_reminders(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_REMIND", 0.0)
    await wait_for("Redis", Server(away=5).connect, 60)
    assert len(caplog.records) == 5


async def test_one_that_never_comes() -> None:
    server = Server(away=1_000_000)
    with pytest.raises(BackendBroken) as raised:
        await wait_for("PostgreSQL", server.connect, 0.05)
    assert str(raised.value) == (
        "PostgreSQL was not there within 0.05 seconds (connection refused). Start it, or check "
        "the settings that name it."
    )
    assert server.attempts > 1


async def test_one_that_is_broken_is_not_waited_for() -> None:
    attempts = 0

    async def connect() -> None:
        nonlocal attempts
        attempts += 1
        raise StoreBroken("the password is wrong")

    with pytest.raises(StoreBroken, match="the password is wrong"):
        await wait_for("PostgreSQL", connect, 60)
    assert attempts == 1
