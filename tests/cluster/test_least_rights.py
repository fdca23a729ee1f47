"""Parley with the database user that `deploy/postgres-rights.sql` makes: all that operators do."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping

from tests.e2e.clients import Device, Devices
from tests.e2e.kicks import kick
from tests.e2e.server import ChatServer, new_user, wait_until
from tests.services.command import parley
from tests.services.deployment import (
    OWNER,
    OWNER_PASSWORD,
    USER,
    Deployment,
    back_to_version_1,
    fetch,
)
from tests.services.postgres import PostgresServer
from tests.services.valkey import RedisServer

from .conftest import StartCluster
from .conversation import converse, see_the_same


async def chat(device: Device, devices: Devices, server: ChatServer) -> None:
    """Send, deliver, mark, list: all that clients do."""
    anns = [await devices.connect(server) for _ in range(2)]
    sent = await converse(anns, device.user, 10)
    await see_the_same([device], sent)
    assert await device.mark_received(sent[0]) == {"chatId": sent[0]["id"], "received": True}
    assert len(await device.unreceived()) == len(sent) - 1
    assert sum(map(len, (await device.everything()).values())) == len(sent)


async def test_all_commands(
    own_postgres: PostgresServer, start_cluster: StartCluster, devices: Devices
) -> None:
    deployment = await asyncio.to_thread(Deployment, own_postgres)
    await deployment.migrate()
    cluster = await asyncio.to_thread(start_cluster, nodes=1, **deployment.environment())
    (node,) = cluster.nodes
    bob = await devices.connect(node)
    await chat(bob, devices, node)

    def who() -> str:
        return parley(cluster.settings, "who", "--user", bob.user).stdout

    await asyncio.to_thread(wait_until, lambda: bob.user in who(), str)
    audit = await asyncio.to_thread(parley, cluster.settings, "audit")
    assert (audit.returncode, audit.stderr) == (0, ""), audit.stdout
    await fetch(deployment.owner, "REVOKE SELECT ON inbox FROM chat")
    assert await refusal(cluster.settings, "audit") == f'GRANT SELECT ON inbox TO "{USER}"'
    await asyncio.to_thread(deployment.give_rights)
    await asyncio.to_thread(kick, node, bob.user)
    assert (await bob.wait("error"))[0]["code"] == "token_revoked"
    await asyncio.to_thread(kick, node, bob.user, "--forget")
    migrate = await asyncio.to_thread(parley, cluster.settings, "migrate")
    assert migrate.stdout == "The database is up to date: its schema has version 2.\n"


async def test_an_upgrade(
    own_postgres: PostgresServer,
    redis_server: RedisServer,
    start_cluster: StartCluster,
    devices: Devices,
) -> None:
    """From the tables of the first version: the commands say what they need, until they have it."""
    deployment = await asyncio.to_thread(Deployment, own_postgres)
    await deployment.migrate()
    await back_to_version_1(deployment.owner)
    settings = {**deployment.environment(), **redis_server.environment()}
    commands = (["start"], ["kick", "--user", new_user()])
    for words in commands:
        assert (
            await refusal(settings, *words) == "run `parley migrate` with the user that owns them"
        )
    owner = {"DATABASE_USER": OWNER, "DATABASE_PASSWORD": OWNER_PASSWORD}
    migrated = await asyncio.to_thread(parley, {**settings, **owner}, "migrate")
    assert migrated.stdout == "The database was brought from version 1 to version 2.\n"
    for words in commands:
        assert await refusal(settings, *words) == f'GRANT SELECT ON revocations TO "{USER}"'
    await asyncio.to_thread(deployment.give_rights)
    cluster = await asyncio.to_thread(start_cluster, nodes=1, **settings)
    await chat(await devices.connect(cluster.nodes[0]), devices, cluster.nodes[0])


async def refusal(settings: Mapping[str, str], *words: str) -> str:
    """What a command that can't begin says is to be done first."""
    refused = await asyncio.to_thread(parley, settings, *words)
    assert refused.returncode == 2
    wanted = re.search(r"(?:GRANT|run `parley migrate`) [^;.]*", refused.stderr)
    assert wanted, refused.stderr
    return wanted[0]
