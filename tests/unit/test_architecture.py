"""Imports point down (see docs/architecture.md); here is which way down is.

The tree is read, not imported, so that an import in a function or behind
``TYPE_CHECKING`` counts as well.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"

VOCABULARY = ("parley.answer", "parley.errors", "parley.incidents", "parley.model")
DRIVERS = ("aiosqlite", "asyncpg", "coredis", "glide", "hiredis", "psycopg", "redis", "sqlite3")
SERVERS = ("http", "httptools", "socket", "ssl", "starlette", "uvicorn", "uvloop", "websockets")

# A package or module, and what of Parley it may import besides itself.
LAYERS: Mapping[str, tuple[str, ...]] = {
    "parley.errors": (),
    "parley.incidents": (),
    "parley.model": (),
    "parley.clock": (),
    "parley.socketio": ("parley.errors", "parley.incidents"),
    "parley.chat": VOCABULARY,
    "parley.store": ("parley.chat.ports", *VOCABULARY),
    "parley.keys": ("parley.chat.jws", "parley.chat.ports", *VOCABULARY),
    "parley.bus": ("parley.chat.ports", "parley.redis_options", *VOCABULARY),
    "parley.cluster": (
        "parley.chat.ports",
        "parley.redis_options",
        "parley.socketio.peers",
        *VOCABULARY,
    ),
    "parley.redis_options": (),
    "parley.event_data": ("parley.chat", "parley.socketio"),
    "parley.device": ("parley.chat", "parley.socketio", *VOCABULARY),
    "parley.gateway": (
        "parley.chat",
        "parley.device",
        "parley.event_data",
        "parley.socketio",
        *VOCABULARY,
    ),
    "parley.metrics": ("parley.chat", "parley.gateway", "parley.socketio", *VOCABULARY),
    "parley.metrics_tables": ("parley.chat", "parley.socketio", *VOCABULARY),
    "parley.metrics_merge": ("parley.metrics", "parley.socketio.peers", *VOCABULARY),
    "parley.web": (
        "parley.chat",
        "parley.gateway",
        "parley.metrics",
        "parley.socketio",
        "parley.tokens",
        *VOCABULARY,
    ),
    "parley.tokens": ("parley.chat.jws",),
    "parley.terminal": (
        "parley.socketio.packets",
        "parley.socketio.protocol",
        *VOCABULARY,
    ),
    "parley.devlines": (
        "parley.chat.service",
        "parley.gateway",
        "parley.socketio",
        "parley.terminal.text",
        *VOCABULARY,
    ),
    "parley.settings": ("parley.settings_fields", "parley.settings_limits"),
    "parley.settings_fields": (),
    "parley.settings_limits": ("parley.settings_fields",),
    "parley.settings_loading": (
        "parley.environment",
        "parley.errors",
        "parley.keys",
        "parley.settings",
        "parley.settings_fields",
        "parley.tls_files",
    ),
    "parley.tls_files": (),
}
COMPOSES = (
    "parley.__main__",
    "parley.app",
    "parley.arguments",
    "parley.backends",
    "parley.chatting",
    "parley.cli",
    "parley.devmode",
    "parley.kicking",
    "parley.serving",
    "parley.shared_backends",
    "parley.signing",
    "parley.supervisor",
)
"""Only these may know the composition root."""
CHOOSE = ("parley.backends", "parley.shared_backends")
READS_SETTINGS = (*COMPOSES, "parley.logs")
SANS_IO = (
    "parley.chat.ids",
    "parley.chat.inbox",
    "parley.chat.jws",
    "parley.socketio.frames",
    "parley.socketio.handshake",
    "parley.socketio.packets",
)
WAITS = ("asyncio", "concurrent", "multiprocessing", "select", "selectors", "socket", "threading")


class Import(NamedTuple):
    importer: str
    imported: str
    line: int

    def __str__(self) -> str:
        return f"{self.importer}, line {self.line}, imports {self.imported}"


def read(root: Path) -> dict[str, ast.Module]:
    """Every module below ``root``, by name."""
    modules = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        modules[".".join(parts)] = ast.parse(path.read_text("utf-8"), str(path))
    return modules


def imports(name: str, tree: ast.Module, modules: Mapping[str, ast.Module]) -> Iterator[Import]:
    """What a module imports, wherever it does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(name, alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}, line {node.lineno}: imports must be absolute"
            assert node.module is not None
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield Import(name, whole if whole in modules else node.module, node.lineno)


MODULES = read(SOURCE)
IMPORTS = [each for name, tree in MODULES.items() for each in imports(name, tree, MODULES)]


def within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def complain(wrong: list[Import], rule: str) -> None:
    assert not wrong, "\n".join([rule, *map(str, wrong)])


def test_the_tree_was_found() -> None:
    assert {"parley", "parley.gateway", "parley.socketio.engine", *SANS_IO} <= MODULES.keys()
    assert ("parley.chat.inbox", "parley.model") in {each[:2] for each in IMPORTS}


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_point_down(layer: str) -> None:
    allowed = (layer, *LAYERS[layer])
    wrong = [
        each
        for each in IMPORTS
        if within(each.importer, (layer,))
        and within(each.imported, ("parley",))
        and not within(each.imported, allowed)
    ]
    names = ", ".join(LAYERS[layer]) or "nothing"
    complain(wrong, f"{layer} may import of Parley, besides itself, {names}:")


def test_stores_do_not_know_one_another() -> None:
    """What they share is in modules named for it; so with buses."""
    backends = ("postgres", "sqlite", "redis", "local")
    wrong = [
        each
        for each in IMPORTS
        if each.importer.rpartition(".")[2] in backends
        and within(each.imported, ("parley.store", "parley.bus"))
        and each.imported.rpartition(".")[2] in backends
        and each.imported != each.importer
    ]
    complain(wrong, "A backend must not import another one:")


def test_only_the_composition_root_reads_settings() -> None:
    wrong = [
        each
        for each in IMPORTS
        if within(each.imported, ("parley.settings", "parley.settings_loading"))
        and not within(each.importer, ("parley.settings_loading", *READS_SETTINGS))
    ]
    complain(wrong, f"Only {', '.join(READS_SETTINGS)} may import the settings; pass values on:")


def test_nothing_imports_what_puts_it_together() -> None:
    wrong = [
        each
        for each in IMPORTS
        if within(each.imported, COMPOSES) and not within(each.importer, COMPOSES)
    ]
    complain(wrong, f"Only {', '.join(COMPOSES)} may import one of themselves:")


def test_backends_are_chosen_in_one_place() -> None:
    wrong = [
        each
        for each in IMPORTS
        if within(each.imported, ("parley.store", "parley.bus"))
        and not within(each.importer, ("parley.store", "parley.bus", *CHOOSE))
    ]
    complain(wrong, f"Only {' and '.join(CHOOSE)} may choose a store or a bus:")


def test_the_rules_know_no_driver_and_no_socket() -> None:
    wrong = [
        each
        for each in IMPORTS
        if within(each.importer, ("parley.chat", *VOCABULARY))
        and within(each.imported, (*DRIVERS, *SERVERS))
    ]
    complain(wrong, "parley.chat holds rules; drivers and servers belong elsewhere:")


def test_the_protocols_know_no_database() -> None:
    wrong = [
        each
        for each in IMPORTS
        if within(each.importer, ("parley.socketio", "parley.gateway"))
        and within(each.imported, DRIVERS)
    ]
    complain(wrong, "parley.socketio and parley.gateway must not know databases:")


@pytest.mark.parametrize("name", SANS_IO)
def test_sans_io_modules_wait_for_nothing(name: str) -> None:
    wrong = [each for each in IMPORTS if each.importer == name and within(each.imported, WAITS)]
    complain(wrong, f"{name} does no I/O and must not import what does:")
    waiting = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)
    lines = [node.lineno for node in ast.walk(MODULES[name]) if isinstance(node, waiting)]
    assert not lines, f"{name} does no I/O and must not wait; it does in line {lines}"


def test_imports_go_in_no_circle() -> None:
    below = {
        name: {each.imported for each in IMPORTS if each.importer == name} & MODULES.keys()
        for name in MODULES
    }
    while free := [name for name, imported in below.items() if not imported]:
        for name in free:
            del below[name]
        for imported in below.values():
            imported.difference_update(free)
    assert not below, f"These import one another in a circle: {', '.join(below)}"


@pytest.mark.parametrize(("suffix", "where"), [("py", r"^\| .*\|$"), ("js", r"^[^|\n]+$")])
def test_the_documentation_names_every_file_once(suffix: str, where: str) -> None:
    """The table those in Python, the text below it those of the page."""
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    section = text.partition("\n## Which file does what\n")[2].partition("\nImports point down")[0]
    lines = "\n".join(re.findall(where, section, re.MULTILINE))
    named = Counter(re.findall(rf"`(?:\w+/)*(\w+\.{suffix})`", lines))
    files = (path.name for path in SOURCE.rglob(f"*.{suffix}") if not path.name.startswith("__"))
    assert named == Counter(files)
