"""The official JavaScript client, as applications use it; see ``node/scenarios.mjs``."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from asyncio.subprocess import PIPE, STDOUT, Process
from pathlib import Path

import pytest

from .server import PATIENCE, ChatServer

pytestmark = pytest.mark.node

SOURCE = Path(__file__).with_name("node")
SCENARIOS = (
    "acknowledgements",
    "refusal",
    "header",
    "expiry",
    "burst",
    "volatile",
    "binary",
    "transport",
)
OFFLINE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT", "ENETUNREACH")
"""What npm says where no registry can be reached."""


@pytest.fixture(scope="session")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the scenarios and the client that they need."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("Node.js and npm are not installed here")
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "package-lock.json", "scenarios.mjs"):
        shutil.copy(SOURCE / name, folder)
    npm = subprocess.run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=6 * PATIENCE,
        check=False,
    )
    if npm.returncode != 0 and any(word in npm.stderr for word in OFFLINE):
        pytest.skip("npm can't reach a registry to get socket.io-client")
    assert npm.returncode == 0, npm.stdout + npm.stderr
    return folder


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_the_official_client_works(
    server: ChatServer, scripts: Path, transports: list[str] | None, scenario: str
) -> None:
    node = await _start(scripts, scenario, server, transports)
    await _assert_well(node)


async def test_the_official_client_comes_back_after_a_restart(
    own_server: ChatServer, scripts: Path, transports: list[str] | None
) -> None:
    node = await _start(scripts, "restart", own_server, transports)
    assert node.stdout is not None
    line = await asyncio.wait_for(node.stdout.readline(), PATIENCE)
    if line == b"restart, please\n":
        await asyncio.to_thread(own_server.restart)
    await _assert_well(node, line.decode())


async def _start(
    scripts: Path, scenario: str, server: ChatServer, transports: list[str] | None
) -> Process:
    node = await asyncio.create_subprocess_exec(
        "node", "scenarios.mjs", scenario, cwd=scripts, stdin=PIPE, stdout=PIPE, stderr=STDOUT
    )
    settings = {"url": server.url, "secret": server.secret, "transports": transports}
    assert node.stdin is not None
    node.stdin.write(json.dumps(settings).encode() + b"\n")
    return node


async def _assert_well(node: Process, said: str = "") -> None:
    """Wait for the end of a scenario; if it failed, what it said tells why."""
    try:
        output, _ = await asyncio.wait_for(node.communicate(), 3 * PATIENCE)
    except TimeoutError:
        node.kill()
        output, _ = await node.communicate()
    assert node.returncode == 0, said + output.decode()
