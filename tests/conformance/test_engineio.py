"""Engine.IO protocol version 4, as any client may rely on it.

Tested from outside: the handshake and its refusals, packets and payloads on both transports, the
heartbeat, closing, the upgrade from polling to WebSocket, RFC 6455 frames that are wrong, the limit
on what one message may weigh, and what a browser asks before it polls from another origin.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

import aiohttp
import pytest

from tests.services.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, encode_frame

from .conftest import (
    MAX_PAYLOAD,
    PATIENCE,
    PING_INTERVAL_MS,
    PING_TIMEOUT_MS,
    POLLING,
    SEPARATOR,
    WEBSOCKET,
    Answer,
    ClosedError,
    Endpoint,
    Polling,
    handshake_of,
    read_head,
    settle,
)

UNKNOWN_TRANSPORT = {"code": 0, "message": "Transport unknown"}
UNKNOWN_SESSION = {"code": 1, "message": "Session ID unknown"}
BAD_METHOD = {"code": 2, "message": "Bad handshake method"}
BAD_VERSION = {"code": 5, "message": "Unsupported protocol version"}


class TestHandshake:
    async def test_over_polling(self, endpoint: Endpoint) -> None:
        answer = await endpoint.request("GET", POLLING)

        assert answer.status == 200
        assert answer.headers["Content-Type"].lower().startswith("text/plain")
        handshake = handshake_of(answer.text)
        assert isinstance(handshake.pop("sid"), str)
        assert handshake == {
            "upgrades": ["websocket"],
            "pingInterval": PING_INTERVAL_MS,
            "pingTimeout": PING_TIMEOUT_MS,
            "maxPayload": MAX_PAYLOAD,
        }

    async def test_over_websocket(self, endpoint: Endpoint) -> None:
        websocket = await endpoint.dial()

        handshake = handshake_of(await websocket.packet())
        assert isinstance(handshake.pop("sid"), str)
        assert handshake == {
            "upgrades": [],
            "pingInterval": PING_INTERVAL_MS,
            "pingTimeout": PING_TIMEOUT_MS,
            "maxPayload": MAX_PAYLOAD,
        }

    async def test_sessions_have_ids_of_their_own(self, endpoint: Endpoint) -> None:
        sids = {(await endpoint.open_polling()).sid for _ in range(20)}

        assert len(sids) == 20

    @pytest.mark.parametrize(
        ("method", "query", "error"),
        [
            ("GET", {"transport": "polling"}, BAD_VERSION),
            ("GET", {"EIO": "abc", "transport": "polling"}, BAD_VERSION),
            ("GET", {"EIO": "3", "transport": "polling"}, BAD_VERSION),
            ("GET", {"EIO": "4"}, UNKNOWN_TRANSPORT),
            ("GET", {"EIO": "4", "transport": "abc"}, UNKNOWN_TRANSPORT),
            ("POST", POLLING, BAD_METHOD),
            ("PUT", POLLING, BAD_METHOD),
            ("GET", {**POLLING, "sid": "nobody"}, UNKNOWN_SESSION),
            ("POST", {**POLLING, "sid": "nobody"}, UNKNOWN_SESSION),
        ],
    )
    async def test_a_bad_request_is_told_what_is_wrong(
        self, endpoint: Endpoint, method: str, query: Mapping[str, str], error: Mapping[str, object]
    ) -> None:
        answer = await endpoint.request(method, query)

        assert answer.status == 400
        assert answer.headers["Content-Type"].startswith("application/json")
        assert json.loads(answer.text) == error

    @pytest.mark.parametrize(
        "query",
        [
            {"transport": "websocket"},
            {"EIO": "abc", "transport": "websocket"},
            {"EIO": "3", "transport": "websocket"},
            {"EIO": "4"},
            {"EIO": "4", "transport": "abc"},
            {"EIO": "4", "transport": "websocket", "sid": "nobody"},
        ],
    )
    async def test_a_bad_websocket_is_refused(
        self, endpoint: Endpoint, query: Mapping[str, str]
    ) -> None:
        assert await endpoint.refuses_websocket(query)

    async def test_a_method_other_than_get_and_post_does_not_harm_a_session(
        self, engineio: Endpoint
    ) -> None:
        session = await engineio.open_polling()

        answer = await engineio.request("PUT", {**POLLING, "sid": session.sid}, "4hello")

        assert answer.status in (400, 405)
        await session.send("4still here")
        assert await session.receive() == ["4still here"]


class TestMessagesOverPolling:
    @pytest.mark.parametrize(
        "packets",
        [
            ["4hello"],
            ["4"],
            ["4test1", "4test2", "4test3"],
            ["4hello", "bAQIDBA=="],
            ["b", "bAA==", "b" + "+/8="],
            ["4h\u00e9llo \u20ac \U0001f600", '4\u2028\u2029 \\ " \r\n\t'],
        ],
        ids=["one", "empty", "several", "text and binary", "binary", "not ascii"],
    )
    async def test_a_payload_comes_back(self, engineio: Endpoint, packets: list[str]) -> None:
        session = await engineio.open_polling()

        answer = await session.post(SEPARATOR.join(packets))

        assert (answer.status, answer.text) == (200, "ok")
        assert await session.receive(len(packets)) == packets

    async def test_a_pending_poll_ends_when_there_is_something(self, engineio: Endpoint) -> None:
        session = await engineio.open_polling()
        poll = asyncio.create_task(session.receive())
        await settle()

        await session.send("4hello")

        assert await poll == ["4hello"]

    @pytest.mark.parametrize(
        "body",
        ["abc", "9", "", "4fine\x1eabc", "4fine\x1e", "b&&&&", b"4\xff\xfe"],
        ids=[
            "unknown type",
            "unknown digit",
            "nothing",
            "second packet",
            "empty packet",
            "not base64",
            "not utf-8",
        ],
    )
    async def test_an_invalid_packet_closes_the_session(
        self, engineio: Endpoint, body: str | bytes
    ) -> None:
        session = await engineio.open_polling()

        assert (await session.post(body)).status == 400

        await session.assert_gone()

    async def test_two_polls_at_once_close_the_session(self, engineio: Endpoint) -> None:
        session = await engineio.open_polling()

        # in order of status, because either may be the first that the server reads
        first, second = sorted(
            await asyncio.gather(session.get(), session.get()), key=lambda answer: answer.status
        )

        assert (first.status, first.text) == (200, "1")
        assert second.status == 400
        await session.assert_gone()

    async def test_two_posts_at_once_close_the_session(self, engineio: Endpoint) -> None:
        session = await engineio.open_polling()
        reader, _ = await engineio.connect(
            "POST",
            {**POLLING, "sid": session.sid},
            "Content-Length: 100",
            "Expect: 100-continue",
        )
        assert b" 100 " in await read_head(reader)  # the server is reading the body

        answer = await session.post("4overtaking")

        assert answer.status == 400
        await session.assert_gone()

    async def test_an_abandoned_poll_closes_the_session(self, engineio: Endpoint) -> None:
        session = await engineio.open_polling()
        poll = asyncio.create_task(session.get())
        await settle()

        poll.cancel()

        await session.until_gone()


class TestSimultaneousRequests:
    """Two requests of one session which the server reads together, in whichever order.

    Many sessions do the same at the same time, so that it happens to most of them.
    """

    @staticmethod
    async def open_many(endpoint: Endpoint) -> list[Polling]:
        return await asyncio.gather(*(endpoint.open_polling() for _ in range(50)))

    async def test_a_poll_does_not_miss_a_message(self, engineio: Endpoint) -> None:
        async def exchange(session: Polling) -> list[str]:
            received, _ = await asyncio.gather(session.receive(), session.send("4hello"))
            return received

        sessions = await self.open_many(engineio)

        received = await asyncio.gather(*map(exchange, sessions))

        assert received == [["4hello"]] * len(sessions)

    async def test_a_poll_does_not_miss_the_end(self, engineio: Endpoint) -> None:
        async def end(session: Polling) -> Answer:
            answer, _ = await asyncio.gather(session.get(), session.send("1"))
            return answer

        sessions = await self.open_many(engineio)

        for answer in await asyncio.gather(*map(end, sessions)):
            assert answer.text == "6" or json.loads(answer.text) == UNKNOWN_SESSION

    async def test_two_polls_are_both_answered(self, engineio: Endpoint) -> None:
        async def poll_twice(session: Polling) -> set[int]:
            answers = await asyncio.gather(session.get(), session.get())
            return {answer.status for answer in answers}

        sessions = await self.open_many(engineio)

        assert await asyncio.gather(*map(poll_twice, sessions)) == [{200, 400}] * len(sessions)


class TestMessagesOverWebSocket:
    @pytest.mark.parametrize(
        "packet",
        [
            "4hello",
            "4",
            "4h\u00e9llo \u20ac \U0001f600\x1e",
            b"\x01\x02\x03\x04",
            b"",
            b"\x00" * 70_000,
        ],
        ids=["text", "empty", "not ascii", "binary", "empty binary", "long binary"],
    )
    async def test_a_packet_comes_back(self, engineio: Endpoint, packet: str | bytes) -> None:
        websocket = await engineio.open_websocket()

        await websocket.send(packet)

        assert await websocket.receive() == packet

    @pytest.mark.parametrize("packet", ["abc", "9", ""])
    async def test_an_invalid_packet_closes_the_session(
        self, engineio: Endpoint, packet: str
    ) -> None:
        websocket = await engineio.open_websocket()

        await websocket.send(packet)

        await websocket.close_code()

    async def test_polling_requests_cannot_use_its_session(self, engineio: Endpoint) -> None:
        websocket = await engineio.dial()
        sid = handshake_of(await websocket.packet())["sid"]

        assert (await engineio.request("GET", {**POLLING, "sid": sid})).status == 400
        assert (await engineio.request("POST", {**POLLING, "sid": sid}, "4hi")).status == 400
        assert await engineio.refuses_websocket({**WEBSOCKET, "sid": sid})

        await websocket.send("4mine")
        assert await websocket.receive() == "4mine"


class TestHeartbeat:
    async def test_pongs_keep_a_polling_session(self, engineio: Endpoint) -> None:
        session = await engineio.open_polling()

        for _ in range(4):
            assert await session.poll() == ["2"]
            await session.send("3")

    async def test_pongs_keep_a_websocket_session(self, engineio: Endpoint) -> None:
        websocket = await engineio.open_websocket()

        for _ in range(4):
            assert await websocket.packet() == "2"
            await websocket.send("3")

    async def test_without_pongs_a_polling_session_ends(self, endpoint: Endpoint) -> None:
        session = await endpoint.open_polling()

        async with asyncio.timeout(PATIENCE):
            while (await session.get()).status == 200:
                pass

        await session.assert_gone()

    async def test_without_polls_a_polling_session_ends(self, endpoint: Endpoint) -> None:
        session = await endpoint.open_polling()

        await asyncio.sleep((PING_INTERVAL_MS + PING_TIMEOUT_MS) / 1000 + 0.5)

        await session.assert_gone()

    async def test_without_pongs_a_websocket_session_ends(self, endpoint: Endpoint) -> None:
        websocket = await endpoint.open_websocket()

        assert await websocket.packet() == "2"
        with pytest.raises(ClosedError):
            await websocket.packet()

    async def test_without_pongs_an_upgraded_session_ends(self, engineio: Endpoint) -> None:
        websocket = await (await engineio.open_polling()).upgrade()

        assert await websocket.packet() == "2"
        with pytest.raises(ClosedError):
            await websocket.packet()


class TestClose:
    async def test_of_a_polling_session_ends_the_pending_poll(self, endpoint: Endpoint) -> None:
        session = await endpoint.open_polling()
        poll = asyncio.create_task(session.get())
        await settle()

        await session.send("1")

        answer = await poll
        assert (answer.status, answer.text) == (200, "6")
        await session.assert_gone()

    async def test_of_a_polling_session_without_a_poll(self, endpoint: Endpoint) -> None:
        session = await endpoint.open_polling()

        await session.send("1")

        await session.assert_gone()

    async def test_of_a_websocket_session(self, endpoint: Endpoint) -> None:
        websocket = await endpoint.open_websocket()

        await websocket.send("1")

        assert await websocket.close_code() in (1000, 1005)

    async def test_of_the_websocket_itself(self, endpoint: Endpoint) -> None:
        websocket = await endpoint.open_raw()

        websocket.send(encode_frame(CLOSE, (1000).to_bytes(2, "big")))

        assert await websocket.close_code() == 1000
        assert await websocket.ended()

    @pytest.mark.slow
    async def test_is_not_put_off_by_a_client_that_does_not_answer(
        self, engineio: Endpoint
    ) -> None:
        websocket = await engineio.open_raw()

        websocket.send(encode_frame(TEXT, b"1"))

        assert await websocket.close_code() in (1000, 1005)
        assert await websocket.ended()


class TestUpgrade:
    async def test_moves_the_session_to_the_websocket(self, engineio: Endpoint) -> None:
        session = await engineio.open_polling()
        poll = asyncio.create_task(session.poll())
        await settle()

        websocket = await session.probe()
        assert await poll == ["6"]
        await websocket.send("5", "4hello")

        assert await websocket.receive() == "4hello"

    async def test_ends_a_poll_that_comes_after_the_probe(self, endpoint: Endpoint) -> None:
        session = await endpoint.open_polling()

        websocket = await session.probe()
        assert await session.poll() == ["6"]
        await websocket.send("5")

        assert await websocket.packet() == "2"

    async def test_delivers_what_was_buffered(self, engineio: Endpoint) -> None:
        session = await engineio.open_polling()
        await session.send("4one", "bAgI=", "4three")

        websocket = await session.upgrade()
        await websocket.send("4four")

        assert await websocket.receive_many(4) == ["4one", b"\x02\x02", "4three", "4four"]

    async def test_keeps_the_order_of_many_messages(self, engineio: Endpoint) -> None:
        packets = [f"4message {number}" for number in range(900)]
        session = await engineio.open_polling()

        await session.send(*packets[:300])
        received: list[str | bytes] = [*await session.receive()]
        websocket = await session.probe()
        await session.send(*packets[300:600])
        received += [packet for packet in await session.poll() if packet not in ("2", "6")]
        await websocket.send("5", *packets[600:])
        received += await websocket.receive_many(len(packets) - len(received))

        assert received == packets

    async def test_refuses_polling_afterwards(self, engineio: Endpoint) -> None:
        session = await engineio.open_polling()
        websocket = await session.upgrade()
        await websocket.send("4upgraded")
        assert await websocket.receive() == "4upgraded"

        assert (await session.get()).status == 400
        assert (await session.post("4hello")).status == 400

        await websocket.send("4unharmed")
        assert await websocket.receive() == "4unharmed"

    async def test_refuses_another_websocket_afterwards(self, endpoint: Endpoint) -> None:
        session = await endpoint.open_polling()
        websocket = await session.upgrade()

        assert await endpoint.refuses_websocket({**WEBSOCKET, "sid": session.sid})

        assert await websocket.packet() == "2"

    @pytest.mark.parametrize("packets", [[], ["2probe"]], ids=["no probe", "no upgrade packet"])
    async def test_given_up_leaves_polling_usable(
        self, engineio: Endpoint, packets: list[str]
    ) -> None:
        session = await engineio.open_polling()
        websocket = await session.dial_upgrade()
        await websocket.send(*packets)
        await settle()

        await session.send("4while probing")
        assert await session.receive() == ["4while probing"]
        await websocket.close()
        await session.send("4afterwards")
        assert await session.receive() == ["4afterwards"]

    async def test_can_be_tried_again(self, engineio: Endpoint) -> None:
        session = await engineio.open_polling()
        await (await session.probe()).close()
        await settle()

        websocket = await session.upgrade()
        await websocket.send("4hello")

        assert await websocket.receive() == "4hello"

    @pytest.mark.parametrize("packet", ["4hello", "5", "2", "abc", b"\x01"])
    async def test_begins_with_a_probe_or_not_at_all(
        self, engineio: Endpoint, packet: str | bytes
    ) -> None:
        session = await engineio.open_polling()
        websocket = await session.dial_upgrade()

        await websocket.send(packet)

        await websocket.close_code()
        await session.send("4hello")
        assert await session.receive() == ["4hello"]


class TestFrames:
    """RFC 6455, with frames no WebSocket client would send."""

    async def test_a_ping_is_answered_inside_a_fragmented_message(self, engineio: Endpoint) -> None:
        websocket = await engineio.open_raw()

        websocket.send(
            encode_frame(TEXT, b"4h\xc3", final=False),
            encode_frame(PING, b"there?"),
            encode_frame(CONTINUATION, b"", final=False),
            encode_frame(CONTINUATION, b"\xa9llo"),
        )

        assert await websocket.message() == (PONG, b"there?")
        assert await websocket.message() == (TEXT, "4h\u00e9llo".encode())

    async def test_a_frame_may_arrive_byte_by_byte(self, engineio: Endpoint) -> None:
        websocket = await engineio.open_raw()

        for byte in encode_frame(BINARY, bytes(range(50))):
            websocket.send(bytes([byte]))
            await asyncio.sleep(0)

        assert await websocket.message() == (BINARY, bytes(range(50)))

    @pytest.mark.parametrize(
        "frames",
        [
            encode_frame(TEXT, b"4hello", masked=False),
            encode_frame(TEXT, b"4hello", reserved=4),
            encode_frame(0x3, b"4hello"),
            encode_frame(0xB, b""),
            encode_frame(CONTINUATION, b"4hello"),
            encode_frame(TEXT, b"4he", final=False) + encode_frame(TEXT, b"llo"),
            encode_frame(PING, b"x" * 126),
            encode_frame(PING, b"x", final=False),
            encode_frame(CLOSE, b"\x03"),
            encode_frame(CLOSE, (1005).to_bytes(2, "big")),
            encode_frame(TEXT, announced=1 << 63),
        ],
        ids=[
            "not masked",
            "reserved bit",
            "reserved data opcode",
            "reserved control opcode",
            "continuation of nothing",
            "message inside a message",
            "long ping",
            "fragmented ping",
            "close with half a code",
            "close with a code never sent",
            "length with the top bit",
        ],
    )
    async def test_a_violation_is_closed_with_1002(self, engineio: Endpoint, frames: bytes) -> None:
        websocket = await engineio.open_raw()

        websocket.send(frames)

        assert await websocket.close_code() == 1002

    @pytest.mark.parametrize(
        "frames",
        [
            encode_frame(TEXT, b"4\xff"),
            encode_frame(TEXT, b"4\xed\xa0\x80"),
            encode_frame(TEXT, b"4\xf0\x9f\x98"),
            encode_frame(TEXT, b"4\xc3", final=False) + encode_frame(CONTINUATION, b"("),
            encode_frame(CLOSE, b"\x03\xe8\xff"),
        ],
        ids=["byte", "surrogate", "cut short", "across fragments", "close reason"],
    )
    async def test_text_that_is_not_utf8_is_closed_with_1007(
        self, engineio: Endpoint, frames: bytes
    ) -> None:
        websocket = await engineio.open_raw()

        websocket.send(frames)

        assert await websocket.close_code() == 1007


class TestMaxPayload:
    async def test_is_the_most_a_post_may_carry(self, engineio: Endpoint) -> None:
        session = await engineio.open_polling()
        packet = "4" + "x" * (MAX_PAYLOAD - 1)

        await session.send(packet)

        assert await session.receive() == [packet]

    async def test_closes_the_session_of_a_larger_post(self, engineio: Endpoint) -> None:
        session = await engineio.open_polling()

        answer = await session.post("4" + "x" * MAX_PAYLOAD)

        assert answer.status in (413, 400)
        await session.assert_gone()

    async def test_closes_the_session_of_a_larger_post_of_unknown_length(
        self, engineio: Endpoint
    ) -> None:
        session = await engineio.open_polling()
        chunk = b"%x\r\n" % 50_000 + b"4" * 50_000 + b"\r\n"
        reader, writer = await engineio.connect(
            "POST", {**POLLING, "sid": session.sid}, "Transfer-Encoding: chunked"
        )

        writer.write(chunk * 21)  # more than allowed, and not the end

        head = await read_head(reader)
        assert head.split()[1] in (b"413", b"400")
        await session.assert_gone()

    async def test_is_the_most_a_websocket_message_may_carry(self, engineio: Endpoint) -> None:
        websocket = await engineio.open_websocket()
        packet = "4" + "x" * (MAX_PAYLOAD - 1)

        await websocket.send(packet)

        assert await websocket.receive() == packet

    @pytest.mark.parametrize(
        "frames",
        [
            encode_frame(TEXT, announced=MAX_PAYLOAD + 1),
            encode_frame(BINARY, announced=1 << 62),
            encode_frame(TEXT, b"4" + b"x" * 600_000, final=False)
            + encode_frame(CONTINUATION, announced=400_000),
        ],
        ids=["one too many", "absurd", "in fragments"],
    )
    async def test_closes_a_larger_websocket_message_as_soon_as_it_is_announced(
        self, engineio: Endpoint, frames: bytes
    ) -> None:
        websocket = await engineio.open_raw()

        websocket.send(frames)

        assert await websocket.close_code() == 1009


class TestCrossOrigin:
    ORIGIN = "https://app.example"

    @pytest.mark.parametrize("method", ["GET", "POST"])
    async def test_a_preflight_is_answered(self, endpoint: Endpoint, method: str) -> None:
        headers = {
            "Origin": self.ORIGIN,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": "content-type",
        }

        answer = await endpoint.request("OPTIONS", POLLING, headers=headers)

        assert answer.status in (200, 204)
        assert answer.headers["Access-Control-Allow-Origin"] in ("*", self.ORIGIN)
        assert method in answer.headers["Access-Control-Allow-Methods"]
        assert "content-type" in answer.headers["Access-Control-Allow-Headers"].lower()

    async def test_a_polling_session_works_from_another_origin(self, engineio: Endpoint) -> None:
        headers = {"Origin": self.ORIGIN}
        opened = await engineio.request("GET", POLLING, headers=headers)
        query = {**POLLING, "sid": handshake_of(opened.text)["sid"]}

        posted = await engineio.request("POST", query, "4hello", headers)
        polled = await engineio.request("GET", query, headers=headers)

        assert (posted.text, polled.text) == ("ok", "4hello")
        for answer in (opened, posted, polled):
            assert answer.headers["Access-Control-Allow-Origin"] in ("*", self.ORIGIN)

    async def test_a_websocket_opens_from_another_origin(
        self, engineio: Endpoint, http: aiohttp.ClientSession
    ) -> None:
        url = engineio.server.origin + engineio.path

        async with http.ws_connect(url, params=WEBSOCKET, origin=self.ORIGIN) as websocket:
            handshake_of(await websocket.receive_str(timeout=PATIENCE))
