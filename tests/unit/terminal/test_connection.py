from __future__ import annotations

import pytest

from parley.terminal.connection import endpoint
from parley.terminal.errors import ClientError

QUERY = "?EIO=4&transport=websocket"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1:3000", "ws://127.0.0.1:3000/socket.io/"),
        ("https://chat.example.com/", "wss://chat.example.com/socket.io/"),
        ("https://example.com/chat/", "wss://example.com/chat/socket.io/"),
        ("localhost:3000", "ws://localhost:3000/socket.io/"),
        ("wss://[::1]:3000", "wss://[::1]:3000/socket.io/"),
    ],
)
def test_where_a_server_takes_websockets(url: str, address: str) -> None:
    assert endpoint(url) == address + QUERY


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://",
        "ftp://example.com",
        "http://example.com:port",
        "http://example.com:70000",
        "http://[::1",
        "http://user:password@example.com",
        "http://example.com/?a=b",
        "http://example.com/#token=x",
    ],
)
def test_what_is_no_server(url: str) -> None:
    with pytest.raises(ClientError, match="is not the address of a server: write http://HOST:PORT"):
        endpoint(url)
