"""No secret, token or text of a message is in what a server tells, whatever befalls it."""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jwt
import psutil
import pytest
import redis

from tests.e2e.clients import Device, Devices
from tests.e2e.server import PATIENCE, ChatServer, new_user, without_settings
from tests.services.ports import free_port
from tests.services.postgres import PostgresServer
from tests.services.valkey import ValkeyServer, running

PAGES = ("/", "/metrics", "/readyz", "/healthz", "/asyncapi.json", "/socket.io/?token=x", "/none")
WORKERS = 2
ANYWHERE = {"HOST": "127.0.0.1", "PORT": "0", "WORKERS": "1"}
CONSTRAINT = "ALTER TABLE chats ADD CHECK (message NOT LIKE '%unwelcome%')"


def secret(name: str) -> str:
    """Something that is nowhere by chance."""
    return f"{name}-{secrets.token_hex(12)}"


class Site:
    """A server with two workers, a database and a Redis, each with a password of its own."""

    def __init__(self, folder: Path, postgres: PostgresServer, valkey: ValkeyServer) -> None:
        self.folder, self.postgres, self.valkey = folder, postgres, valkey
        self.signing, self.database = secret("signing"), secret("database")
        self.text, self.changed = secret("text"), secret("changed")
        postgres.execute(f"CREATE ROLE teller LOGIN PASSWORD '{self.database}'")
        postgres.execute(f"ALTER DATABASE {postgres.database} OWNER TO teller")
        self.settings = {
            **postgres.environment(),
            **valkey.environment(),
            "DATABASE_USER": "teller",
            "DATABASE_PASSWORD": self.database,
            "JWT_SECRET_KEY": self.signing,
            "LOG_LEVEL": "debug",
            "WORKERS": str(WORKERS),
        }
        self.server = ChatServer(folder, self.settings)
        self.tokens: list[str] = []

    def token(self, key: str, **claims: object) -> str:
        """A token that was seen by the server, and by nobody else."""
        token = jwt.encode({"sub": new_user(), "note": self.text, **claims}, key, "HS256")
        self.tokens.append(token)
        return token

    def private(self) -> list[str]:
        """What nothing may tell: each part of a token but the first, which is the same for all."""
        parts = [part for token in self.tokens for part in token.split(".")[1:]]
        password = self.valkey.options().password
        return [self.signing, self.database, self.text, self.changed, password, *parts]

    def told(self) -> Iterator[str]:
        """Everything that the server tells now."""
        yield self.server.log()
        for path in PAGES:
            yield self.server.get(path)[1]
        first = psutil.Process(self.server.pid)
        for process in (first, *first.children(recursive=True)):
            yield " ".join(process.cmdline()) + process.name()

    def check(self, *told: str) -> None:
        """Fail if something private is in what is told."""
        private = self.private()
        for text in told:
            assert not [each for each in private if each in text], text

    def change_the_password_of_redis(self) -> None:
        """All connections end, and the server's password is wrong from then on."""
        options = self.valkey.options()
        with redis.Redis(port=options.port, password=options.password) as operator:
            operator.execute_command("CONFIG", "SET", "requirepass", self.changed)
            for kind in ("pubsub", "normal"):
                operator.execute_command("CLIENT", "KILL", "TYPE", kind)

    def run(self, *words: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """A command with the settings of the server."""
        return subprocess.run(
            [sys.executable, "-m", "parley", *words],
            env={**without_settings(), **self.settings, **ANYWHERE, **changes},
            cwd=self.folder,  # where nobody keeps a .env
            capture_output=True,
            text=True,
            check=False,
            timeout=6 * PATIENCE,
        )


@pytest.fixture
def site(tmp_path: Path, own_postgres: PostgresServer) -> Iterator[Site]:
    valkey = ValkeyServer(tmp_path / "valkey", password=secret("redis"), timeout=1.0)
    with running(valkey):
        site = Site(tmp_path, own_postgres, valkey)
        try:
            site.server.start()
            yield site
        finally:
            if site.server.running:
                site.server.kill()


async def connects_and_is_refused(site: Site, devices: Devices) -> Device:
    """Each way to present a token, good ones and bad ones."""
    server = site.server
    ann = devices.make(server)
    await ann.connect({"token": site.token(site.signing)})
    by_header = devices.make(server)
    bearer = {"Authorization": f"Bearer {site.token(site.signing)}"}
    await by_header.connect(headers=bearer)
    for bad in (
        site.token(site.changed),
        site.token(site.signing, exp=1),
        site.token(site.signing, sub=site.text),
        site.token(site.signing, exp=site.text),
        site.text,
        {site.text: site.text},
    ):
        await devices.make(server).refused({"token": bad})
    return ann


async def errs(site: Site, ann: Device) -> None:
    """Each kind of mistake, with the text in it."""
    text, bob = site.text, new_user()
    await ann.send(bob, text)
    for data in (
        {"receiver": bob, "message": text * 1000},
        {"receiver": text, "message": text},
        {"receiver": bob, "message": [text]},
        {"receiver": bob, "message": text + "\0"},
        {"receiver": bob, "message": text, "id": text},
        {"receiver": bob, "message": text.encode()},
        text,
    ):
        assert "error" in await ann.call("send message", data)
    assert "error" in await ann.call(text, text)
    assert "error" in await ann.call("receive message", {"chatId": text})
    assert "error" in await ann.call("all messages", {"after": text})


async def test_a_server_tells_nothing_private(site: Site, devices: Devices) -> None:
    server, text = site.server, site.text
    ann = await connects_and_is_refused(site, devices)
    await errs(site, ann)
    site.check(*await asyncio.to_thread(lambda: [*site.told()]))

    # An error of the database's that quotes the row.
    site.postgres.execute(CONSTRAINT)
    answer = await ann.call(
        "send message", {"receiver": new_user(), "message": f"{text} unwelcome"}
    )
    assert answer["error"]["code"] == "internal"
    assert text not in repr(answer)
    await asyncio.to_thread(server.wait_until_it_says, "violates check constraint")

    site.valkey.kill()
    await asyncio.to_thread(server.wait_until_it_says, "the bus is away", WORKERS)
    await asyncio.to_thread(site.valkey.start)
    await asyncio.to_thread(server.wait_until_it_says, "the bus is back", WORKERS)
    await asyncio.to_thread(site.change_the_password_of_redis)
    await asyncio.to_thread(server.wait_until_it_says, "the bus is away", 2 * WORKERS)
    site.postgres.execute(f"ALTER ROLE teller PASSWORD '{site.changed}'")
    site.postgres.kill()
    answer = await ann.call("send message", {"receiver": new_user(), "message": text})
    assert answer["error"]["code"] == "store_unavailable"
    await asyncio.to_thread(site.postgres.start)
    answer = await ann.call("send message", {"receiver": new_user(), "message": text})
    assert answer["error"]["code"] == "store_unavailable"
    site.check(*await asyncio.to_thread(lambda: [*site.told()]))

    server.kill_worker(server.workers().pop())
    await asyncio.to_thread(server.wait_until_it_says, "a worker ended")
    server.terminate()
    await asyncio.to_thread(server.wait_until_ended)
    site.check(server.log())


def test_commands_tell_nothing_private(site: Site) -> None:
    for words, changes in (
        (["--help"], {}),
        (["start", "--help"], {}),
        (["start"], {"DATABASE_PASSWORD": site.changed}),
        (["start"], {"REDIS_PASSWORD": site.changed}),
        (["start"], {"DATABASE_PORT": str(free_port()), "STARTUP_TIMEOUT": "1"}),
        (["start"], {"PORT": "no port", "WORKERS": "many"}),
        (["migrate"], {}),
        (["migrate"], {"DATABASE_PASSWORD": site.changed}),
        (["who"], {}),
        (["who"], {"REDIS_PASSWORD": site.changed}),
    ):
        done = site.run(*words, **changes)
        assert done.returncode == (2 if changes else 0), done.stderr
        assert done.stdout + done.stderr
        site.check(done.stdout, done.stderr)


def test_a_broken_env_file_is_not_quoted(tmp_path: Path) -> None:
    password = secret("database")
    (tmp_path / ".env").write_text(f"DATABASE_PASSWORD {password}\n'{password}\n")
    done = subprocess.run(
        [sys.executable, "-m", "parley", "start"],
        env=without_settings(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "line 1" in done.stderr
    assert password not in done.stderr + done.stdout
