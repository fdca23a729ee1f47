"""A session moves to another process amid everything else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from parley.socketio.namespaces import Socket

from . import settle, until
from .processes import Cluster, Process


class Feed:
    """What one client is to be shown, by whichever process it is connected to."""

    def __init__(self, *processes: Process) -> None:
        self._items = 0
        self._shown: dict[str, int] = {}
        self._processes = processes
        for process in processes:
            process.namespace.on_move(self._export, self._restore)

    def show(self) -> None:
        """There is one more."""
        self._items += 1
        for process in self._processes:
            for socket in process.namespace.sockets.values():
                if socket.data is not None:
                    self._push(socket)

    def _push(self, socket: Socket) -> None:
        while socket.data < self._items:
            socket.emit("item", socket.data)
            socket.data += 1

    def _export(self, socket: Socket) -> bytes:
        return b"%d" % socket.data

    async def _restore(self, socket: Socket, data: bytes) -> None:
        await settle(3)
        socket.data = int(data)
        self._push(socket)


class OfficialClient:
    """Changes over as ``engine.io-client`` does; any of its requests may reach any process."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._ways = [cluster.by(process) for process in (cluster.a, cluster.b, cluster.c)]
        self._pausing = False
        self._said = 0
        self.heard: list[str] = []

    async def poll(self) -> None:
        turn = 0
        while not self._pausing:
            turn += 1
            body = await self._ways[turn % 3].poll()
            self.heard += body.decode().split("\x1e")

    def say(self) -> bytes:
        self._said += 1
        return b'42["event",%d]' % self._said

    async def change_over(self) -> None:
        websocket = self._cluster.websocket
        polling = asyncio.create_task(self.poll())
        for way in self._ways:
            await way.post(self.say(), self.say())
        websocket.dial(sid=self._cluster.sid)
        websocket.say(b"2probe")
        await until(lambda: websocket.wire.writes)
        assert websocket.packets() == [b"3probe"]
        await self._ways[0].post(self.say())
        self._pausing = True
        await polling
        websocket.say(b"5", self.say(), self.say())


@pytest.mark.parametrize("turns", range(1, 7))
async def test_a_busy_session_moves_without_loss_or_repetition(turns: int) -> None:
    """``turns`` of the loop pass between two pushes, so that these come at every moment."""
    cluster = await Cluster().joined()
    feed = Feed(cluster.a, cluster.b, cluster.c)
    cluster.a.socket.data = 0
    client = OfficialClient(cluster)
    changing = asyncio.create_task(client.change_over())
    pushes = 0

    async def push_until(condition: Callable[[], object]) -> None:
        nonlocal pushes
        async with asyncio.timeout(10):
            while not condition():
                feed.show()
                pushes += 1
                await settle(turns)

    await push_until(lambda: changing.done() and len(cluster.b.events) == 2)
    await changing
    await push_until(lambda: pushes % 50 == 0)
    await settle()
    heard = client.heard + [packet.decode() for packet in cluster.websocket.packets()]
    items = [json.loads(packet[2:])[1] for packet in heard if packet.startswith("42")]
    assert items == list(range(pushes))
    assert cluster.a.events + cluster.b.events == [[number] for number in range(1, 10)]
