"""Carries out what a page shows: files, commands with their output, and packets."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.e2e.server import PATIENCE, wait_until
from tests.services.ports import free_port

from .pages import Block

DOCUMENTED_PORTS: Final = ("3000", "8000")
"""On the pages: Parley's, and the reader's own application's.  Here they are any free ones."""

_SHELL: Final = """\
trap 'pwd > "$SESSION_FOLDER"/pwd; env -0 > "$SESSION_FOLDER"/env' EXIT
set -euo pipefail
cd "$(cat "$SESSION_FOLDER"/pwd)"
"""
UUID: Final = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_ALIKE: Final = {
    # What differs from run to run: on the page, and in general.
    UUID: UUID,
    r"eyJ[\w.-]*…?": r"eyJ[\w.-]+",
    r"1[678]\d{11}": r"1[678]\d{11}",  # milliseconds
    r"(?m:^…$)": r"(?s:.*)",
    r"…": ".*",
}
_DIFFERS: Final = re.compile("|".join(f"({alike})" for alike in _ALIKE))


def pattern(shown: str) -> re.Pattern[str]:
    """What matches the output that a page shows.

    Any UUID, token and time will do.  ``…`` stands for anything in a line or, alone, for lines.
    """
    expression, done = "", 0
    for match in _DIFFERS.finditer(shown):
        assert match.lastindex is not None
        anything = list(_ALIKE.values())[match.lastindex - 1]
        expression += re.escape(shown[done : match.start()]) + anything
        done = match.end()
    return re.compile(expression + re.escape(shown[done:]))


class Session:
    """A reader at work: one folder, one environment, and what was started in the background."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.ports = {port: str(free_port()) for port in DOCUMENTED_PORTS}
        self._work = folder / "work"
        self._work.mkdir()
        self._state = folder
        self._environment = {
            **environment,
            "HOST": "127.0.0.1",
            "PORT": self.ports["3000"],
            "LOG_FORMAT": "console",
            "SESSION_FOLDER": str(folder),
        }
        (folder / "pwd").write_text(str(self._work))
        self._background: dict[str, subprocess.Popen[bytes]] = {}
        """By the place of the block that started it."""

    @property
    def work(self) -> Path:
        """Where the reader saves files."""
        return self._work

    def url(self, port: str = "3000") -> str:
        """Where that documented port is."""
        return f"http://127.0.0.1:{self.ports[port]}"

    def carry_out(self, block: Block) -> None:
        """Do what the page says of a block."""
        match block.action:
            case "file":
                self._save(block)
            case "run":
                self._run(block)
            case "run in background":
                self._start(block)

    def interrupt(self, block: Block) -> None:
        """Press Ctrl+C where a block's command runs, and wait for its end."""
        process = self._background.pop(block.where)
        os.killpg(process.pid, signal.SIGINT)
        process.wait(3 * PATIENCE)

    def close(self) -> None:
        """End what was started, the last first."""
        for process in reversed(self._background.values()):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(3 * PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise

    # -- within

    def _save(self, block: Block) -> None:
        path = self._work / block.detail
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._translated(block.text))

    def _run(self, block: Block) -> None:
        commands = list(_commands(block))
        status = int(block.detail.removeprefix("status ")) if block.detail else 0
        for number, (command, shown) in enumerate(commands, 1):
            expected = status if number == len(commands) else 0
            done = subprocess.run(
                ["bash", "-c", _SHELL + self._translated(command)],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=6 * PATIENCE,
                check=False,
            )
            # Pages have no space at the ends of lines.
            printed = re.sub(r"[ \t]+$", "", done.stdout.decode(), flags=re.MULTILINE)
            assert done.returncode == expected, f"{block.where}: {command}\n{printed}"
            self._check(block, command, shown, printed)
            self._remember()

    def _start(self, block: Block) -> None:
        ((command, _),) = _commands(block)
        translated = self._translated(command)
        port = int(self.ports[block.detail.removeprefix("port ")])
        log = self._state / f"background-{len(self._background)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-c", f'cd "$(cat "$SESSION_FOLDER"/pwd)"; exec env {translated}'],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._background[block.where] = process

        def listens() -> bool:
            assert process.poll() is None, f"{block.where}: {command}\n{log.read_text()}"
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        wait_until(listens, lambda: f"{block.where} does not listen:\n{log.read_text()}")

    def _translated(self, text: str) -> str:
        for documented, port in self.ports.items():
            text = re.sub(rf"(?<=[:= (]){documented}\b", port, text)
        return text

    def _check(self, block: Block, command: str, shown: str, printed: str) -> None:
        expected = pattern(self._translated(shown).strip())
        assert expected.fullmatch(printed.strip()), (
            f"{block.where}: {command}\n--- the page shows\n{shown}\n--- it prints\n{printed}"
        )

    def _remember(self) -> None:
        lines = (self._state / "env").read_bytes().decode().split("\0")
        pairs = (line.partition("=") for line in lines if line)
        self._environment = {name: value for name, _, value in pairs}


def _commands(block: Block) -> list[tuple[str, str]]:
    """The commands of a terminal session, each with what it prints."""
    commands: list[tuple[list[str], list[str]]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            commands.append(([line[2:]], []))
        elif line.startswith("> ") and not commands[-1][1]:
            commands[-1][0].append(line[2:])
        else:
            commands[-1][1].append(line)
    return [("\n".join(command), "\n".join(shown)) for command, shown in commands]
