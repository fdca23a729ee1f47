"""Socket.IO protocol version 5, as any client may rely on it.

Tested from outside, with the echo application: joining and leaving namespaces, events and
acknowledgements with and without binary attachments, the order of many events, and everything after
which the server must close the connection: packets that are wrong, attachments that are not as they
were announced or never come, a client that joins nothing.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest

from .conftest import Endpoint, Polling, WebSocket, handshake_of, settle

ONE = '{"_placeholder":true,"num":0}'
TWO = '{"_placeholder":true,"num":1}'
BURST = 1_000
SENT = [f'42["message",{number}]' for number in range(BURST)]
EXPECTED = [f'42["message-back",{number}]' for number in range(BURST)]


async def connected(endpoint: Endpoint) -> WebSocket:
    """A WebSocket that joined the main namespace."""
    websocket = await endpoint.open_websocket()
    await join(websocket)
    return websocket


async def join(websocket: WebSocket, namespace: str = "") -> str:
    """Join a namespace (written "/name,"); returns the id the server gave."""
    await websocket.send(f"40{namespace}")
    sid = session_id(await websocket.receive(), namespace)
    assert await websocket.receive() == f'42{namespace}["auth",{{}}]'
    return sid


def session_id(packet: str | bytes, namespace: str = "") -> str:
    """The id in a CONNECT packet, which holds nothing else."""
    assert isinstance(packet, str)
    assert packet.startswith(f"40{namespace}{{"), packet
    data = json.loads(packet.removeprefix(f"40{namespace}"))
    assert list(data) == ["sid"]
    sid = data["sid"]
    assert isinstance(sid, str)
    assert sid
    return sid


async def connected_polling(endpoint: Endpoint) -> Polling:
    """A polling session that joined the main namespace."""
    session = await endpoint.open_polling()
    await session.send("40")
    connect, auth = await session.receive(2)
    session_id(connect)
    assert auth == '42["auth",{}]'
    return session


async def assert_answers(websocket: WebSocket) -> None:
    """The connection is as good as ever."""
    await websocket.send('42["message","still here"]')
    assert await websocket.receive() == '42["message-back","still here"]'


class TestConnect:
    @pytest.mark.parametrize(
        ("connect", "namespace", "auth"),
        [
            ("40", "", "{}"),
            ("40{}", "", "{}"),
            ('40{"token":"123"}', "", '{"token":"123"}'),
            ("40/custom", "/custom,", "{}"),
            ("40/custom,", "/custom,", "{}"),
            ('40/custom,{"token":"abc"}', "/custom,", '{"token":"abc"}'),
        ],
    )
    async def test_hands_over_the_payload(
        self, socketio: Endpoint, connect: str, namespace: str, auth: str
    ) -> None:
        websocket = await socketio.open_websocket()

        await websocket.send(connect)

        session_id(await websocket.receive(), namespace)
        assert await websocket.receive() == f'42{namespace}["auth",{auth}]'

    async def test_over_polling(self, socketio: Endpoint) -> None:
        await connected_polling(socketio)

    async def test_gives_an_id_that_is_not_the_transport_s_secret(self, socketio: Endpoint) -> None:
        websocket = await socketio.dial()
        engine_sid = handshake_of(await websocket.packet())["sid"]

        main, custom = await join(websocket), await join(websocket, "/custom,")

        assert len({engine_sid, main, custom}) == 3

    @pytest.mark.parametrize("connect", ["40/random", "40/random,", '40/random,{"token":"abc"}'])
    async def test_to_an_unknown_namespace_is_refused(
        self, socketio: Endpoint, connect: str
    ) -> None:
        websocket = await socketio.open_websocket()

        await websocket.send(connect)

        assert await websocket.receive() == '44/random,{"message":"Invalid namespace"}'
        await join(websocket)

    @pytest.mark.parametrize(
        "packet",
        ["4abc", "4", '40{"token"', '40"token"', "40[1]", '42["message","early"]', "430[]", "41"],
    )
    async def test_is_the_first_packet_or_the_connection_closes(
        self, socketio: Endpoint, packet: str
    ) -> None:
        websocket = await socketio.open_websocket()

        await websocket.send(packet)

        await websocket.close_code()

    async def test_must_come_in_time_over_websocket(self, socketio: Endpoint) -> None:
        websocket = await socketio.open_websocket()

        await websocket.close_code()

    async def test_must_come_in_time_over_polling(self, socketio: Endpoint) -> None:
        session = await socketio.open_polling()

        await session.until_gone()

    async def test_in_time_is_for_good(self, socketio: Endpoint) -> None:
        websocket = await connected(socketio)

        for _ in range(6):  # heartbeats, over more than the second a client has
            assert await websocket.packet() == "2"
            await websocket.send("3")

        await assert_answers(websocket)


class TestDisconnect:
    async def test_leaves_the_transport_open(self, socketio: Endpoint) -> None:
        websocket = await socketio.open_websocket()
        first = await join(websocket)

        await websocket.send("41")
        assert await websocket.packet() == "2"
        await websocket.send("3")

        assert await join(websocket) != first
        await assert_answers(websocket)

    async def test_of_one_namespace_leaves_the_other(self, socketio: Endpoint) -> None:
        websocket = await connected(socketio)
        await join(websocket, "/custom,")

        await websocket.send("41/custom")

        await assert_answers(websocket)

    @pytest.mark.parametrize("disconnect", ["41/custom", "41/custom,"])
    async def test_ends_what_may_be_sent_there(self, socketio: Endpoint, disconnect: str) -> None:
        websocket = await connected(socketio)
        await join(websocket, "/custom,")

        await websocket.send(disconnect, '42/custom,["message","too late"]')

        await websocket.close_code()

    async def test_of_the_transport_ends_a_polling_session(self, socketio: Endpoint) -> None:
        session = await connected_polling(socketio)
        poll = asyncio.create_task(session.get())
        await settle()

        await session.send("1")

        assert (await poll).text == "6"
        await session.assert_gone()


class TestEvents:
    @pytest.mark.parametrize(
        "arguments",
        [
            '1,"2",{"3":[true]}',
            "null,false,-1.5,[],{}",
            '""',
            '"h\u00e9llo \u20ac \U0001f600"',
            '"\\u001e \\" \\\\ \\n"',
            '{"_placeholder":false}',
        ],
    )
    async def test_come_back_with_their_arguments(self, socketio: Endpoint, arguments: str) -> None:
        websocket = await connected(socketio)

        await websocket.send(f'42["message",{arguments}]')

        packet = await websocket.receive()
        assert isinstance(packet, str)
        assert packet.startswith("42[")
        assert json.loads(packet[2:]) == json.loads(f'["message-back",{arguments}]')

    async def test_are_written_as_the_reference_writes_them(self, socketio: Endpoint) -> None:
        websocket = await connected(socketio)

        await websocket.send('42["message",1,"2",{"3":[true]}]', '42["message"]')

        assert await websocket.receive() == '42["message-back",1,"2",{"3":[true]}]'
        assert await websocket.receive() == '42["message-back"]'

    async def test_stay_in_their_namespace(self, socketio: Endpoint) -> None:
        websocket = await connected(socketio)
        await join(websocket, "/custom,")

        await websocket.send('42/custom,["message",1]', '42["message",2]')

        assert await websocket.receive() == '42/custom,["message-back",1]'
        assert await websocket.receive() == '42["message-back",2]'

    async def test_nobody_listens_to_are_harmless(self, socketio: Endpoint) -> None:
        websocket = await connected(socketio)

        await websocket.send('42["nobody listens",1]', "4399[]")

        await assert_answers(websocket)

    async def test_deeply_nested_do_not_harm_the_server(self, socketio: Endpoint) -> None:
        websocket = await connected(socketio)
        depth = 100_000

        await websocket.send('42["message",' + "[" * depth + "]" * depth + "]")

        await websocket.close_code()
        await connected(socketio)

    @pytest.mark.parametrize(
        "packet",
        [
            "4abc",
            "4",
            "49[]",
            "42",
            "42{}",
            '42"message"',
            "42[]",
            '42["message"',
            '42["message"]]',
            '42abc["message-with-ack",1]',
            '42-1["message-with-ack",1]',
            '421.5["message-with-ack",1]',
            '42/never-joined,["message",1]',
            '42/custom,["message",1]',
            "43/custom,1[]",
            "43{}",
            "431{}",
        ],
    )
    async def test_that_are_wrong_close_the_connection(
        self, socketio: Endpoint, packet: str
    ) -> None:
        websocket = await connected(socketio)

        await websocket.send(packet)

        await websocket.close_code()

    @pytest.mark.parametrize("packet", ["4abc", "42{}", '42abc["message",1]', '42/other,["x"]'])
    async def test_that_are_wrong_close_a_polling_session(
        self, socketio: Endpoint, packet: str
    ) -> None:
        session = await connected_polling(socketio)

        await session.post(packet)

        await session.assert_gone()


class TestAcknowledgements:
    @pytest.mark.parametrize("namespace", ["", "/custom,"])
    async def test_carry_the_id_of_the_event(self, socketio: Endpoint, namespace: str) -> None:
        websocket = await socketio.open_websocket()
        await join(websocket, namespace)

        await websocket.send(
            f'42{namespace}456["message-with-ack",1,"2",{{"3":[false]}}]',
            f'42{namespace}0["message-with-ack"]',
        )

        assert await websocket.receive() == f'43{namespace}456[1,"2",{{"3":[false]}}]'
        assert await websocket.receive() == f"43{namespace}0[]"

    async def test_over_polling(self, socketio: Endpoint) -> None:
        session = await connected_polling(socketio)

        await session.send('427["message-with-ack","a"]', '428["message-with-ack","b"]')

        assert await session.receive(2) == ['437["a"]', '438["b"]']


class TestAttachments:
    @pytest.mark.parametrize("namespace", ["", "/custom,"])
    async def test_come_back_in_an_event(self, socketio: Endpoint, namespace: str) -> None:
        websocket = await socketio.open_websocket()
        await join(websocket, namespace)

        await websocket.send(
            f'452-{namespace}["message",{ONE},{TWO}]', b"\x01\x02\x03", b"\x04\x05\x06"
        )

        assert await websocket.receive_many(3) == [
            f'452-{namespace}["message-back",{ONE},{TWO}]',
            b"\x01\x02\x03",
            b"\x04\x05\x06",
        ]

    async def test_come_back_in_an_acknowledgement(self, socketio: Endpoint) -> None:
        websocket = await connected(socketio)

        await websocket.send(f'452-789["message-with-ack",{ONE},{TWO}]', b"\x01\x02\x03", b"")

        assert await websocket.receive_many(3) == [f"462-789[{ONE},{TWO}]", b"\x01\x02\x03", b""]

    async def test_may_lie_deep_and_in_any_order(self, socketio: Endpoint) -> None:
        websocket = await connected(socketio)

        await websocket.send(
            f'452-["message",{{"a":[{{"file":{TWO}}}]}},"text",{ONE}]', b"first", b"second"
        )

        assert fill(await websocket.receive_many(3)) == [
            "message-back",
            {"a": [{"file": b"second"}]},
            "text",
            b"first",
        ]

    async def test_over_polling(self, socketio: Endpoint) -> None:
        session = await connected_polling(socketio)

        await session.send(f'451-3["message-with-ack",{ONE}]', "bAQIDBA==")

        assert await session.receive(2) == [f"461-3[{ONE}]", "bAQIDBA=="]

    async def test_may_come_in_requests_of_their_own(self, socketio: Endpoint) -> None:
        session = await connected_polling(socketio)

        await session.send(f'451-["message",{ONE}]')
        await session.send("bAQIDBA==")

        assert await session.receive(2) == [f'451-["message-back",{ONE}]', "bAQIDBA=="]

    async def test_are_followed_by_other_events_in_order(self, socketio: Endpoint) -> None:
        websocket = await connected(socketio)

        await websocket.send(f'451-["message",{ONE}]', b"\x01", '42["message","next"]')

        assert await websocket.receive_many(3) == [
            f'451-["message-back",{ONE}]',
            b"\x01",
            '42["message-back","next"]',
        ]

    @pytest.mark.parametrize(
        "packets",
        [
            [b"\x01\x02\x03"],
            [f'451-["message",{ONE}]', '42["message","in between"]'],
            [f'452-["message",{ONE},{TWO}]', b"\x01", "41"],
            [f'451-["message",{ONE}]', b"\x01", b"\x02"],
            [f'4599999-["message",{ONE}]'],
            ["45" + "9" * 400 + f'-["message",{ONE}]'],
            ['45-["message"]'],
            ['45abc-["message"]'],
            ['45-1-["message"]'],
            ['451["message"]'],
            ["451-{}", b"\x01"],
            [f'451-["message",{TWO}]', b"\x01"],
            ['451-["message",{"_placeholder":true,"num":-1}]', b"\x01"],
            ['451-["message",{"_placeholder":true,"num":"0"}]', b"\x01"],
            ['451-["message",{"_placeholder":true}]', b"\x01"],
            [f'451-/never-joined,["message",{ONE}]', b"\x01"],
        ],
        ids=[
            "not announced",
            "text in between",
            "packet in between",
            "one too many",
            "more announced than allowed",
            "absurdly many announced",
            "no number",
            "not a number",
            "negative number",
            "no dash",
            "not an array",
            "no such attachment",
            "negative attachment",
            "attachment by name",
            "attachment without number",
            "namespace never joined",
        ],
    )
    async def test_that_are_wrong_close_the_connection(
        self, socketio: Endpoint, packets: list[str | bytes]
    ) -> None:
        websocket = await connected(socketio)

        with suppress(ConnectionError):  # it may be closed before all was sent
            await websocket.send(*packets)

        await websocket.close_code()

    @pytest.mark.slow
    async def test_that_never_come_close_the_connection(self, socketio: Endpoint) -> None:
        websocket = await connected(socketio)

        await websocket.send(f'452-["message",{ONE},{TWO}]', b"\x01")

        await websocket.close_code(patience=20)


def fill(packets: list[str | bytes]) -> Any:
    """The data of a binary event, with its attachments in place."""
    text, *attachments = packets
    assert isinstance(text, str)

    def place(value: dict[str, Any]) -> Any:
        return attachments[value["num"]] if value.get("_placeholder") else value

    return json.loads(text.partition("-")[2], object_hook=place)


class TestBurst:
    """Many events at once come back all, once, and in order."""

    async def test_over_websocket(self, socketio: Endpoint) -> None:
        websocket = await connected(socketio)

        await websocket.send(*SENT)

        assert await websocket.receive_many(BURST) == EXPECTED

    async def test_over_polling(self, socketio: Endpoint) -> None:
        session = await connected_polling(socketio)

        await session.send(*SENT)

        assert await session.receive(BURST) == EXPECTED

    async def test_over_an_upgrade_in_the_middle(self, socketio: Endpoint) -> None:
        third = BURST // 3
        session = await connected_polling(socketio)

        await session.send(*SENT[:third])
        received: list[str | bytes] = [*await session.receive()]
        websocket = await session.probe()
        await session.send(*SENT[third : 2 * third])
        received += [packet for packet in await session.poll() if packet not in ("2", "6")]
        await websocket.send("5", *SENT[2 * third :])
        received += await websocket.receive_many(BURST - len(received))

        assert received == EXPECTED

    async def test_in_two_namespaces_at_once(self, socketio: Endpoint) -> None:
        websocket = await connected(socketio)
        await join(websocket, "/custom,")

        for number in range(BURST // 2):
            await websocket.send(f'42["message",{number}]', f'42/custom,["message",{number}]')

        received = await websocket.receive_many(BURST)
        assert [packet for packet in received if packet in EXPECTED] == [
            f'42["message-back",{number}]' for number in range(BURST // 2)
        ]
        assert [packet for packet in received if packet not in EXPECTED] == [
            f'42/custom,["message-back",{number}]' for number in range(BURST // 2)
        ]
