"""What people who work on Parley begin with: make's targets, hooks, forms."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
HOOKS = ROOT / ".pre-commit-config.yaml"
FORMS = sorted(ROOT.glob(".github/ISSUE_TEMPLATE/*.yml"))


def parsed(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_help_explains_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    targets, options, _ = shown.stdout.partition("\nOptions:")
    assert options
    explained = re.findall(r"^  make ([a-z0-9-]+) +\S", targets, re.MULTILINE)
    assert sorted(explained) == sorted(set(phony[1].split()) - {"help"})


def test_pre_commit_accepts_its_configuration() -> None:
    command = [sys.executable, "-m", "pre_commit", "validate-config", str(HOOKS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_hooks_run_the_tools_of_this_environment() -> None:
    """Which the lock pins; nothing is fetched for them."""
    repositories = parsed(HOOKS)["repos"]
    assert {repository["repo"] for repository in repositories} == {"local"}
    hooks = [hook for repository in repositories for hook in repository["hooks"]]
    programs = [Path(hook["entry"].split()[0]) for hook in hooks if hook["language"] == "system"]
    assert programs
    for program in programs:
        assert program.parent == Path(".venv/bin")
        assert Path(sys.executable).with_name(program.name).exists()


def is_checkout() -> bool:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        return False
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not is_checkout(), reason="this is no checkout of Git's")
def test_no_file_has_what_the_hooks_search_for(tmp_path: Path) -> None:
    """So that `make pre-commit` passes on what is there."""
    hooks = [hook for repository in parsed(HOOKS)["repos"] for hook in repository["hooks"]]
    searches = [hook["id"] for hook in hooks if hook["language"] == "pygrep"]
    assert searches
    for search in searches:
        done = subprocess.run(
            [sys.executable, "-m", "pre_commit", "run", "--all-files", search],
            cwd=ROOT,
            env={**os.environ, "PRE_COMMIT_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_forms_are_complete(form: Path) -> None:
    content = parsed(form)
    if form.stem == "config":
        assert content.keys() <= {"blank_issues_enabled", "contact_links"}
        return
    assert {"name", "description", "body"} <= content.keys()
    questions = [field for field in content["body"] if field["type"] != "markdown"]
    assert all(field["attributes"]["label"] for field in questions)
    ids = [field["id"] for field in questions]
    assert len(ids) == len(set(ids))
