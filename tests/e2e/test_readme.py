"""The README's clients work as they are printed."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest

from .javascript import output_of
from .server import HUSH, ChatServer, new_user

README = Path(__file__).parents[2] / "README.md"
DOCUMENTED = "http://127.0.0.1:3000"
AFTER_JAVASCRIPT = """
while (shown.length === 0) await new Promise((go) => setTimeout(go, 10));
console.log(JSON.stringify([chat, shown[0]]));
socket.close();
"""
AFTER_PYTHON = """
import json
print(json.dumps([chat, data]))
client.disconnect()
"""


def printed(language: str, server: ChatServer) -> str:
    """The README's program in that language, for that server."""
    (block,) = re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)
    assert DOCUMENTED in block
    assert "Hello" in block
    program: str = block.replace(DOCUMENTED, server.url).replace("Hello", HUSH)
    return program


def check_output(output: str, user: str) -> None:
    """Who writes to themselves is answered with what they receive."""
    stored, received = json.loads(output)
    assert stored == received
    assert (stored["sender"], stored["receiver"], stored["message"]) == (user, user, HUSH)


async def test_python(server: ChatServer, tmp_path: Path) -> None:
    user = new_user()
    known = f"token, receiver = {server.token(user)!r}, {user!r}\n"
    program = tmp_path / "client.py"
    program.write_text(known + printed("python", server) + AFTER_PYTHON)
    python = await asyncio.create_subprocess_exec(
        sys.executable, program, stdin=PIPE, stdout=PIPE, stderr=STDOUT
    )
    check_output(await output_of(python), user)


@pytest.mark.node
async def test_javascript(server: ChatServer, scripts: Path) -> None:
    user = new_user()
    known = (
        f"const receiver = {json.dumps(user)}, shown = [];\n"
        f"const freshToken = async () => {json.dumps(server.token(user))};\n"
        "const show = (chat) => shown.push(chat);\n"
    )
    program = scripts / "readme.mjs"
    program.write_text(known + printed("js", server) + AFTER_JAVASCRIPT)
    node = await asyncio.create_subprocess_exec(
        "node", program.name, cwd=scripts, stdin=PIPE, stdout=PIPE, stderr=STDOUT
    )
    check_output(await output_of(node), user)
