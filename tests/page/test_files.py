"""What is served, to whom, and with which headers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.server import ChatServer, running

from .dev import ask, dev_server, ready_users

PATHS = {
    "/": "text/html; charset=utf-8",
    "/page.css": "text/css; charset=utf-8",
    "/page.js": "text/javascript; charset=utf-8",
    "/parley.js": "text/javascript; charset=utf-8",
    "/icon.svg": "image/svg+xml",
}


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with dev_server(tmp_path_factory.mktemp("dev")) as port:
        yield port


@pytest.mark.parametrize("path", PATHS)
def test_every_file_is_served_with_strict_headers(server: ChatServer, path: str) -> None:
    answer = ask(server.port, path)

    assert answer.status == 200
    assert answer.headers["content-type"] == PATHS[path]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    policy = answer.headers["content-security-policy"].split("; ")
    host = f"127.0.0.1:{server.port}"
    assert policy == [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        f"connect-src 'self' ws://{host} wss://{host}",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ]


def test_the_page_names_no_file_that_is_not_served(server: ChatServer) -> None:
    page = ask(server.port, "/").body.decode()

    files = re.findall(r'(?:href|src)="(/[^"#]*)"', page)

    assert {"/page.css", "/page.js"} <= set(files)
    assert [ask(server.port, file).status for file in files] == [200] * len(files)


def test_nothing_comes_from_elsewhere(server: ChatServer) -> None:
    page = ask(server.port, "/").body.decode()

    assert not re.findall(r'(?:href|src|action)="(?!/|#)', page)
    assert " style=" not in page
    assert not re.search(r"<script(?![^>]*\ssrc=)", page)
    assert not re.search(r"\son[a-z]+=", page)


def test_a_file_that_is_known_is_not_sent_again(server: ChatServer) -> None:
    etag = ask(server.port, "/page.js").headers["etag"]

    again = ask(server.port, "/page.js", If_None_Match=f'"other", W/{etag}')

    assert (again.status, again.body) == (304, b"")
    assert again.headers["etag"] == etag
    assert again.headers["cache-control"] == "no-cache"
    assert ask(server.port, "/page.js", If_None_Match='"other"').status == 200


def test_a_strange_host_gets_into_no_header(server: ChatServer) -> None:
    policy = ask(server.port, "/", Host="x; script-src *").headers["content-security-policy"]

    assert "connect-src 'self'; " in policy
    assert "*" not in policy


def test_other_sites_may_use_the_client_and_nothing_else(server: ChatServer) -> None:
    assert ask(server.port, "/parley.js").headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-origin" not in ask(server.port, "/page.js").headers


def test_without_the_setting_there_is_no_page(tmp_path: Path) -> None:
    with running(ChatServer(tmp_path)) as server:
        answer = ask(server.port, "/")
        assert answer.headers["content-type"].startswith("text/plain")
        assert ask(server.port, "/page.js").status == 404
        assert ask(server.port, "/users.json").status == 404


def test_a_real_server_offers_nobody(server: ChatServer) -> None:
    assert ready_users(server.port) == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:3000", "[::1]:3000"])
def test_a_server_for_trying_offers_its_users(dev: int, host: str) -> None:
    users = ready_users(dev, Host=host)

    assert [user["name"] for user in users] == ["Alice", "Bob"]
    assert all(user.keys() == {"name", "id", "token"} for user in users)


@pytest.mark.parametrize("host", ["evil.example", "192.168.1.2:3000", "[::", "", "localhost.evil"])
def test_it_offers_nobody_under_another_name(dev: int, host: str) -> None:
    assert ready_users(dev, Host=host) == []


def test_it_offers_nobody_to_another_machine(dev: int) -> None:
    # As a proxy on this machine tells of its client.
    assert ready_users(dev, X_Forwarded_For="192.168.1.2") == []
