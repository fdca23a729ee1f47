"""The tests of the pages would notice if a page were wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from .pages import Block
from .session import Session, pattern

ID = "6f1d2f66-7b5c-4a4e-9d5e-0c9b3f1f2a10"
OTHER_ID = "0b0e3a52-6f1c-4c58-9a3e-2d1f5b7c9e84"


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        (f"user {ID}", f"user {OTHER_ID}"),
        ("token eyJhbGciOi…", "token eyJ0eXAi.eyJzdWIi.c2ln-_"),
        ("{'createdAt': 1795384800123}", "{'createdAt': 1795384811111}"),
        ("ready url=…", "ready url=http://127.0.0.1:1"),
        ("first\n…\nlast", "first\nanything\nat all\nlast"),
        ("a.b (c)", "a.b (c)"),
    ],
)
def test_what_differs_from_run_to_run_may_differ(shown: str, printed: str) -> None:
    assert pattern(shown).fullmatch(printed)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("a.b", "acb"),
        (f"user {ID}", "user bob"),
        ("ready … now", "ready\nnow"),
        ("['1795384800123']", "['12']"),
    ],
)
def test_nothing_else_may(shown: str, printed: str) -> None:
    assert not pattern(shown).fullmatch(printed)


def session_of(text: str, detail: str = "") -> Block:
    return Block("page.md", 1, "console", text, "run", detail, "")


def test_commands_share_a_folder_and_an_environment(tmp_path: Path) -> None:
    session = Session(tmp_path, {"PATH": "/usr/bin:/bin"})
    session.carry_out(
        session_of("$ export NAME='a b'\n$ mkdir x\n$ cd x\n$ echo $NAME > f\n$ cat f\na b\n")
    )
    session.carry_out(session_of("$ cat <<END\n> $NAME\n> END\na b\n$ ls\nf\n"))
    session.close()


def test_space_at_the_ends_of_lines_is_not_shown(tmp_path: Path) -> None:
    session = Session(tmp_path, {"PATH": "/usr/bin:/bin"})
    session.carry_out(session_of("$ printf 'a  \\n b\\t\\n'\na\n b\n"))
    session.close()


@pytest.mark.parametrize(
    "text", ["$ echo yes\nno\n", "$ echo yes\n", "$ false\n", "$ true\nyes\n", "$ exit 3\n"]
)
def test_what_goes_wrong_is_noticed(text: str, tmp_path: Path) -> None:
    session = Session(tmp_path, {"PATH": "/usr/bin:/bin"})
    with pytest.raises(AssertionError):
        session.carry_out(session_of(text))
    session.close()


def test_a_failure_may_be_what_is_shown(tmp_path: Path) -> None:
    session = Session(tmp_path, {"PATH": "/usr/bin:/bin"})
    session.carry_out(session_of("$ echo no; exit 3\nno\n", "status 3"))
    with pytest.raises(AssertionError):
        session.carry_out(session_of("$ echo no\nno\n", "status 3"))
    session.close()
