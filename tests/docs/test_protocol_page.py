"""The protocol's page: its packets are played, and it names every event."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from parley.web.asyncapi import EMITTED, HEARD
from tests.e2e.raw import QUERY
from tests.e2e.server import PATIENCE, ChatServer, running

from .pages import Block, blocks, text_of
from .session import UUID, pattern

PAGE = "protocol.md"
USERS = {
    "alice": "6f1d2f66-7b5c-4a4e-9d5e-0c9b3f1f2a10",
    "bob": "b3a1c9d2-5e4f-4f6a-8b7c-2d1e0f9a8b7c",
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ChatServer]:
    with running(ChatServer(tmp_path)) as server:
        yield server


def wire() -> list[Block]:
    return [block for block in blocks(PAGE) if block.action == "wire"]


async def test_the_packets_are_what_goes_over_the_wire(server: ChatServer) -> None:
    timeout = aiohttp.ClientTimeout(total=6 * PATIENCE)
    async with aiohttp.ClientSession(timeout=timeout) as http, AsyncExitStack() as stack:
        sockets: dict[str, aiohttp.ClientWebSocketResponse] = {}
        for block in wire():
            if block.detail not in sockets:
                url = f"{server.url}/socket.io/"
                connecting = http.ws_connect(url, params=QUERY)
                sockets[block.detail] = await stack.enter_async_context(connecting)
            await play(block, sockets[block.detail], server)


async def play(block: Block, socket: aiohttp.ClientWebSocketResponse, server: ChatServer) -> None:
    for line in block.text.splitlines():
        direction, packet = line[0], line[2:]
        if direction == ">":
            if "eyJ…" in packet:
                packet = packet.replace("eyJ…", server.token(USERS[block.detail]))
            await socket.send_str(packet)
        else:
            got = await socket.receive_str(timeout=PATIENCE)
            assert pattern(packet).fullmatch(got), f"{block.where}: {packet}\n{got}"


def test_the_packets_name_users_as_the_text_does() -> None:
    named = {
        user
        for block in wire()
        for user in re.findall(f'"(?:sender|receiver)":"({UUID})"', block.text)
    }
    assert named == set(USERS.values())


def test_every_event_has_a_section() -> None:
    events = text_of(PAGE).partition("\n## Events\n")[2].partition("\n## ")[0]
    sections = set(re.findall(r"^### (.*)$", events, re.MULTILINE))
    # `pong` is told with `ping`; `Chat` is what the events carry.
    assert {*EMITTED, *HEARD} - {"pong"} <= sections
    assert sections - {*EMITTED, *HEARD} == {"Chat"}


@pytest.mark.parametrize("block", wire(), ids=lambda block: f"line {block.line}")
def test_what_is_shown_is_json(block: Block) -> None:
    for line in block.text.splitlines():
        json.loads(re.sub(r"^[<>] \d+", "", line))
