"""The hook of the React page, in React."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.e2e.clients import Devices, devices_of_a_test
from tests.e2e.javascript import output_of, start_script
from tests.e2e.server import HUSH, ChatServer, new_user, running

from .pages import file_of

pytestmark = pytest.mark.node


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ChatServer]:
    with running(ChatServer(tmp_path)) as server:
        yield server


@pytest.fixture
async def devices() -> AsyncIterator[Devices]:
    async with devices_of_a_test() as devices:
        yield devices


async def test_the_hook_comes_in_gets_what_waited_sends_and_listens(
    server: ChatServer, devices: Devices, node_packages: Path, tmp_path: Path
) -> None:
    (tmp_path / "node_modules").symlink_to(node_packages)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "useParley.js").write_text(file_of("howto/react.md", "useParley.js"))
    shutil.copy(Path(__file__).with_name("node") / "hook.mjs", tmp_path)

    bob = await devices.connect(server)
    hooked = new_user()
    early = await bob.send(hooked, f"{HUSH} early")
    command = ("hook.mjs", server.url, server.token(hooked), bob.user)
    node = await start_script(tmp_path, {}, *command)
    said = asyncio.create_task(output_of(node))
    (chat,) = await bob.wait("message")
    assert (chat["sender"], chat["message"]) == (hooked, "from the hook")
    await bob.send(hooked, f"{HUSH} late")
    # React's own renderer for tests says that there are larger ones, with a browser's DOM.
    assert [line for line in (await said).splitlines() if "is deprecated" not in line] == [
        f"waited for us: {early['message']}",
        "sent: from the hook",
        f"arrived: {HUSH} late",
    ]
