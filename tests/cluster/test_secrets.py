"""No secret, token or text of a message is in what a server tells, whatever befalls it."""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

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
BURST = 100
"""Events that a client may send at once."""
ANYWHERE = {"HOST": "127.0.0.1", "PORT": "0", "WORKERS": "1"}
CONSTRAINT = "ALTER TABLE chats ADD CHECK (message NOT LIKE '%unwelcome%')"


def secret(name: str) -> str:
    """Something that is nowhere by chance."""
    return f"{name}-{secrets.token_hex(12)}"


class Site:
    """A server with two workers, a database and a Redis, each with a password of its own."""

    def __init__(self, folder: Path, postgres: PostgresServer, valkey: ValkeyServer) -> None:
        self.folder, self.postgres, self.valkey = folder, postgres, valkey
        self.signing, self.previous = secret("signing"), secret("previous")
        self.database, self.changed = secret("database"), secret("changed")
        self.text = secret("text")
        postgres.execute(f"CREATE ROLE teller LOGIN PASSWORD '{self.database}'")
        postgres.execute(f"ALTER DATABASE {postgres.database} OWNER TO teller")
        self.settings = {
            **postgres.environment(),
            **valkey.environment(),
            "DATABASE_USER": "teller",
            "DATABASE_PASSWORD": self.database,
            "JWT_SECRET_KEY": self.signing,
            "JWT_PREVIOUS_SECRET_KEY": self.previous,
            "RATE_CONNECTION_EVENTS": "20",
            "RATE_CONNECTION_BURST": str(BURST),
            "RATE_PATIENCE": "1",
            "LOG_LEVEL": "debug",
            "WORKERS": str(WORKERS),
        }
        self.server = ChatServer(folder, self.settings)
        self.tokens: list[str] = []

    def token(self, key: str, **claims: object) -> str:
        """A token that nobody else has seen; of somebody new, if ``claims`` don't say of whom."""
        token = jwt.encode({"sub": new_user(), "note": self.text, **claims}, key, "HS256")
        self.tokens.append(token)
        return token

    def secrets(self) -> list[str]:
        """What the server knows, and tells nobody."""
        password = self.valkey.options().password
        return [self.signing, self.previous, self.database, self.changed, password]

    def private(self) -> list[str]:
        """What nobody else may see: of tokens all but the first part, which is the same for all."""
        parts = [part for token in self.tokens for part in token.split(".")[1:]]
        return [*self.secrets(), self.text, *parts]

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
        _check(told, self.private())

    def check_answers(self, *answers: object) -> None:
        """Fail if a secret of the server's is in what clients are told."""
        _check(map(repr, answers), self.secrets())

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
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=6 * PATIENCE,
        )


def _check(told: Iterable[str], private: Sequence[str]) -> None:
    for text in told:
        assert not [each for each in private if each in text], text


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
    await ann.connect({"token": site.token(site.signing, sub=ann.user)})
    for key in (site.signing, site.previous):
        bearer = {"Authorization": f"Bearer {site.token(key)}"}
        await devices.make(server).connect(headers=bearer)
    for bad in (
        site.token(site.changed),
        site.token(site.signing, exp=1),
        site.token(site.signing, sub=site.text),
        site.token(site.signing, exp=site.text),
        site.text,
        {site.text: site.text},
    ):
        site.check_answers(await devices.make(server).refused({"token": bad}))
    return ann


async def errs(site: Site, ann: Device) -> None:
    """Each kind of mistake, with the text in it."""
    text, bob = site.text, new_user()
    await ann.send(bob, text)
    mistakes: list[tuple[str, Any]] = [
        ("send message", {"receiver": bob, "message": text * 1000}),
        ("send message", {"receiver": text, "message": text}),
        ("send message", {"receiver": bob, "message": [text]}),
        ("send message", {"receiver": bob, "message": text + "\0"}),
        ("send message", {"receiver": bob, "message": text, "id": text}),
        ("send message", {"receiver": bob, "message": text.encode()}),
        ("send message", text),
        (text, text),
        ("receive message", {"chatId": text}),
        ("all messages", {"after": text}),
    ]
    answers = [await ann.call(*mistake) for mistake in mistakes]
    assert all("error" in answer for answer in answers)
    site.check_answers(*answers)


async def floods(site: Site, eve: Device) -> None:
    """More than a client may send; the log then names the user."""
    await eve.connect({"token": site.token(site.signing, sub=eve.user)})
    for _ in range(2 * BURST):
        await eve.emit("send message", {"receiver": eve.user, "message": site.text})
    named = f'"who":"{eve.user}"'
    await asyncio.to_thread(site.server.wait_until_it_says, named)


async def is_kicked(site: Site, eve: Device) -> None:
    """With a reason that is the user's business."""
    done = await asyncio.to_thread(site.run, "kick", "--user", eve.user, "--reason", site.text)
    assert done.returncode == 0
    site.check(done.stdout, done.stderr)
    await asyncio.to_thread(site.server.wait_until_it_says, "tokens were revoked", WORKERS)


async def test_a_server_tells_nothing_private(site: Site, devices: Devices) -> None:
    server, text = site.server, site.text
    ann = await connects_and_is_refused(site, devices)
    await errs(site, ann)
    eve = devices.make(server)
    await floods(site, eve)
    await is_kicked(site, eve)
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
    kick = ["kick", "--user", new_user(), "--reason", site.text]
    chat = ["chat", "--to", new_user(), "--url", site.server.url]
    wrong_database, wrong_redis = (
        {name: site.changed} for name in ("DATABASE_PASSWORD", "REDIS_PASSWORD")
    )
    for words, changes, status in (
        (["start", "--help"], {}, 0),
        (["start"], wrong_database, 2),
        (["start"], wrong_redis, 2),
        (["start"], {"DATABASE_PORT": str(free_port()), "STARTUP_TIMEOUT": "1"}, 2),
        (["start"], {"PORT": "no port", "WORKERS": "many"}, 2),
        (["migrate"], {}, 0),
        (["migrate"], wrong_database, 2),
        (["audit"], {}, 0),
        (["audit"], wrong_database, 2),
        (["who"], {}, 0),
        (["who"], wrong_redis, 2),
        (kick, {}, 0),
        (kick, wrong_redis, 0),
        (kick, wrong_database, 2),
        (["token", "--user", new_user()], {}, 0),
        (chat, {"PARLEY_TOKEN": site.token(site.previous)}, 0),
        (chat, {"PARLEY_TOKEN": site.token(site.changed)}, 2),
    ):
        done = site.run(*words, **changes)
        assert done.returncode == status, done.stderr
        assert done.stdout + done.stderr or words is chat
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
