"""What one node asks of the sessions of another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping

import pytest
from msgspec.structs import replace

from parley.cluster.redis_client import RedisClient
from parley.cluster.registry import NodeRecord, Registry, new_name
from parley.socketio.handshake import Handshake
from parley.socketio.peers import (
    MovedConnection,
    MovedSession,
    MovedSocket,
    PeerGone,
    PeerUnreachable,
    Poll,
    PollAnswer,
    UpgradeRefused,
)
from tests.services.valkey import ValkeyServer
from tests.unit.cluster.links import Stream, listening, pretending
from tests.unit.cluster.nodes import LINK, node
from tests.unit.cluster.waiting import eventually

THERE = "the-node"
SID = f"{THERE}0123456789abcdefghij"
UNKNOWN = f"unknown_{SID[len(THERE) :]}"
MOVED = MovedSession(
    SID,
    Handshake({"host": "chat.example.com"}, {"EIO": "4"}, "192.0.2.3"),
    MovedConnection([MovedSocket("id", "/", b"\x00data", 3)], ["/admin"], [(False, b"51-")]),
    [(False, b"4hello"), (True, bytes(20_000_000))],
)


class Sessions:
    """Those of a node; they answer as the test says, and note what they were asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, object]] = []
        self.refuses = False
        self.held: asyncio.Future[None] | None = None
        """Polls wait for it."""
        self.cancelled = asyncio.Event()

    async def poll(self, request: Poll) -> PollAnswer:
        self.asked.append(("poll", request))
        if self.held is not None:
            try:
                await self.held
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        return PollAnswer(200, b"4" + request.body, "text/plain")

    async def end_poll(self, sid: str) -> None:
        self._note("end_poll", sid)
        if self.held is not None:
            self.held.set_result(None)

    async def begin_upgrade(self, sid: str) -> None:
        self._note("begin_upgrade", sid)

    async def abandon_upgrade(self, sid: str) -> None:
        self._note("abandon_upgrade", sid)

    async def take_over(self, sid: str) -> MovedSession:
        self._note("take_over", sid)
        return MOVED

    def _note(self, method: str, sid: str) -> None:
        self.asked.append((method, sid))
        if self.refuses:
            raise UpgradeRefused("this text stays here")


async def hold(sessions: Sessions) -> None:
    sessions.held = asyncio.get_running_loop().create_future()


async def begun(sessions: Sessions) -> int:
    return len(sessions.asked)


async def test_polls(redis: RedisClient) -> None:
    sessions = Sessions()
    async with node(redis.options) as here, node(redis.options, sessions, name=THERE):
        assert await here.peers.poll(Poll(SID, "GET")) == PollAnswer(200, b"4", "text/plain")
        body = bytes(range(256))
        assert await here.peers.poll(Poll(SID, "POST", body)) == PollAnswer(
            200, b"4" + body, "text/plain"
        )

    assert sessions.asked == [("poll", Poll(SID, "GET")), ("poll", Poll(SID, "POST", body))]


async def test_upgrades(redis: RedisClient) -> None:
    sessions = Sessions()
    async with node(redis.options) as here, node(redis.options, sessions, name=THERE):
        await here.peers.begin_upgrade(SID)
        await here.peers.abandon_upgrade(SID)
        assert await here.peers.take_over(SID) == MOVED

    assert sessions.asked == [
        ("begin_upgrade", SID),
        ("abandon_upgrade", SID),
        ("take_over", SID),
    ]


async def test_upgrades_that_are_refused(redis: RedisClient) -> None:
    sessions = Sessions()
    sessions.refuses = True
    async with node(redis.options) as here, node(redis.options, sessions, name=THERE):
        with pytest.raises(UpgradeRefused):
            await here.peers.begin_upgrade(SID)
        with pytest.raises(UpgradeRefused):
            await here.peers.take_over(SID)


async def test_a_client_that_leaves_while_its_poll_is_held(redis: RedisClient) -> None:
    sessions = Sessions()
    await hold(sessions)
    async with node(redis.options) as here, node(redis.options, sessions, name=THERE):
        poll = asyncio.create_task(here.peers.poll(Poll(SID, "GET")))
        await eventually(lambda: begun(sessions), 1)
        poll.cancel()
        with pytest.raises(asyncio.CancelledError):
            await poll

        await sessions.cancelled.wait()


async def test_the_end_of_a_poll_does_not_overtake_it(redis: RedisClient) -> None:
    sessions = Sessions()
    await hold(sessions)
    async with node(redis.options) as here, node(redis.options, sessions, name=THERE):
        # Also not while the link is being made.
        poll, _ = await asyncio.gather(here.peers.poll(Poll(SID, "GET")), here.peers.end_poll(SID))

    assert poll.status == 200
    assert sessions.asked == [("poll", Poll(SID, "GET")), ("end_poll", SID)]


async def test_all_calls_share_one_link(redis: RedisClient) -> None:
    sessions = Sessions()
    async with node(redis.options) as here, node(redis.options, sessions, name=THERE) as there:
        polls = (here.peers.poll(Poll(SID, "POST", b"%d" % number)) for number in range(200))
        answers = await asyncio.gather(*polls)

        assert [answer.body for answer in answers] == [b"4%d" % number for number in range(200)]
        assert there._listener is not None
        assert len(there._listener.links) == 1


async def test_a_link_that_was_cut_is_made_anew(redis: RedisClient) -> None:
    sessions = Sessions()
    async with node(redis.options) as here, node(redis.options, sessions, name=THERE) as there:
        await here.peers.poll(Poll(SID, "GET"))
        assert there._listener is not None
        (link,) = there._listener.links
        link.lose("the network is bad")
        await eventually(lambda: links_of(here.peers._links), 0)

        assert (await here.peers.poll(Poll(SID, "GET"))).status == 200


async def links_of(links: Mapping[str, object]) -> int:
    return len(links)


class TestGone:
    @pytest.mark.parametrize("sid", [UNKNOWN, "short", "", "ÄÖÜäöüß!0123456789abcdefghij"])
    async def test_nodes_that_never_were(self, redis: RedisClient, sid: str) -> None:
        async with node(redis.options) as here:
            with pytest.raises(PeerGone):
                await here.peers.poll(Poll(sid, "GET"))

    async def test_a_node_that_ended(self, redis: RedisClient) -> None:
        async with node(redis.options) as here:
            async with node(redis.options, Sessions(), name=THERE):
                await here.peers.poll(Poll(SID, "GET"))

            with pytest.raises(PeerGone):
                await here.peers.poll(Poll(SID, "GET"))

    async def test_a_node_whose_record_is_left_over(self, redis: RedisClient) -> None:
        async with node(redis.options) as here:
            async with listening({}) as (_, port):
                pass
            await leave(redis, port)

            with pytest.raises(PeerGone):
                await here.peers.poll(Poll(SID, "GET"))

    async def test_a_node_whose_port_another_has_now(self, redis: RedisClient) -> None:
        sessions = Sessions()
        async with node(redis.options) as here, node(redis.options, sessions) as successor:
            await leave(redis, successor.port)

            with pytest.raises(PeerGone):
                await here.peers.poll(Poll(SID, "GET"))

        assert not sessions.asked

    async def test_one_that_is_there_after_all_is_found(self, redis: RedisClient) -> None:
        async with node(redis.options) as here:
            with pytest.raises(PeerGone):
                await here.peers.poll(Poll(SID, "GET"))
            async with node(redis.options, Sessions(), name=THERE):
                await eventually(lambda: is_gone(here.peers.poll(Poll(SID, "GET"))), False)
                assert not here.peers._failures

    async def test_clients_may_name_any_number(
        self, redis: RedisClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("parley.cluster.peers._MAX_FAILURES", 10)
        async with node(redis.options) as here:
            for _ in range(25):
                assert await is_gone(here.peers.poll(Poll(new_name() + SID[len(THERE) :], "GET")))

            assert len(here.peers._failures) <= 10


class TestUnreachable:
    async def test_a_node_that_does_not_answer(
        self, redis: RedisClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def say_nothing(stream: Stream) -> None:
            await stream.rest()

        impatient = replace(LINK, connect_timeout=0.1)
        async with node(redis.options, link=impatient) as here, pretending(say_nothing) as port:
            await leave(redis, port)
            for _ in range(3):
                with pytest.raises(PeerUnreachable):
                    await here.peers.poll(Poll(SID, "GET"))

        said = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
        assert said == [f"node {THERE} can't be reached: no answer in time"]

    async def test_a_method_that_fails(self, redis: RedisClient) -> None:
        async def fail(body: bytes) -> bytes:
            raise ValueError

        async with (
            node(redis.options) as here,
            node(redis.options, methods={"fail": fail}, name=THERE),
        ):
            for method in ("fail", "unknown"):
                with pytest.raises(PeerUnreachable):
                    await here.peers.ask(THERE, method, b"")

    async def test_while_redis_is_away(
        self, own_valkey: ValkeyServer, own_redis: RedisClient
    ) -> None:
        async with (
            node(own_redis.options) as here,
            node(own_redis.options, Sessions(), name=THERE) as there,
        ):
            await here.peers.poll(Poll(SID, "GET"))
            own_valkey.kill()

            with pytest.raises(PeerUnreachable):
                await here.peers.poll(Poll(UNKNOWN, "GET"))
            assert (await here.peers.poll(Poll(SID, "GET"))).status == 200

            assert there._listener is not None
            (link,) = there._listener.links
            link.lose("the network is bad, too")
            await eventually(lambda: links_of(here.peers._links), 0)
            assert (await here.peers.poll(Poll(SID, "GET"))).status == 200

    async def test_when_this_node_ends(self, redis: RedisClient) -> None:
        sessions = Sessions()
        await hold(sessions)
        async with node(redis.options) as here, node(redis.options, sessions, name=THERE):
            poll = asyncio.create_task(here.peers.poll(Poll(SID, "GET")))
            await eventually(lambda: begun(sessions), 1)
            await here.close()

            with pytest.raises(PeerUnreachable):
                await poll
            await sessions.cancelled.wait()
            with pytest.raises(PeerUnreachable):
                await here.peers.poll(Poll(SID, "GET"))

    async def test_when_this_node_ends_while_it_makes_a_link(self, redis: RedisClient) -> None:
        reached = asyncio.Event()

        async def say_nothing(stream: Stream) -> None:
            reached.set()
            await stream.rest()

        async with node(redis.options) as here, pretending(say_nothing) as port:
            await leave(redis, port)
            poll = asyncio.create_task(here.peers.poll(Poll(SID, "GET")))
            await reached.wait()
            await here.close()

            with pytest.raises(PeerUnreachable):
                await poll

    async def test_one_who_waits_for_a_link_leaves(self, redis: RedisClient) -> None:
        """The others who wait for it get it."""
        async with node(redis.options) as here, node(redis.options, Sessions(), name=THERE):
            first, second = (
                asyncio.create_task(here.peers.poll(Poll(SID, "GET"))) for _ in range(2)
            )
            await asyncio.sleep(0)
            first.cancel()

            assert (await second).status == 200
            with pytest.raises(asyncio.CancelledError):
                await first


async def leave(redis: RedisClient, port: int) -> None:
    """A record of a node that is not on ``port`` any more."""
    own = NodeRecord(
        name=THERE,
        address="127.0.0.1",
        port=port,
        key=bytes(32),
        group="",
        started=0,
        version="",
    )
    await Registry(redis, own, lifetime=60.0).publish()


async def is_gone(poll: Awaitable[PollAnswer]) -> bool:
    try:
        await poll
    except PeerGone:
        return True
    return False
