"""Who may connect, and as whom."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from .clients import Devices
from .raw import raw_client
from .server import HUSH, ChatServer, new_user

MakeToken = Callable[[ChatServer, str], str]
FAR = 4_000_000_000
"""A time in the year 2096."""


def by_hand(header: dict[str, Any], claims: Any, key: str, digest: str = "sha256") -> str:
    """A token that no library would make."""
    content = b".".join(_base64(json.dumps(part).encode()) for part in (header, claims))
    signature = hmac.new(key.encode(), content, digest).digest() if digest else b""
    return (content + b"." + _base64(signature)).decode()


def _base64(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


def with_header(**header: Any) -> MakeToken:
    """Tokens with another header, signed as that says."""
    digest = {"HS384": "sha384", "HS512": "sha512", "none": ""}.get(header["alg"], "sha256")

    def make(server: ChatServer, user: str) -> str:
        claims = {"sub": user, "exp": FAR}
        return by_hand({"typ": "JWT", **header}, claims, server.secret, digest)

    return make


def with_claims(claims: Any) -> MakeToken:
    """Tokens that are signed well, and say this."""
    return lambda server, user: by_hand({"alg": "HS256"}, claims, server.secret)


def with_changes(**changes: Any) -> MakeToken:
    """Tokens that are good but for some claims."""
    return lambda server, user: by_hand(
        {"alg": "HS256", "typ": "JWT"}, {"sub": user, "exp": FAR, **changes}, server.secret
    )


def signed_by_another(server: ChatServer, user: str) -> str:
    return by_hand({"alg": "HS256"}, {"sub": user, "exp": FAR}, f"{server.secret}x")


def tampered(server: ChatServer, user: str) -> str:
    header, _, signature = server.token(user).split(".")
    claims = _base64(json.dumps({"sub": user, "exp": FAR}).encode()).decode()
    return f"{header}.{claims}.{signature}"


def signed_with_rsa(server: ChatServer, user: str) -> str:
    content = by_hand({"alg": "RS256"}, {"sub": user, "exp": FAR}, "", "").rstrip(".")
    return f"{content}.{_base64(hashlib.sha512(content.encode()).digest() * 4).decode()}"


BAD_TOKENS: dict[str, tuple[str, MakeToken]] = {
    "missing": ("token_missing", lambda server, user: ""),
    "blank": ("token_missing", lambda server, user: "  "),
    "garbage": ("token_invalid", lambda server, user: "hush.hush.hush"),
    "one part": ("token_invalid", lambda server, user: "hush"),
    "other scheme": ("token_invalid", lambda server, user: f"Basic {server.token(user)}"),
    "truncated": ("token_invalid", lambda server, user: server.token(user)[:-1]),
    "huge": ("token_invalid", lambda server, user: server.token(user, more="x" * 8000)),
    "wrong signature": ("token_invalid", signed_by_another),
    "tampered": ("token_invalid", tampered),
    "none": ("token_invalid", with_header(alg="none")),
    "None": ("token_invalid", with_header(alg="None")),
    "HS384": ("token_invalid", with_header(alg="HS384")),
    "HS512": ("token_invalid", with_header(alg="HS512")),
    "RS256": ("token_invalid", signed_with_rsa),
    "RS256 over HMAC": ("token_invalid", with_header(alg="RS256")),
    "unknown critical header": ("token_invalid", with_header(alg="HS256", crit=["x"], x=1)),
    "expired": ("token_expired", with_changes(exp=int(time.time()) - 1)),
    "exp 0": ("token_expired", with_changes(exp=0)),
    "exp is text": ("token_invalid", with_changes(exp=str(FAR))),
    "exp is true": ("token_invalid", with_changes(exp=True)),
    "exp is NaN": ("token_invalid", with_changes(exp=float("nan"))),
    "not valid yet": ("token_invalid", with_changes(nbf=FAR)),
    "nbf is text": ("token_invalid", with_changes(nbf="soon")),
    "sub is no UUID": ("token_invalid", with_changes(sub="alice")),
    "sub is empty": ("token_invalid", with_changes(sub="")),
    "sub is a number": ("token_invalid", with_changes(sub=7)),
    "sub is bad, id is good": ("token_invalid", with_changes(sub="alice", id=str(uuid4()))),
    "id is no UUID": ("token_invalid", with_claims({"id": "alice"})),
    "no claims": ("token_invalid", with_claims({})),
    "other claims": ("token_invalid", with_claims({"user": str(uuid4()), "exp": FAR})),
    "no object": ("token_invalid", with_claims([str(uuid4())])),
}


@pytest.mark.parametrize(("code", "make"), BAD_TOKENS.values(), ids=BAD_TOKENS.keys())
@pytest.mark.parametrize("place", ["auth", "header"])
async def test_bad_tokens_are_refused(
    server: ChatServer, devices: Devices, code: str, make: MakeToken, place: str
) -> None:
    device = devices.make(server, transports=["websocket"])
    token = make(server, device.user)
    if place == "auth":
        error = await device.refused({"token": token})
    else:
        error = await device.refused(headers={"Authorization": token})
    assert error.keys() == {"message", "data"}
    assert error["data"] == {"code": code}
    assert error["message"]
    assert not token.strip() or token not in error["message"]


@pytest.mark.parametrize("token", [5, True, ["x"], {"a": 1}])
async def test_a_token_that_is_not_text_is_refused(
    server: ChatServer, devices: Devices, token: Any
) -> None:
    error = await devices.make(server).refused({"token": token})
    assert error["data"] == {"code": "token_invalid"}


async def test_without_any_token_nobody_gets_in(
    server: ChatServer, devices: Devices, transports: list[str] | None
) -> None:
    for auth, headers in (({}, None), ({"user": new_user()}, None), (None, {"X-Token": "x"})):
        error = await devices.make(server, transports=transports).refused(auth, headers)
        assert error["data"] == {"code": "token_missing"}
        assert "token" in error["message"]


async def test_an_expired_token_is_refused_on_every_transport(
    server: ChatServer, devices: Devices, transports: list[str] | None
) -> None:
    device = devices.make(server, transports=transports)
    error = await device.refused({"token": server.token(device.user, exp=1)})
    assert error["data"] == {"code": "token_expired"}


@pytest.mark.parametrize("form", ["{}", "Bearer {}", "bearer  {}"])
@pytest.mark.parametrize("place", ["auth", "header"])
async def test_a_token_is_taken_from_the_header_and_from_auth(
    server: ChatServer, devices: Devices, transports: list[str] | None, form: str, place: str
) -> None:
    device = devices.make(server, transports=transports)
    token = form.format(server.token(device.user))
    if place == "auth":
        await device.connect({"token": token})
    else:
        await device.connect(headers={"Authorization": token})
    assert (await device.send(device.user))["sender"] == device.user


async def test_auth_wins_over_the_header(
    server: ChatServer, devices: Devices, transports: list[str] | None
) -> None:
    device, other = devices.make(server, transports=transports), new_user()
    good = {"token": server.token(device.user)}
    for header in (server.token(other), "Bearer hush"):
        await device.connect(good, {"Authorization": header})
        assert (await device.send(other))["sender"] == device.user
        await device.disconnect()

    refused = devices.make(server, transports=transports)
    error = await refused.refused({"token": "hush"}, {"Authorization": server.token(other)})
    assert error["data"] == {"code": "token_invalid"}


CLAIMS: dict[str, Callable[[str], dict[str, Any]]] = {
    "sub": lambda user: {"sub": user},
    "upper case": lambda user: {"sub": user.upper()},
    "id": lambda user: {"id": user},
    "id, sub is null": lambda user: {"id": user, "sub": None},
    "sub before id": lambda user: {"id": new_user(), "sub": user},
    "exp with a fraction": lambda user: {"sub": user, "exp": FAR + 0.5},
    "nbf in the past": lambda user: {"sub": user, "nbf": 1},
    "more": lambda user: {"sub": user, "aud": "x", "iss": 7, "iat": FAR, "jti": 3, "name": HUSH},
}


@pytest.mark.parametrize("claims", CLAIMS.values(), ids=CLAIMS.keys())
async def test_the_user_is_who_the_token_says(
    server: ChatServer, devices: Devices, claims: Callable[[str], dict[str, Any]]
) -> None:
    device = devices.make(server)
    token = by_hand({"alg": "HS256"}, claims(device.user), server.secret)
    await device.connect({"token": token})
    chat = await device.send(device.user)
    assert chat["sender"] == device.user
    assert await device.wait("message") == [chat]


async def test_a_client_is_never_accepted_first_and_may_try_again(
    server: ChatServer, http: aiohttp.ClientSession
) -> None:
    async with raw_client(http, server) as client:
        refusal = await client.join("hush")
        assert (refusal.kind, refusal.data["data"]) == ("4", {"code": "token_invalid"})
        assert (await client.join(server.token(new_user()))).kind == "0"
        await client.send('420["ping"]')
        assert [packet.kind for packet in await client.packets(2)] == ["2", "3"]
