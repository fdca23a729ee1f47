"""Each example beside a Parley, both with one secret."""

from __future__ import annotations

import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeAlias

import aiohttp
import pytest

from tests.e2e.clients import Devices, devices_of_a_test, mark_as_careless
from tests.e2e.javascript import install_packages
from tests.e2e.server import PATIENCE, ChatServer
from tests.e2e.server import running as running_server
from tests.services.ports import free_port

from .applications import EXAMPLES, Application, running

Browsers: TypeAlias = list[aiohttp.ClientSession]


@pytest.fixture(scope="module")
def port() -> int:
    """Where the application is to listen; Parley has to know before it starts."""
    return free_port()


@pytest.fixture(scope="module")
def parley(port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChatServer]:
    """A Parley that admits the application's page and serves its own client."""
    settings = {"ALLOWED_ORIGINS": f"http://127.0.0.1:{port}", "PAGE": "true"}
    with running_server(ChatServer(tmp_path_factory.mktemp("parley"), settings)) as server:
        yield server


@pytest.fixture(scope="module", params=["fastapi", pytest.param("express", marks=pytest.mark.node)])
def application(
    request: pytest.FixtureRequest,
    parley: ChatServer,
    port: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Application]:
    """Each example in turn."""
    start = {"fastapi": _fastapi, "express": _express}[request.param]
    with start(tmp_path_factory.mktemp(request.param), parley, port) as application:
        yield application


def _fastapi(folder: Path, parley: ChatServer, port: int) -> AbstractContextManager[Application]:
    command = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port)]
    settings = {"JWT_SECRET_KEY": parley.secret, "PARLEY_URL": parley.url}
    return running(command, EXAMPLES / "fastapi", port, settings, folder / "log")


def _express(folder: Path, parley: ChatServer, port: int) -> AbstractContextManager[Application]:
    shutil.copytree(EXAMPLES / "page", folder / "page")
    installed = install_packages(EXAMPLES / "express", folder / "express")
    settings = {"JWT_SECRET_KEY": parley.secret, "PARLEY_URL": parley.url}
    return running(["node", "server.js"], installed, port, settings, folder / "log")


@pytest.fixture
async def browsers() -> AsyncIterator[Browsers]:
    """Two, each with cookies of its own."""
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    made = [
        # Unlike browsers, it takes no cookies from numbered addresses unless it is told to.
        aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True), timeout=timeout)
        for _ in range(2)
    ]
    try:
        yield made
    finally:
        for browser in made:
            await browser.close()


@pytest.fixture
async def devices() -> AsyncIterator[Devices]:
    """Makes the clients of a test."""
    async with devices_of_a_test() as devices:
        yield devices


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mark_as_careless(items, Path(__file__).parent)
