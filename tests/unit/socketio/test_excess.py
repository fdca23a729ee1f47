"""Events of a client that sends too much, and connections of an address that has too many."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from parley.socketio.addresses import Proxies
from parley.socketio.events import Event
from parley.socketio.frames import CloseCode
from parley.socketio.limits import Rate, RateLimits, Rates
from parley.socketio.namespaces import Socket
from parley.socketio.options import Options
from parley.socketio.protocol import CloseReason
from parley.socketio.session import State

from . import (
    OpenedWebSocket,
    Taken,
    WebSocketClient,
    in_virtual_time,
    limiting_engine,
    settle,
)
from .test_polling import PollingClient

TARGET = "/socket.io/?EIO=4&transport=websocket"
AT_ONCE = RateLimits(connection=Rates(events=Rate(per_second=10, burst=20)), patience=0.001)
"""Who is over the limit is refused, without a pause before."""
PROXIED = RateLimits(
    address_connects=Rate(per_second=1, burst=2), proxies=Proxies(trusted=("192.0.2.0/24",))
)


class Excessive(Taken):
    """A client whose further events are refused."""

    def __init__(self) -> None:
        super().__init__(Options(limits=AT_ONCE))
        self.refused: list[tuple[str, bool, int]] = []
        """Names of events, whether an acknowledgement was asked for, and for how long to wait."""
        self.namespace.on_excess(self.refuse)
        while not self.refused:
            self.peer.say('2["event"]')
        self.refused.clear()
        self.events.clear()

    def refuse(self, socket: Socket, event: Event, wait: int) -> None:
        assert socket is self.socket
        self.refused.append((event.name, event.wants_ack, wait))
        event.ack("no")


async def test_an_event_is_refused_instead_of_done() -> None:
    taken = Excessive()
    taken.peer.say('2["event",1]', '27["event",2]', '2["what"]')
    assert taken.refused == [("event", False, 1000), ("event", True, 1000), ("what", False, 1000)]
    assert taken.events == []
    assert taken.peer.heard() == ['37["no"]']


async def test_a_refused_event_takes_its_attachments_with_it() -> None:
    taken = Excessive()
    taken.peer.say('52-3["event",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]')
    taken.peer.attach(b"1")
    assert taken.refused == []
    taken.peer.attach(b"2")
    assert taken.refused == [("event", True, 1000)]
    assert taken.peer.heard() == ['33["no"]']
    assert taken.peer.ended == []


async def test_attachments_of_an_event_that_was_taken_are_taken() -> None:
    """Also if what was paid for ends between the two."""
    taken = Taken(Options(limits=AT_ONCE))
    refused: list[str] = []
    taken.namespace.on_excess(lambda socket, event, wait: refused.append(event.name))
    for _ in range(30):
        taken.peer.say('51-["event",{"_placeholder":true,"num":0}]')
        taken.peer.attach(b"x")
    assert 10 <= len(taken.events) <= 12
    assert len(taken.events) + len(refused) == 30
    assert taken.peer.ended == []


async def test_what_is_no_event_is_no_excess() -> None:
    taken = Excessive()
    answers: list[object] = []
    taken.socket.emit("ask", ack=answers.append)
    taken.peer.say('31["answer"]', "1")
    assert answers == [["answer"]]
    assert taken.left == [CloseReason.CLIENT_NAMESPACE]


@pytest.mark.parametrize("packet", ['2/other,["event"]', "2[]", "2[7.5]", "what", '2["event"'])
async def test_bad_packets_end_the_connection_as_ever(packet: str) -> None:
    taken = Excessive()
    taken.peer.say(packet)
    assert taken.peer.ended == [CloseReason.PARSE_ERROR]


async def test_a_text_packet_amid_attachments_does_too() -> None:
    taken = Excessive()
    taken.peer.say('51-["event",{"_placeholder":true,"num":0}]', '2["event"]')
    assert taken.peer.ended == [CloseReason.PARSE_ERROR]


async def test_without_a_handler_they_vanish() -> None:
    taken = Taken(Options(limits=AT_ONCE))
    for number in range(100):
        taken.peer.say(f'2["event",{number}]')
    assert 20 <= len(taken.events) <= 22
    assert taken.peer.ended == []


async def test_a_handler_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    taken = Excessive()

    @taken.namespace.on_excess
    def fail(socket: Socket, event: Event, wait: int) -> None:
        raise RuntimeError

    taken.peer.say('2["event"]')
    assert "the handler of events in excess failed" in caplog.text
    assert taken.peer.ended == []


# WebSocket


def test_a_flooding_websocket_is_not_read_after_its_end() -> None:
    async def main() -> None:
        client = OpenedWebSocket(limiting_engine(AT_ONCE))
        while client.wire.is_reading():
            client.say(*[b"4x"] * 200)
            await settle()
        assert client.told.closed == [CloseReason.FLOODING]
        assert client.close_code() == CloseCode.POLICY
        await asyncio.sleep(2)
        assert client.wire.ended()

    in_virtual_time(main())


# Polling


def test_a_post_is_answered_late() -> None:
    async def main() -> None:
        limits = RateLimits(connection=Rates(events=Rate(per_second=10, burst=20)))
        client = await PollingClient(limiting_engine(limits)).open()
        post = client.request("POST", [b"\x1e".join(b"4%d" % number for number in range(40))])
        await asyncio.sleep(1)
        assert not post.task.done()
        assert 25 <= len(client.told.messages) <= 35
        answer = await post.answered()
        assert (answer.status, answer.body) == (200, b"ok")
        assert client.told.messages == [str(number) for number in range(40)]

    in_virtual_time(main())


def test_the_bytes_of_a_post_are_paid_for_before_it_is_taken() -> None:
    async def main() -> None:
        limits = RateLimits(connection=Rates(bytes=Rate(per_second=1_000, burst=2_000)))
        client = await PollingClient(limiting_engine(limits)).open()
        post = client.request("POST", [b"4" + b"x" * 3_999])
        await asyncio.sleep(1)
        assert client.told.messages == []
        await asyncio.sleep(2)
        assert len(client.told.messages) == 1
        assert (await post.answered()).body == b"ok"

    in_virtual_time(main())


def test_a_flood_by_polling_ends_the_session() -> None:
    async def main() -> None:
        client = await PollingClient(limiting_engine(AT_ONCE)).open()
        session, told = client.session, client.told
        answer = await client.post(*[b"4x"] * 3_000)
        assert session.state is State.CLOSED
        assert told.closed == [CloseReason.FLOODING]
        assert len(told.excess) == 2_000
        assert answer.status == 200

    in_virtual_time(main())


# Connections from an address


def forwarded(addresses: str) -> dict[str, Any]:
    """The header with which a proxy says for whom it asks."""
    return {"x-forwarded-for": addresses}


def test_an_address_that_connects_too_often_is_turned_away() -> None:
    async def main() -> None:
        engine = limiting_engine(PROXIED)

        def ask(address: str) -> str:
            return WebSocketClient(engine).ask(TARGET, **{"X-Forwarded-For": address})

        assert [ask("203.0.113.5")[9:12] for _ in range(4)] == ["101", "101", "429", "429"]
        assert ask("203.0.113.6").startswith("HTTP/1.1 101 ")
        refusal = ask("203.0.113.5")
        assert "\r\nRetry-After: 1\r\n" in refusal
        assert json.loads(refusal.partition("\r\n\r\n")[2]) == {
            "code": 3,
            "message": "Too many connections from this address: try again later",
        }
        assert engine.limiter.refused["address_connects"] == 3
        await asyncio.sleep(1)
        assert ask("203.0.113.5").startswith("HTTP/1.1 101 ")
        assert engine.opened == 4

    in_virtual_time(main())


def test_polling_clients_are_turned_away_alike() -> None:
    async def main() -> None:
        engine = limiting_engine(PROXIED)
        client, told = PollingClient(engine), forwarded("1.1.1.1, 203.0.113.5")
        answers = [await client.request("GET", **told).answered() for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 429]
        assert answers[2].headers["retry-after"] == "1"

    in_virtual_time(main())


def test_an_upgrade_is_no_new_connection() -> None:
    async def main() -> None:
        engine = limiting_engine(PROXIED)
        told = forwarded("203.0.113.5")
        for _ in range(2):
            answer = await PollingClient(engine).request("GET", **told).answered()
            sid = json.loads(answer.body[1:])["sid"]
            upgrade = WebSocketClient(engine).ask(f"{TARGET}&sid={sid}", **told)
            assert upgrade.startswith("HTTP/1.1 101 ")
        await settle()

    in_virtual_time(main())


def test_the_proxies_themselves_are_not_limited() -> None:
    async def main() -> None:
        engine = limiting_engine(PROXIED)
        for _ in range(10):
            assert WebSocketClient(engine).ask(TARGET).startswith("HTTP/1.1 101 ")

    in_virtual_time(main())


def test_all_connections_from_an_address_share_its_limit() -> None:
    async def main() -> None:
        limits = RateLimits(
            address=Rates(events=Rate(per_second=10, burst=20)),
            proxies=Proxies(trusted=("192.0.2.0/24",)),
        )
        engine = limiting_engine(limits)
        reading = []
        for address in ("203.0.113.5", "203.0.113.5", "203.0.113.6"):
            client = WebSocketClient(engine)
            client.ask(TARGET, **{"X-Forwarded-For": address})
            client.say(*[b"4x"] * 15)
            reading.append(client.wire.is_reading())
        assert reading == [True, False, True]

    in_virtual_time(main())
