from __future__ import annotations

import io

import pytest

from parley.terminal.text import Paint, harmless, one_line, take_any_text, wants_colours


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def a_usual_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def test_a_stream_can_be_made_to_take_any_text() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="latin-1")

    take_any_text(stream)
    stream.write("→ ü")
    stream.flush()

    assert raw.getvalue() == b"? \xfc"


def test_paint() -> None:
    assert Paint(True)("hi", "bold", "green") == "\x1b[1;32mhi\x1b[0m"
    assert Paint(True)("hi") == "hi"
    assert Paint(False)("hi", "bold", "green") == "hi"


def test_a_terminal_has_colours_and_a_file_has_none() -> None:
    assert wants_colours(Screen())
    assert not wants_colours(io.StringIO())


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_can_be_declined(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)

    assert not wants_colours(Screen())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[2J", "␛[2J"),
        ("a\tb\rc\x07", "a b␍c␇"),
        ("\x9b2J\x7f", "\N{REPLACEMENT CHARACTER}2J\N{REPLACEMENT CHARACTER}"),
        ("\u202egnp.exe\u2066\u2028", "\N{REPLACEMENT CHARACTER}gnp.exe" + 2 * "\ufffd"),
        ("\ud800", "\N{REPLACEMENT CHARACTER}"),
        ("שלום 👩‍🚀 e\u0301", "שלום 👩‍🚀 e\u0301"),
        ("two\nlines", "two\nlines"),
    ],
)
def test_harmless(text: str, shown: str) -> None:
    assert harmless(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("12345", "12345"),
        ("123456", "1234…"),
        ("1\n2  3", "1 2 3"),
        ("1" + " " * 50, "1…"),
        ("\x1b" * 9, "␛␛␛␛…"),
        ("", ""),
    ],
)
def test_one_line(text: str, shown: str) -> None:
    assert one_line(text, 5) == shown
