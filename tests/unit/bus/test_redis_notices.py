"""Notices by Redis: heard by nodes that listen, and published for nobody else."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from parley.bus import redis as redis_bus
from parley.bus.redis import RedisBus
from tests.contract.buses import Ends, Node, eventually, owner, redis_ends
from tests.services.valkey import ValkeyServer
from tests.unit.bus.company import Server, published, server_of_one, settled


async def test_notices_are_published_for_those_alone_who_listen(
    own_valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_bus, "_STEADY", 3600.0)  # nobody says again that it listens
    async with redis_ends(own_valkey.options()) as ends:
        node, ann = Node(ends), owner()
        for bus in ends:
            await bus.subscribe(ann)
        before = published(own_valkey)
        node.publisher.notify(ann, b"to nobody")
        await settled(cast("RedisBus", node.publisher))
        assert published(own_valkey) == before
        node.listen()
        await node.notifies(ann)
        assert node.subscriber.listened
        before = published(own_valkey)
        node.subscriber.notify(ann, b"to oneself")
        await settled(cast("RedisBus", node.subscriber))
        assert published(own_valkey) == before
        assert (ann, b"to oneself") in node.heard


async def test_one_that_is_alone_hears_itself_and_publishes_nothing(
    own_valkey: ValkeyServer,
) -> None:
    bus = await RedisBus.open(own_valkey.options())
    node, ann = Node(Ends(bus, bus)), owner()
    await bus.subscribe(ann)
    before = published(own_valkey)
    node.listen()
    for user in (ann, owner()):
        bus.notify(user, b"notice")
    await settled(bus)
    assert node.heard == [(ann, b"notice")]
    assert published(own_valkey) == before
    await bus.close()


async def test_notices_are_lost_with_redis_and_heard_again_with_it(
    own_valkey: ValkeyServer,
) -> None:
    async with redis_ends(own_valkey.options()) as ends:
        node, ann = Node(ends), owner()
        await ends.subscriber.subscribe(ann)
        node.listen()
        await node.notifies(ann)
        own_valkey.kill()
        await eventually(lambda: not ends.publisher.connected)
        ends.publisher.notify(ann, b"lost")
        assert ends.publisher.dropped == 1
        own_valkey.start()
        await node.is_back()
        await node.notifies(ann, b"found")
        assert {packet for _, packet in node.heard} == {b"notice", b"found"}


async def test_who_comes_later_learns_who_listens(own_valkey: ValkeyServer) -> None:
    options = own_valkey.options()
    first = await RedisBus.open(options)
    first.listen(lambda owner, packet: None)
    second = await RedisBus.open(options)
    await eventually(lambda: second.listened)
    for bus in (first, second):
        await bus.close()


class TestListening:
    """Who is told that this node listens to notices, and how long others are believed to."""

    @pytest.fixture
    async def server(self) -> Server:
        return await server_of_one()

    async def test_one_that_listens_says_so_at_once_and_now_and_then(self, server: Server) -> None:
        server.hear(b"here")
        server.company.listen(wanted=True)
        assert server.said == [b"listening"]
        server.company.count()
        assert server.said == [b"listening"] * 2
        server.company.listen(wanted=False)
        server.company.count()
        assert server.said == [b"listening"] * 2

    @pytest.mark.parametrize(("listens", "answer"), [(False, b"here"), (True, b"listening")])
    async def test_who_says_hello_is_told(
        self, server: Server, listens: bool, answer: bytes
    ) -> None:
        server.company.listen(wanted=listens)
        server.company.count()
        assert server.said == []  # it is alone
        server.hear(b"hello")
        assert server.said == [answer]

    async def test_one_that_has_lost_redis_says_so_when_it_is_back(self, server: Server) -> None:
        server.company.listen(wanted=True)
        server.company.lose()
        meeting = asyncio.create_task(server.company.meet())
        await eventually(lambda: len(server.asked) == 1)
        server.answer(1)
        await meeting
        assert server.said == [b"hello", b"listening"]

    async def test_another_is_believed_to_listen_until_it_falls_silent(
        self, server: Server
    ) -> None:
        assert not server.company.listened
        for _ in range(2):
            server.hear(b"listening")
            for _ in range(3):
                server.company.count()
                server.company.lose()
                assert server.company.listened
        server.company.count()
        assert not server.company.listened

    async def test_nobody_listens_to_one_that_is_alone(self, server: Server) -> None:
        server.hear(b"listening")
        assert not server.company.alone
        server.company.count()
        server.answer(2)
        assert server.company.listened
        server.company.count()
        server.answer(1)
        assert not server.company.listened
