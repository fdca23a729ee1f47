"""What every HTTP answer of a server says, whatever was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection

import pytest

from tests.page.dev import Answer, ask

from .server import PATIENCE, ChatServer, running

POLLING = "/socket.io/?EIO=4&transport=polling"
UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade"}
REQUESTS: dict[str, tuple[str, str, dict[str, str]]] = {
    "session": ("GET", POLLING, {}),
    "preflight": ("OPTIONS", POLLING, {}),
    "unknown session": ("POST", f"{POLLING}&sid=nobody", {}),
    "refused page": ("GET", POLLING, {"Origin": "https://evil.test"}),
    "bad handshake": ("GET", "/socket.io/?EIO=4&transport=websocket", UPGRADE),
    "handshake elsewhere": ("GET", "/nowhere", UPGRADE),
    "about": ("GET", "/", {}),
    "alive": ("GET", "/healthz", {}),
    "ready": ("GET", "/readyz", {}),
    "metrics": ("GET", "/metrics", {}),
    "protocol": ("GET", "/asyncapi.json", {}),
    "nothing": ("GET", "/nowhere", {}),
    "method": ("DELETE", "/healthz", {}),
    "no slash": ("GET", "/socket.io?EIO=4&transport=polling", {}),
}


@pytest.fixture(scope="module")
def with_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChatServer]:
    with running(ChatServer(tmp_path_factory.mktemp("page"), {"PAGE": "true"})) as server:
        yield server


def answered(server: ChatServer, name: str) -> Answer:
    method, path, headers = REQUESTS[name]
    return ask(server.port, path, method, **headers)


@pytest.mark.parametrize("name", REQUESTS)
def test_every_answer_is_what_it_says_and_for_its_asker_alone(
    server: ChatServer, name: str
) -> None:
    headers = answered(server, name).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers
    assert "location" not in headers
    assert "set-cookie" not in headers
    assert "strict-transport-security" not in headers  # it would bind all of the host's ports


@pytest.mark.parametrize("name", [name for name in REQUESTS if "handshake" not in name])
def test_no_answer_may_be_framed_embedded_or_run(server: ChatServer, name: str) -> None:
    headers = answered(server, name).headers
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("name", REQUESTS)
def test_no_header_comes_twice(server: ChatServer, name: str) -> None:
    """Some browsers take the one, some the other."""
    method, path, headers = REQUESTS[name]
    connection = HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    with closing(connection):
        connection.request(method, path, headers=headers)
        names = [header.lower() for header, _ in connection.getresponse().getheaders()]
    assert names
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("path", ["/", "/page.js", "/parley.js", "/users.json"])
def test_files_of_the_page_keep_what_they_set(with_page: ChatServer, path: str) -> None:
    headers = ask(with_page.port, path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    elsewhere = "cross-origin" if path == "/parley.js" else "same-origin"
    assert headers["cross-origin-resource-policy"] == elsewhere
    assert headers["cache-control"] == ("no-store" if path == "/users.json" else "no-cache")
