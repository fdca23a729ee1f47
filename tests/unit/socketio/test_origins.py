from __future__ import annotations

import pytest

from parley.socketio.origins import Origins


def allows(
    origin: str,
    host: str = "chat.test",
    *allowed: str,
    encrypted: bool = False,
    forwarded_proto: str | None = None,
) -> bool:
    headers = {"origin": origin, "host": host}
    if forwarded_proto is not None:
        headers["x-forwarded-proto"] = forwarded_proto
    return Origins(allowed, encrypted=encrypted).allow(headers)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://chat.test", "chat.test"),
        ("http://chat.test", "chat.test"),
        ("HTTPS://Chat.Test", "cHAT.tEST"),
        ("https://chat.test", "chat.test:443"),  # a proxy wrote out the port
        ("http://chat.test", "chat.test:80"),
        ("https://chat.test:443", "chat.test"),
        ("https://chat.test:8443", "chat.test:8443"),
        ("https://chat.test:80", "chat.test:80"),
        ("http://127.0.0.1:3000", "127.0.0.1:3000"),
        ("http://[::1]:3000", "[::1]:3000"),
        ("http://[::1]", "[::1]:80"),
        ("https://[2001:DB8::1]", "[2001:db8::1]"),
    ],
)
def test_pages_of_the_own_address_may_connect(origin: str, host: str) -> None:
    assert allows(origin, host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://evil.test", "chat.test"),
        ("https://chat.test:8443", "chat.test"),
        ("https://chat.test", "chat.test:8443"),
        ("https://chat.test:80", "chat.test"),
        ("http://chat.test", "chat.test:443"),
        ("https://chat.test.evil.test", "chat.test"),
        ("https://evil.test.chat.test", "chat.test"),
        ("https://evilchat.test", "chat.test"),
        ("https://chat.test.", "chat.test"),
        ("https://chat.test@evil.test", "chat.test"),
        ("https://evil.test@chat.test", "chat.test"),
        ("https://chat.test/", "chat.test"),
        ("https://evil.test, https://chat.test", "chat.test"),
        ("ftp://chat.test", "chat.test"),
        ("capacitor://chat.test", "chat.test"),
        ("chrome-extension://chat.test", "chat.test"),
        ("chat.test", "chat.test"),
        ("//chat.test", "chat.test"),
        ("null", "chat.test"),
        ("null", "null"),
        ("", "chat.test"),
        ("", ""),
        ("https://", ""),
        ("https://:443", ""),
        ("*", "chat.test"),
        ("http://[::1]:3001", "[::1]:3000"),
        ("http://127.0.0.1:3000", "localhost:3000"),
    ],
)
def test_pages_of_other_addresses_may_not(origin: str, host: str) -> None:
    assert not allows(origin, host)


@pytest.mark.parametrize(
    ("allowed", "origin"),
    [
        ("https://app.test", "https://app.test"),
        ("HTTPS://App.Test:443", "https://app.test"),
        ("http://app.test:80", "http://app.test"),
        ("http://[::1]:5173", "http://[::1]:5173"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("null", "null"),
        ("*", "https://evil.test"),
        ("*", "null"),
    ],
)
def test_what_is_named_may_connect_and_the_own_address_still(allowed: str, origin: str) -> None:
    assert allows(origin, "chat.test", allowed)
    assert allows("https://chat.test", "chat.test", allowed)


@pytest.mark.parametrize(
    ("allowed", "origin"),
    [
        ("https://app.test", "http://app.test"),
        ("https://app.test", "https://app.test:8443"),
        ("https://app.test", "https://sub.app.test"),
        ("https://app.test", "null"),
        ("null", "https://app.test"),
    ],
)
def test_what_is_like_it_may_not(allowed: str, origin: str) -> None:
    assert not allows(origin, "chat.test", allowed)


def test_what_is_no_page_sends_no_origin() -> None:
    assert Origins().allow({"host": "chat.test"})


@pytest.mark.parametrize("told", ["https", "HTTPS", "https, http", " https"])
def test_an_unencrypted_page_is_not_that_of_an_encrypted_address(told: str) -> None:
    assert not allows("http://chat.test", forwarded_proto=told)
    assert allows("https://chat.test", forwarded_proto=told)
    assert not allows("http://chat.test", encrypted=True)
    assert allows("https://chat.test", encrypted=True)


def test_what_a_proxy_tells_never_allows_more() -> None:
    """An inner proxy knows of its own side only: ``http`` says nothing of the client's."""
    assert allows("https://chat.test", forwarded_proto="http")
    assert not allows("https://evil.test", forwarded_proto="https")
    assert not allows("http://chat.test", encrypted=True, forwarded_proto="http")


def test_an_unencrypted_page_may_be_named() -> None:
    assert allows("http://chat.test", "chat.test", "http://chat.test", encrypted=True)
