"""The official JavaScript client: installed once, and run by scripts of ``node/``."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from asyncio.subprocess import PIPE, STDOUT, Process
from pathlib import Path
from typing import Any

import pytest

from .server import PATIENCE

_SOURCE = Path(__file__).with_name("node")
_OFFLINE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT", "ENETUNREACH")
"""What npm says where no registry can be reached."""


@pytest.fixture(scope="session")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the scripts and the client that they need."""
    return install_packages(_SOURCE, tmp_path_factory.mktemp("node") / "scripts")


def install_packages(source: Path, folder: Path) -> Path:
    """Copy a package to ``folder`` and install what it needs there; or skip the test."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("Node.js and npm are not installed here")
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("node_modules"))
    npm = subprocess.run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=6 * PATIENCE,
        check=False,
    )
    if npm.returncode != 0 and any(word in npm.stderr for word in _OFFLINE):
        pytest.skip(f"npm can't reach a registry to get what {source.name} needs")
    assert npm.returncode == 0, npm.stdout + npm.stderr
    return folder


async def start_script(scripts: Path, settings: dict[str, Any], *command: str) -> Process:
    """Start ``node *command`` with settings on its standard input."""
    node = await asyncio.create_subprocess_exec(
        "node", *command, cwd=scripts, stdin=PIPE, stdout=PIPE, stderr=STDOUT
    )
    assert node.stdin is not None
    node.stdin.write(json.dumps(settings).encode() + b"\n")
    return node


async def output_of(node: Process, patience: float = 3 * PATIENCE) -> str:
    """Wait for the end of a script, which must succeed; what it said, also if it doesn't."""
    try:
        output, _ = await asyncio.wait_for(node.communicate(), patience)
    except TimeoutError:
        node.kill()
        output, _ = await node.communicate()
    said = output.decode()
    assert node.returncode == 0, said
    return said
