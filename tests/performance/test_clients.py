"""Clients go the way that a server's clients go."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from parley.socketio import front
from parley.socketio.deadlines import Deadlines
from parley.socketio.door import Bounds, Door
from tests.performance.clients import Client


class Recorder(asyncio.Protocol):
    """In place of what serves a WebSocket."""

    def __init__(self, config: object, server_state: object, app_state: object) -> None:
        self.reads: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        self.reads.append(data)


async def test_a_client_comes_in_by_the_front(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[bytes] = []
    is_handshake = front.is_handshake

    def look(data: bytes) -> bool:
        looked_at.append(data)
        return is_handshake(data)

    monkeypatch.setattr(front, "is_handshake", look)
    recorder: Any = Recorder
    door = Door(Bounds(), Deadlines(1.0))
    client = Client(front.front_protocol(door), recorder, "a-token")
    client.connect()
    assert isinstance(client.wire.protocol, Recorder)
    handshake, _ = client.wire.protocol.reads  # and what joins
    assert looked_at == [handshake]
