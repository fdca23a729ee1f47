"""What is installed is pinned: each version by the hashes of its files, and no source is named."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = sorted(ROOT.glob("requirements*.lock"))
NODE_LOCKS = sorted(
    path for path in ROOT.glob("[a-z]*/**/package-lock.json") if "node_modules" not in path.parts
)
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
_PINNED = re.compile(r"[a-z0-9][a-z0-9._-]*==[0-9][0-9A-Za-z.!+]*(?: ; [^\\]+)?")
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def requirements(lock: Path) -> list[str]:
    """Each requirement with all that belongs to it, in one line."""
    lines = (line for line in lock.read_text().splitlines() if not line.lstrip().startswith("#"))
    return [line.strip() for line in "\n".join(lines).replace("\\\n", "").splitlines() if line]


def test_there_is_a_lock_for_each_set_up() -> None:
    assert {path.name for path in LOCKS} == {
        "requirements.lock",
        *(f"requirements-{name}.lock" for name in ("dev", "bench", "docs")),
    }


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_line_of_a_lock_is_a_version_with_hashes_and_names_no_source(lock: Path) -> None:
    found = requirements(lock)
    assert found
    for requirement in found:
        pinned, *hashes = re.split(r"\s+(?=--hash)", requirement)
        assert _PINNED.fullmatch(pinned), requirement
        assert hashes, requirement
        assert all(_HASH.fullmatch(each) for each in hashes), requirement


@pytest.mark.parametrize("lock", NODE_LOCKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_package_of_a_node_lock_has_a_hash_and_names_no_source(lock: Path) -> None:
    packages = json.loads(lock.read_text())["packages"]
    installed = {name: package for name, package in packages.items() if name}
    assert installed
    for name, package in installed.items():
        assert package["integrity"].startswith("sha512-"), name
        assert "resolved" not in package, name


@pytest.mark.parametrize("file", ["Makefile", "Dockerfile", "docs/operations.md"])
def test_locks_are_installed_with_their_hashes_checked(file: str) -> None:
    text = (ROOT / file).read_text()
    installing = re.findall(r"^.* install .*\b[\w-]+\.lock$", text, re.MULTILINE)
    assert installing
    assert all("--require-hashes" in line for line in installing)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_what_a_workflow_runs_is_one_commit_and_stays_it(workflow: Path) -> None:
    """Whoever owns an action can move its tags, and not change a commit."""
    used = re.findall(r"^\s*(?:- )?uses: (.*)$", workflow.read_text(), re.MULTILINE)
    assert used
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v[\d.]+", each) for each in used), used
