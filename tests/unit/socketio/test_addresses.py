"""Whose address a request counts for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.socketio.addresses import Proxies

NOBODY = Proxies()
TRUSTED = ("10.0.0.7", "192.0.2.0/24", "2001:db8::/32")
BEHIND = Proxies(TRUSTED)
FORWARDED = Proxies(TRUSTED, "forwarded")


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("8.8.4.4", "8.8.4.4"),
        ("::ffff:8.8.4.4", "8.8.4.4"),
        ("2a00:1450:4001:82a::200e", "2a00:1450:4001:82a::/64"),
        ("2a00:1450:4001:82a:ffff::1", "2a00:1450:4001:82a::/64"),
        ("2a00:1450:4001:82b::1", "2a00:1450:4001:82b::/64"),
        ("127.0.0.1", None),
        ("::1", None),
        ("::ffff:127.0.0.1", None),
        ("10.1.2.3", None),
        ("192.168.0.9", None),
        ("100.64.0.1", None),
        ("fd00::1", None),
        ("fe80::1%eth0", None),
        ("", None),
        ("/run/parley.sock", None),
    ],
)
def test_a_peer_counts_for_itself_unless_it_is_near(peer: str, address: str | None) -> None:
    """Those in a private network may be proxies that nobody has named."""
    assert NOBODY.client(peer, {}) == address


def test_nobody_is_believed_who_is_not_trusted() -> None:
    told = {"x-forwarded-for": "203.0.113.5", "forwarded": "for=203.0.113.5"}

    assert BEHIND.client("8.8.4.4", told) == "8.8.4.4"
    assert NOBODY.client("127.0.0.1", told) is None


@pytest.mark.parametrize(
    ("told", "address"),
    [
        ("203.0.113.5", "203.0.113.5"),
        ("203.0.113.5, 192.0.2.9", "203.0.113.5"),
        ("1.1.1.1, 203.0.113.5, 192.0.2.9,10.0.0.7", "203.0.113.5"),
        ("1.1.1.1, 10.0.0.8, 192.0.2.9", "10.0.0.8"),
        ("203.0.113.5:4711", "203.0.113.5"),
        ("2001:678::5", "2001:678::/64"),
        ("[2001:678::5]:4711", "2001:678::/64"),
        ("1.1.1.1, unknown", None),
        ("1.1.1.1, ", None),
        ("192.0.2.9", None),
        ("", None),
    ],
)
def test_trusted_proxies_say_for_whom_they_ask(told: str, address: str | None) -> None:
    """What a client wrote itself comes before what a proxy adds, and doesn't count."""
    assert BEHIND.client("10.0.0.7", {"x-forwarded-for": told}) == address
    assert BEHIND.client("2001:db8::1", {"x-forwarded-for": told}) == address


@pytest.mark.parametrize(
    ("told", "address"),
    [
        ("for=203.0.113.5", "203.0.113.5"),
        ("For=203.0.113.5;proto=https, by=x;for=192.0.2.9", "203.0.113.5"),
        ('proto=http; for="[2001:678::5]:4711"', "2001:678::/64"),
        ('for="203.0.113.5:80"', "203.0.113.5"),
        ("for=1.1.1.1, for=_hidden", None),
        ("for=1.1.1.1, for=unknown", None),
        ("for=1.1.1.1, proto=https", None),
        ("forged=1.1.1.1", None),
    ],
)
def test_forwarded_is_read_as_its_rfc_says(told: str, address: str | None) -> None:
    headers = {"forwarded": told, "x-forwarded-for": "198.51.100.1"}

    assert FORWARDED.client("10.0.0.7", headers) == address


def test_the_header_that_the_proxy_does_not_write_is_the_clients_own() -> None:
    headers = {"x-forwarded-for": "203.0.113.5", "forwarded": "for=198.51.100.1"}

    assert BEHIND.client("10.0.0.7", headers) == "203.0.113.5"
    assert FORWARDED.client("10.0.0.7", headers) == "198.51.100.1"


@given(st.text(), st.text())
def test_any_text_is_an_address_or_none(peer: str, told: str) -> None:
    headers = {"x-forwarded-for": told, "forwarded": told}
    for proxies in (NOBODY, BEHIND, FORWARDED):
        for each in (peer, "10.0.0.7"):
            address = proxies.client(each, headers)
            assert address is None or "." in address or ":" in address


def test_what_is_no_network_is_no_proxy() -> None:
    with pytest.raises(ValueError, match="many"):
        _ = Proxies(("many",)).networks
