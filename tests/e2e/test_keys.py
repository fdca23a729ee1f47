"""Servers whose tokens others sign: public keys, published ones, and secrets that change."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
import trustme

from parley.chat import jws
from tests.services.jwks import ALGORITHMS, ISSUER, JwksServer, KeyPair, document, publishing

from .clients import Device, Devices
from .conftest import StartServer
from .server import ChatServer, new_user, running

NO_SECRET = {"JWT_SECRET_KEY": ""}


@pytest.fixture
def provider() -> Iterator[JwksServer]:
    """An identity provider that publishes one key."""
    with publishing(KeyPair("RS256")) as server:
        yield server


def trusting(provider: JwksServer) -> dict[str, str]:
    return {**NO_SECRET, "JWT_JWKS_URL": provider.url, "JWT_ISSUER": ISSUER}


async def accepted(devices: Devices, server: ChatServer, token: str, user: str) -> Device:
    device = devices.make(server, user)
    await device.connect({"token": token})
    chat = await device.send(user)
    assert await device.wait("message") == [chat]
    return device


async def refused(devices: Devices, server: ChatServer, token: str) -> str:
    """Why a token was refused."""
    error = await devices.make(server).refused({"token": token})
    assert error["data"]["code"] == "token_invalid"
    return str(error["message"])


# A public key that the operator gives


async def test_a_public_key_in_the_environment_and_one_in_a_file(
    start_server: StartServer, devices: Devices, tmp_path: Path
) -> None:
    pairs = [KeyPair(algorithm) for algorithm in ("RS256", "ES256", "EdDSA")]
    pems = "".join(pair.pem for pair in pairs)
    file = tmp_path / "keys.pem"
    file.write_text(pems)
    for setting in (pems.replace("\n", "\\n"), str(file)):
        server = start_server(**NO_SECRET, JWT_PUBLIC_KEY=setting)
        for pair in pairs:
            user = new_user()
            await accepted(devices, server, pair.token(user), user)
            assert "signature" in await refused(
                devices, server, KeyPair(pair.algorithm).token(user)
            )
            for secret in (pair.pem, pair.pem.strip(), setting):
                assert "must be signed with RS256" in await refused(
                    devices, server, _confused(secret, user)
                )


def _confused(public: str, user: str) -> str:
    """A token signed with what everybody may know; the library itself would refuse to make it."""
    return jws.sign(f'{{"sub":"{user}","exp":4000000000}}'.encode(), public.encode())


# Published keys


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_published_keys(
    start_server: StartServer, devices: Devices, provider: JwksServer, algorithm: str
) -> None:
    pair, user = KeyPair(algorithm), new_user()
    provider.publish(pair)
    server = start_server(**trusting(provider))
    await accepted(devices, server, pair.token(user), user)
    assert "issuer" in await refused(devices, server, pair.token(user, iss="https://other/"))


async def test_a_token_of_a_new_key_is_worth_one_fetch(
    start_server: StartServer, devices: Devices, provider: JwksServer
) -> None:
    server = start_server(**trusting(provider))
    new = KeyPair("ES256")
    provider.publish(new)
    before, users = provider.requests, [new_user() for _ in range(20)]
    await asyncio.gather(
        *(accepted(devices, server, new.token(user), user) for user in users),
        *(refused(devices, server, KeyPair("ES256").token(user)) for user in users),
    )
    assert provider.requests - before <= 2, "some may have come when the first had begun"
    metrics = await asyncio.to_thread(server.metrics)
    assert metrics['parley_tokens_refused_total{reason="unknown_key"}'] == len(users)
    assert metrics["parley_jwks_fetches_total"] == provider.requests


async def test_keys_are_kept_while_the_provider_is_away(
    start_server: StartServer, devices: Devices, provider: JwksServer
) -> None:
    pair, user = KeyPair("EdDSA"), new_user()
    provider.publish(pair)
    server = start_server(**trusting(provider))
    provider.status = 503
    device = devices.make(server, reconnection=True)
    unknown = asyncio.ensure_future(device.connect({"token": KeyPair("EdDSA").token(user)}))
    await asyncio.to_thread(server.wait_until_it_says, "those from before still count")
    await accepted(devices, server, pair.token(user), user)
    assert device.received("connect_error") == [], "it can't be told yet, and so it isn't refused"
    unknown.cancel()


async def test_without_the_provider_a_server_waits_and_then_says_why(
    tmp_path: Path, provider: JwksServer
) -> None:
    provider.status = 503
    server = ChatServer(tmp_path, {**trusting(provider), "STARTUP_TIMEOUT": "1"})
    server.launch()
    assert server.wait_until_ended() == 2
    assert (
        "JWT_JWKS_URL was not there within 1 seconds (it answers with status 503)" in server.log()
    )


@pytest.mark.parametrize(
    ("status", "headers", "body", "words"),
    [
        (302, {"Location": "https://elsewhere.example.com/"}, b"", "redirects to 'https://elsewh"),
        (404, {}, b"", "status 404"),
        (200, {}, b"<html>", "is not a JWK Set"),
        (200, {}, document({"kty": "oct", "k": "c2VjcmV0"}), "isn't a public one"),
        (200, {}, b" " * 1_000_000, "more than 524288 bytes"),
    ],
    ids=["redirect", "missing", "html", "a secret", "huge"],
)
async def test_something_else_is_there(
    tmp_path: Path,
    provider: JwksServer,
    status: int,
    headers: dict[str, str],
    body: bytes,
    words: str,
) -> None:
    provider.status, provider.headers, provider.body = status, headers, body
    server = ChatServer(tmp_path, trusting(provider))
    server.launch()
    assert server.wait_until_ended() == 2
    assert words in server.log()
    assert "Traceback" not in server.log()


async def test_a_provider_with_a_certificate_of_its_own(
    start_server: StartServer, devices: Devices, tmp_path: Path
) -> None:
    pair, user, authority = KeyPair("ES256"), new_user(), trustme.CA()
    body = document(pair.jwk())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nobody reads it."""

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    authorities = tmp_path / "authorities.pem"
    authority.cert_pem.write_to_path(authorities)
    provider = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider.socket = tls.wrap_socket(provider.socket, server_side=True)
    thread = threading.Thread(target=provider.serve_forever, args=(0.02,))
    thread.start()
    try:
        url = f"https://localhost:{provider.server_port}/keys"
        settings = {**NO_SECRET, "JWT_JWKS_URL": url, "JWT_ISSUER": ISSUER}
        server = start_server(**settings, SSL_CERT_FILE=str(authorities))
        await accepted(devices, server, pair.token(user), user)
        distrusting = ChatServer(_made(tmp_path / "distrusting"), settings)
        distrusting.launch()
        assert distrusting.wait_until_ended() == 2
        assert "is not trusted" in distrusting.log()
    finally:
        provider.shutdown()
        thread.join()
        provider.server_close()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


# A secret that changes


async def test_nobody_is_logged_out_while_the_secret_changes(
    tmp_path: Path, devices: Devices
) -> None:
    old, new = "the secret that is known " * 2, "the secret that nobody knows " * 2
    user = new_user()
    claims = {"sub": user, "exp": int(time.time()) + 3600}
    tokens = {secret: jwt.encode(claims, secret, algorithm="HS256") for secret in (old, new)}
    stages = [
        ({"JWT_SECRET_KEY": new, "JWT_PREVIOUS_SECRET_KEY": old}, {old, new}),
        ({"JWT_SECRET_KEY": new}, {new}),
    ]
    for number, (settings, good) in enumerate(stages):
        with running(ChatServer(_made(tmp_path / str(number)), settings)) as server:
            for secret, token in tokens.items():
                if secret in good:
                    await accepted(devices, server, token, user)
                else:
                    assert "signature" in await refused(devices, server, token)


def test_a_server_with_a_secret_loads_no_public_key_cryptography() -> None:
    """It takes 11 MB of memory in each process, and a good part of its start."""
    loading = (
        "import sys; import parley.cli, parley.app, parley.serving, parley.shared_backends; "
        "print({'cryptography.hazmat.bindings._rust', 'jwt'} & sys.modules.keys())"
    )
    command = [sys.executable, "-c", loading]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
