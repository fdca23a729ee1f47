"""A run that ends early keeps what it has measured, and publishes nothing."""

from __future__ import annotations

import argparse
from collections.abc import Generator
from pathlib import Path

import pytest

from bench.errors import CannotRun
from bench.results import Results, load

from .test_report import chat, results

pytest.importorskip("matplotlib", reason="make bench installs it")
from bench import __main__ as bench

WHOLE = argparse.Namespace(only=None, servers=[], quick=False)
DONE = results(("saturation", "parley", [chat(per_second=24_000)]))


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """What is published, and what isn't."""
    published, unpublished = tmp_path / "docs", tmp_path / "build"
    monkeypatch.setattr(bench, "PUBLISHED", published)
    monkeypatch.setattr(bench, "UNPUBLISHED", unpublished)
    monkeypatch.setattr(bench, "PAGE", tmp_path / "nothing-is-written-here.md")
    return published, unpublished


@pytest.mark.parametrize(
    ("end", "status"), [(KeyboardInterrupt(), 130), (CannotRun("no disk"), 1)], ids=str
)
def test_what_was_measured_until_then_is_kept(
    end: BaseException,
    status: int,
    folders: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def measuring(options: argparse.Namespace) -> Generator[Results]:
        yield DONE
        raise end

    monkeypatch.setattr(bench, "_measure", measuring)
    assert bench.measure(WHOLE) == status
    published, unpublished = folders
    assert load(unpublished / "results.json") == DONE
    assert not published.exists()


def test_an_interrupted_run_says_what_it_has(
    folders: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def measuring(options: argparse.Namespace) -> Generator[Results]:
        yield DONE
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "_measure", measuring)
    bench.measure(WHOLE)
    assert "| Parley | 1 | 24,000 |" in capsys.readouterr().out
