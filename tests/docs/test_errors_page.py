"""The page of errors knows every code, and every message that it quotes exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import parley
from parley.errors import ErrorCode

from .pages import text_of

PAGE = text_of("errors.md")
SOURCE = Path(parley.__file__).parent


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_every_code_has_a_section_in_the_order_of_the_code() -> None:
    sections = re.findall(r"^### (.*)$", section("What clients get"), re.MULTILINE)
    assert sections == [str(code) for code in ErrorCode]


@pytest.mark.parametrize("code", ErrorCode)
def test_a_section_says_what_it_means_and_what_to_do(code: ErrorCode) -> None:
    text = section("What clients get").partition(f"### {code}\n")[2].partition("\n### ")[0]
    assert "**It means**" in text
    assert "**What to do:**" in text


def quoted(title: str) -> list[str]:
    """The messages in the first column of a section's tables, as they are quoted."""
    return re.findall(r"^\| `([^|]+)` \|", section(title), re.MULTILINE)


def texts() -> Iterator[list[str]]:
    """The texts of the source; those in which something is filled in are cut there."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [""]
                for value in node.values:
                    if isinstance(value, ast.Constant):
                        parts[-1] += str(value.value)
                    else:
                        parts.append("")
                yield parts
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield [node.value]


TEXTS = list(texts())
START = quoted("What `parley start` may stop with")
TOKEN = re.findall(r"^\| `(it[^|]+)` \|", PAGE, re.MULTILINE)


def test_messages_were_found() -> None:
    assert len(START) > 15
    assert len(TOKEN) > 5


@pytest.mark.parametrize("message", [*START, *TOKEN])
def test_a_quoted_message_is_one_of_the_codes(message: str) -> None:
    assert any(says(parts, message) for parts in TEXTS)


@pytest.mark.parametrize("message", ["Port 3000 is busy", "the moon is full", "is missing!"])
def test_no_other_message_would_pass(message: str) -> None:
    assert not any(says(parts, message) for parts in TEXTS)


def says(parts: list[str], message: str) -> bool:
    """Whether a text says that, from anywhere to anywhere, once something is filled in."""
    if any(message in part for part in parts):
        return True
    return any(
        _fits(message, _start(message, parts[first]), parts[first + 1 : last], parts[last])
        for first in range(len(parts))
        for last in range(first + 1, len(parts))
    )


def _start(message: str, part: str) -> str:
    """The longest end of a part with which the message begins."""
    return next(part[at:] for at in range(len(part) + 1) if message.startswith(part[at:]))


def _fits(message: str, start: str, between: list[str], part: str) -> bool:
    end = next(part[:to] for to in range(len(part), -1, -1) if message.endswith(part[:to]))
    expression = ".+".join(map(re.escape, [start, *between, end]))
    fixed = len(start) + sum(map(len, between)) + len(end)
    return re.fullmatch(expression, message) is not None and fixed > 0.4 * len(message)
