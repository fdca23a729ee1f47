"""From which web pages one may connect, at every way in of a server that runs."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.page.dev import Answer, ask

from .server import ChatServer, running

APP = "https://app.test"
POLLING, WEBSOCKET = ("/socket.io/?EIO=4&transport=" + name for name in ("polling", "websocket"))
WITHOUT_ORIGINS = ("/", "/healthz", "/readyz", "/metrics", "/nowhere")


class Origins:
    """Servers that differ in ALLOWED_ORIGINS."""

    def __init__(self, own: ChatServer, named: ChatServer, any_: ChatServer) -> None:
        self.own = own
        self.named = named
        self.any = any_


@pytest.fixture(scope="module")
def origins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Origins]:
    with ExitStack() as stack:
        servers = []
        for allowed in ("", f"{APP.upper()}:443,http://[::1]:5173", "*"):
            folder = tmp_path_factory.mktemp("origins")
            server = ChatServer(folder, {"ALLOWED_ORIGINS": allowed, "PAGE": "true"})
            servers.append(stack.enter_context(running(server)))
        yield Origins(*servers)


def handshake(server: ChatServer, origin: str, path: str = WEBSOCKET, **headers: str) -> int:
    """The status of the answer to a WebSocket's opening handshake."""
    key = base64.b64encode(os.urandom(16)).decode()
    asked = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec_WebSocket_Version": "13"}
    return ask(server.port, path, **asked, Sec_WebSocket_Key=key, Origin=origin, **headers).status


def opened(server: ChatServer, origin: str) -> str:
    """The id of a polling session that a page began."""
    answer = ask(server.port, POLLING, Origin=origin)
    assert answer.status == 200
    sid: str = json.loads(answer.body[1:])["sid"]
    return sid


def allowed(answer: Answer) -> dict[str, str]:
    """What an answer says of CORS."""
    return {name: value for name, value in answer.headers.items() if "access-control" in name}


@pytest.mark.parametrize(
    "origin", ["https://evil.test", "null", "https://127.0.0.1", "file://", ""]
)
def test_without_a_setting_pages_of_others_are_refused_everywhere(
    origins: Origins, origin: str
) -> None:
    server = origins.own
    sid = opened(server, server.url)
    before = server.metrics()["parley_connections_opened_total"]
    for method, path in (
        ("GET", POLLING),
        ("OPTIONS", POLLING),
        ("GET", f"{POLLING}&sid={sid}"),
        ("POST", f"{POLLING}&sid={sid}"),
        ("OPTIONS", f"{POLLING}&sid={sid}"),
    ):
        answer = ask(server.port, path, method, Origin=origin)
        assert (answer.status, allowed(answer), answer.headers["vary"]) == (403, {}, "Origin")
        assert json.loads(answer.body) == {"code": 4, "message": "Forbidden"}
    assert handshake(server, origin) == 403
    assert handshake(server, origin, f"{WEBSOCKET}&sid={sid}") == 403
    assert server.metrics()["parley_connections_opened_total"] == before


def test_without_a_setting_the_own_pages_may(origins: Origins) -> None:
    server = origins.own
    for url in (server.url, f"http://LOCALHOST:{server.port}", f"http://[::1]:{server.port}"):
        host = url.partition("://")[2].lower()
        answer = ask(server.port, POLLING, Origin=url, Host=host)
        assert answer.status == 200
        assert allowed(answer) == {
            "access-control-allow-origin": url,
            "access-control-allow-credentials": "true",
        }
        assert handshake(server, url, Host=host) == 101


def test_behind_a_proxy_that_ends_tls(origins: Origins) -> None:
    port = origins.own.port
    for proto, origin, status in (
        ("https", "https://chat.test", 200),
        ("https", "http://chat.test", 403),
        ("http", "http://chat.test", 200),
        ("http", "https://chat.test", 200),  # there is another proxy in front of that one
    ):
        headers = {"Host": "chat.test", "Origin": origin, "X_Forwarded_Proto": proto}
        assert ask(port, POLLING, **headers).status == status
        expected = 101 if status == 200 else 403
        assert handshake(origins.own, origin, Host="chat.test", X_Forwarded_Proto=proto) == expected


@pytest.mark.parametrize("origin", [APP, "http://[::1]:5173"])
def test_named_origins_may_and_others_may_not(origins: Origins, origin: str) -> None:
    server = origins.named
    sid = opened(server, origin)
    headers = {
        "Origin": origin,
        "Access_Control_Request_Method": "POST",
        "Access_Control_Request_Headers": "authorization",
    }
    preflight = ask(server.port, f"{POLLING}&sid={sid}", "OPTIONS", **headers)
    assert preflight.status == 204
    assert allowed(preflight) == {
        "access-control-allow-origin": origin,
        "access-control-allow-credentials": "true",
        "access-control-allow-methods": "GET, POST",
        "access-control-allow-headers": "authorization",
        "access-control-max-age": "600",
    }
    assert preflight.headers["vary"] == "Origin"
    assert handshake(server, origin) == 101
    assert ask(server.port, POLLING, Origin="https://evil.test").status == 403
    assert handshake(server, "null") == 403


def test_any_origin_may_when_it_is_set_and_the_log_warns(origins: Origins) -> None:
    server = origins.any
    for origin in ("https://evil.test", "null"):
        answer = ask(server.port, POLLING, Origin=origin)
        assert (answer.status, allowed(answer)) == (200, {"access-control-allow-origin": "*"})
        assert handshake(server, origin) == 101
    assert "pages of any web site may connect" in server.log()
    for other in (origins.own, origins.named):
        assert "pages of any web site may connect" not in other.log()


def test_null_is_as_open_as_any_and_warned_of(tmp_path: Path) -> None:
    with running(ChatServer(tmp_path, {"ALLOWED_ORIGINS": "null"})) as server:
        assert handshake(server, "null") == 101
        assert "pages of any web site may connect" in server.log()


@pytest.mark.parametrize("path", WITHOUT_ORIGINS)
def test_pages_of_others_cannot_read_the_rest(origins: Origins, path: str) -> None:
    for server in (origins.own, origins.named, origins.any):
        answer = ask(server.port, path, Origin=APP)
        assert allowed(answer) == {}
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize("path", ["/parley.js", "/asyncapi.json"])
def test_what_is_for_other_sites_they_can_read(origins: Origins, path: str) -> None:
    answer = ask(origins.own.port, path, Origin="https://evil.test")
    assert allowed(answer) == {"access-control-allow-origin": "*"}
