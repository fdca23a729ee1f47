"""A server that speaks TLS itself: with whom, and how it gets a new certificate."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing, suppress
from http.client import HTTPSConnection
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme

from .server import PATIENCE, ChatServer

CERTIFICATE, KEY = "server.pem", "server.key"


class TlsServer(NamedTuple):
    server: ChatServer
    authority: trustme.CA
    folder: Path

    def client(self) -> ssl.SSLContext:
        """What trusts the server's authority, and speaks whatever OpenSSL knows."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context

    def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        connection = HTTPSConnection(
            "127.0.0.1", self.server.port, timeout=PATIENCE, context=self.client()
        )
        with closing(connection):
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def shake_hands(self, context: ssl.SSLContext) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.server.port), PATIENCE)
        return context.wrap_socket(plain, server_hostname="127.0.0.1")

    def serial(self) -> str:
        """Of the certificate that new connections get."""
        with self.shake_hands(self.client()) as connection:
            certificate = connection.getpeercert()
        assert certificate is not None
        return str(certificate["serialNumber"])


def issue(authority: trustme.CA, folder: Path) -> None:
    """Put a new certificate in the place of the one before."""
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(folder / CERTIFICATE)
    issued.private_key_pem.write_to_path(folder / KEY)


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[TlsServer]:
    authority = trustme.CA()
    issue(authority, tmp_path)
    files = {"TLS_CERT_FILE": str(tmp_path / CERTIFICATE), "TLS_KEY_FILE": str(tmp_path / KEY)}
    server = ChatServer(tmp_path, files)
    server.launch()
    try:
        server.wait_until_it_says('"event":"ready"')
        yield TlsServer(server, authority, tmp_path)
    finally:
        server.stop()


def test_it_speaks_tls_1_2_and_later_with_forward_secrecy(tls: TlsServer) -> None:
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = tls.client()
        context.minimum_version = context.maximum_version = version
        with tls.shake_hands(context) as connection:
            name, *_ = connection.cipher() or ("",)
        assert name.startswith(("ECDHE-", "TLS_")), name


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
@pytest.mark.parametrize(
    "weakness",
    [
        ("ALL:@SECLEVEL=0", ssl.TLSVersion.TLSv1_1),
        ("AES128-SHA:AES256-SHA:AES128-GCM-SHA256", ssl.TLSVersion.TLSv1_2),  # no forward secrecy
        ("aNULL:eNULL:@SECLEVEL=0", ssl.TLSVersion.TLSv1_2),
    ],
    ids=["TLS 1.1", "key transport", "no authentication"],
)
def test_it_refuses_what_is_weak(tls: TlsServer, weakness: tuple[str, ssl.TLSVersion]) -> None:
    context = tls.client()
    ciphers, version = weakness
    context.set_ciphers(ciphers)
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = version
    with pytest.raises((ssl.SSLError, ConnectionError)):
        tls.shake_hands(context).close()


def test_it_answers_nobody_who_speaks_plainly(tls: TlsServer) -> None:
    with socket.create_connection(("127.0.0.1", tls.server.port), PATIENCE) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        with suppress(ConnectionError):
            assert b"HTTP/" not in connection.recv(1000)


def test_pages_that_came_unencrypted_are_those_of_others(tls: TlsServer) -> None:
    path, host = "/socket.io/?EIO=4&transport=polling", f"127.0.0.1:{tls.server.port}"
    assert tls.get(path, Origin=f"https://{host}")[0] == 200
    assert tls.get(path, Origin=f"http://{host}")[0] == 403


def test_a_hangup_takes_the_new_certificate(tls: TlsServer) -> None:
    before = tls.serial()
    with tls.shake_hands(tls.client()) as connection:
        issue(tls.authority, tls.folder)
        tls.server.signal(signal.SIGHUP)
        tls.server.wait_until_it_says("connections from now on get the certificate as it is now")
        after = tls.serial()
        assert after != before
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        with connection.makefile("rb") as answer:
            assert json.loads(answer.read().partition(b"\r\n\r\n")[2]) == {"status": "ok"}


def test_a_hangup_with_a_bad_certificate_changes_nothing(tls: TlsServer) -> None:
    before = tls.serial()
    key = tls.folder / KEY
    shutil.copy(key, tls.folder / "kept")
    issue(tls.authority, tls.folder)
    shutil.copy(tls.folder / "kept", key)  # the certificate is new, and its key isn't
    tls.server.signal(signal.SIGHUP)
    tls.server.wait_until_it_says("the certificate stays as it was: TLS_CERT_FILE")
    assert tls.serial() == before
