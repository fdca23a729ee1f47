"""Servers with the page, and the windows of a browser."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser as Chromium

from tests.e2e.server import ChatServer, running

from .browser import Browser, open_chromium

NODE_SCRIPTS = Path(__file__).with_name("node")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChatServer]:
    """A server with the page for all tests of a module; its heartbeat is a short one."""
    settings = {"PAGE": "true", "PING_INTERVAL": "0.4", "PING_TIMEOUT": "0.4"}
    with running(ChatServer(tmp_path_factory.mktemp("parley"), settings)) as server:
        yield server


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[ChatServer]:
    """A server with the page for one test alone, which may stop it."""
    with running(ChatServer(tmp_path, {"PAGE": "true"})) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Chromium]:
    """A browser for all tests of a module, which run in one event loop for its sake."""
    async with open_chromium() as chromium:
        yield chromium


@pytest_asyncio.fixture(loop_scope="module")
async def browser(chromium: Chromium) -> AsyncIterator[Browser]:
    """Opens windows; what no page may do is looked for in the end."""
    browser = Browser(chromium)
    yield browser
    await browser.close()


@pytest.fixture(scope="session")
def sdk_scripts(scripts: Path) -> Path:
    """The folder of the official client's scripts, with ours added."""
    for script in NODE_SCRIPTS.glob("*.mjs"):
        shutil.copy(script, scripts)
    return scripts
