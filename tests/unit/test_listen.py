from __future__ import annotations

import errno
import os
import re
import socket

import pytest

from parley.errors import ListenError
from parley.listen import bind, url_of


def port_of(sock: socket.socket) -> int:
    port: int = sock.getsockname()[1]
    return port


@pytest.fixture
def has_ipv6() -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_it_accepts_connections(host: str) -> None:
    with bind(host, 0) as sock, socket.create_connection(("localhost", port_of(sock)), timeout=5):
        accepted, _ = sock.accept()
        accepted.close()


@pytest.mark.usefixtures("has_ipv6")
def test_ipv6() -> None:
    with bind("::1", 0) as sock, socket.create_connection(("::1", port_of(sock)), timeout=5):
        assert url_of(sock) == f"http://[::1]:{port_of(sock)}"


@pytest.mark.usefixtures("has_ipv6")
def test_all_of_ipv6_is_all_of_ipv4_too() -> None:
    with bind("::", 0) as sock:
        port = port_of(sock)
        with socket.create_connection(("::1", port)), socket.create_connection(("127.0.0.1", port)):
            assert url_of(sock, tls=True) == f"https://localhost:{port}"


def test_a_port_that_is_taken() -> None:
    with bind("127.0.0.1", 0) as sock:
        port = port_of(sock)
        with pytest.raises(ListenError) as raised:
            bind("127.0.0.1", port)

    assert str(raised.value) == (
        f"Port {port} on 127.0.0.1 is taken: stop the other program or choose another with "
        "--port or PORT."
    )


def test_a_port_is_free_again_at_once() -> None:
    with bind("127.0.0.1", 0) as sock:
        port = port_of(sock)
        # The side that closes first keeps the connection in TIME_WAIT.
        client = socket.create_connection(("127.0.0.1", port))
        served, _ = sock.accept()
        served.close()
        client.close()

    bind("127.0.0.1", port).close()


@pytest.mark.parametrize(
    ("host", "message"),
    [
        # Both are set aside for documentation: never an address, never a name.
        ("192.0.2.1", "192.0.2.1 is no address of this machine"),
        ("no-such-host.invalid", "The host name no-such-host.invalid is not known here"),
        ("a" * 70 + ".example", "is not known here"),
    ],
)
def test_a_host_that_is_not_here(host: str, message: str) -> None:
    with pytest.raises(ListenError, match=re.escape(message)):
        bind(host, 0)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EACCES, "Port 80 on ::1 is not allowed for this user: choose one from 1024 up"),
        (errno.EAFNOSUPPORT, "Listening on ::1, port 80, failed: "),
    ],
)
def test_what_this_machine_does_not_allow(
    number: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root may bind anything, so that only the sentences can be tested everywhere.
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("parley.listen._listen", refuse)

    with pytest.raises(ListenError, match=re.escape(message)):
        bind("::1", 80)
