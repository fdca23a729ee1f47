"""The opening handshake, rule by rule, then any bytes."""

from __future__ import annotations

import base64
import contextlib
import json
from http import HTTPStatus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.socketio.handshake import BadHandshake, Request, accept, parse_request, refuse

# The example of RFC 6455, section 1.3.
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
HEADERS = {
    "upgrade": "websocket",
    "connection": "Upgrade",
    "sec-websocket-version": "13",
    "sec-websocket-key": KEY,
}


def request(method: str = "GET", **changes: str) -> Request:
    changed = {name.replace("_", "-"): value for name, value in changes.items()}
    return Request(method, "/", {}, {**HEADERS, **changed})


def test_answer_of_the_rfc() -> None:
    head, _, body = accept(request()).partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 101 Switching Protocols"
    assert sorted(lines[1:]) == [
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: " + ACCEPT,
        b"Upgrade: websocket",
    ]
    assert body == b""


@pytest.mark.parametrize("upgrade", ["WebSocket", "WEBSOCKET"])
@pytest.mark.parametrize("connection", ["upgrade", "keep-alive, Upgrade", "UPGRADE,close"])
def test_case_and_further_connection_options_do_not_matter(upgrade: str, connection: str) -> None:
    assert ACCEPT in accept(request(upgrade=upgrade, connection=connection))


@pytest.mark.parametrize(
    "bad",
    [
        request("POST"),
        request(upgrade="h2c"),
        request(connection="keep-alive"),
        request(connection="upgraded"),
        request(sec_websocket_version="8"),
        request(sec_websocket_version="13, 8"),
        request(sec_websocket_key=""),
        request(sec_websocket_key=base64.b64encode(b"x" * 15).decode()),
        request(sec_websocket_key=base64.b64encode(b"x" * 17).decode()),
        request(sec_websocket_key=f"{KEY}, {KEY}"),
        request(sec_websocket_key=f"!{KEY}"),
        request(sec_websocket_key="é" * 24),
    ],
    ids=lambda bad: f"{bad.method} {sorted(set(bad.headers.items()) - set(HEADERS.items()))}",
)
def test_breach_of_the_rfc_is_refused(bad: Request) -> None:
    with pytest.raises(BadHandshake):
        accept(bad)


@pytest.mark.parametrize("missing", HEADERS)
def test_every_header_is_needed(missing: str) -> None:
    headers = {name: value for name, value in HEADERS.items() if name != missing}
    with pytest.raises(BadHandshake):
        accept(Request("GET", "/", {}, headers))


def test_head_is_read() -> None:
    head = (
        b"GET /socket.io/?EIO=4&transport=websocket&empty=&x=%C3%A4+b&EIO=5 HTTP/1.1\r\n"
        b"Host: parley.test:3000\r\nX-Twice: a\r\nAUTHORIZATION:Bearer  x:y \r\nx-twice: b\r\n"
        b"X-Latin: \xe9\r\nNo colon here\r\n\r\n"
    )
    assert parse_request(head) == Request(
        "GET",
        "/socket.io/",
        {"EIO": "5", "transport": "websocket", "empty": "", "x": "ä b"},
        {
            "host": "parley.test:3000",
            "x-twice": "a, b",
            "authorization": "Bearer  x:y",
            "x-latin": "é",
        },
    )


@pytest.mark.parametrize("head", [b"", b"GET", b"GET /\r\n\r\n", b"GET //[ HTTP/1.1\r\n\r\n"])
def test_unreadable_head_is_refused(head: bytes) -> None:
    with pytest.raises(BadHandshake):
        parse_request(head)


@settings(deadline=None)
@given(
    head=st.binary()
    | st.tuples(st.binary(), st.lists(st.tuples(st.sampled_from(list(HEADERS)), st.binary()))).map(
        lambda parts: (
            b"GET /%s HTTP/1.1\r\n%s"
            % (
                parts[0],
                b"".join(b"%s:%s\r\n" % (name.encode(), value) for name, value in parts[1]),
            )
        )
    )
)
def test_any_bytes_are_accepted_or_refused(head: bytes) -> None:
    with contextlib.suppress(BadHandshake):
        accept(parse_request(head))


def test_refusal_is_a_complete_http_answer() -> None:
    body = json.dumps({"code": 4, "message": "Forbidden"}).encode()
    answer = refuse(HTTPStatus.FORBIDDEN, body, (("X-One", "1"), ("X-Two", "2")))
    head, _, content = answer.partition(b"\r\n\r\n")
    status, *headers = head.decode().split("\r\n")
    assert status == "HTTP/1.1 403 Forbidden"
    assert content == body
    assert dict(line.split(": ", 1) for line in headers) == {
        "X-One": "1",
        "X-Two": "2",
        "Connection": "close",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
    }
