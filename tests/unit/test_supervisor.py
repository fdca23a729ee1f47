"""Workers: started together, started anew when they end, replaced one by one, stopped together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0
"""Seconds."""


class Supervised:
    """A supervisor in a process of its own, and what its workers have told."""

    def __init__(self, folder: Path, count: int, patience: float) -> None:
        self._folder = folder
        self._log = folder / "told"
        module = [sys.executable, "-m", "tests.unit.supervised"]
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                [*module, str(folder), str(count), str(patience)], cwd=ROOT, stdout=output
            )

    def told(self, word: str) -> list[list[str]]:
        """The lines that begin with ``word``, without it."""
        lines = [line.split() for line in self._log.read_text().splitlines()]
        return [line[1:] for line in lines if line[0] == word]

    def order(self) -> list[str]:
        """What was told, whoever told it; the supervisor's log is there too."""
        words = [line.split()[0] for line in self._log.read_text().splitlines()]
        return [word for word in words if word in {"serves", "ready", "stopped"}]

    def complains(self, kind: str, reason: str) -> None:
        """Wait until the supervisor's log has a line of that kind, with the reason."""
        deadline = time.monotonic() + PATIENCE
        complaint = f"kind={kind} "
        while not any(
            complaint in line and reason in line for line in self._log.read_text().splitlines()
        ):
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.02)

    def wait(self, word: str, count: int = 1) -> list[list[str]]:
        """Wait for so many lines that begin with ``word``."""
        deadline = time.monotonic() + PATIENCE
        while len(told := self.told(word)) < count:
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.02)
        return told

    def pids(self, word: str) -> list[int]:
        return [int(pid) for _, pid in self.told(word)]

    def ends(self) -> int:
        """Its exit status."""
        return self.process.wait(PATIENCE)

    def fail_from_now_on(self) -> None:
        (self._folder / "fail").touch()


Supervise: TypeAlias = Callable[..., Supervised]


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Supervise]:
    started: list[Supervised] = []

    def start(count: int, patience: float = PATIENCE) -> Supervised:
        started.append(Supervised(tmp_path, count, patience))
        return started[-1]

    yield start
    for supervised in started:
        if supervised.process.poll() is None:
            supervised.process.terminate()
        supervised.ends()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_all_serve_and_all_stop(supervise: Supervise, number: signal.Signals) -> None:
    supervised = supervise(3)
    supervised.wait("ready")
    assert sorted(worker for worker, _ in supervised.told("serves")) == ["1", "2", "3"]
    supervised.process.send_signal(number)
    assert supervised.ends() == 0
    assert sorted(supervised.pids("stopped")) == sorted(supervised.pids("serves"))
    assert len(supervised.told("ready")) == 1


def test_a_worker_that_ends_is_started_anew(supervise: Supervise) -> None:
    supervised = supervise(2)
    supervised.wait("ready")
    ((number, pid), _) = supervised.told("serves")
    os.kill(int(pid), signal.SIGKILL)
    again = supervised.wait("serves", 3)[-1]
    assert again[0] == number
    assert again[1] != pid
    supervised.complains("worker_ended", "exit status -9")


def test_one_after_the_other_is_replaced(supervise: Supervise) -> None:
    supervised = supervise(2)
    supervised.wait("ready")
    first = supervised.pids("serves")
    supervised.process.send_signal(signal.SIGHUP)
    supervised.wait("stopped", 2)
    assert sorted(supervised.pids("stopped")) == sorted(first)
    assert len(set(supervised.pids("serves"))) == 4
    assert supervised.order() == ["serves"] * 2 + ["ready"] + ["serves", "stopped"] * 2


def test_workers_that_cannot_be_replaced_stay(supervise: Supervise) -> None:
    supervised = supervise(2)
    supervised.wait("ready")
    supervised.fail_from_now_on()
    supervised.process.send_signal(signal.SIGHUP)
    supervised.wait("failed")
    supervised.complains("worker_ended", "exit status 7")
    supervised.process.terminate()
    assert supervised.ends() == 0
    assert sorted(supervised.pids("stopped")) == sorted(supervised.pids("serves"))


def test_a_start_that_fails_ends_it_all(supervise: Supervise, tmp_path: Path) -> None:
    (tmp_path / "fail").touch()
    supervised = supervise(2)
    assert supervised.ends() == 7
    assert supervised.told("ready") == []


def test_a_signal_during_the_start(supervise: Supervise) -> None:
    supervised = supervise(2)
    supervised.wait("serves")
    supervised.process.terminate()
    assert supervised.ends() == 0
    assert sorted(supervised.pids("stopped")) == sorted(supervised.pids("serves"))


def test_a_worker_that_does_not_stop_is_killed(supervise: Supervise, tmp_path: Path) -> None:
    (tmp_path / "hang").touch()
    supervised = supervise(2, patience=0.1)
    supervised.wait("ready")
    supervised.process.terminate()
    assert supervised.ends() == 0
    supervised.complains("stop_cut_short", "the grace is over")
    for pid in supervised.pids("serves"):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
