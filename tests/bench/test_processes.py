"""CPU time and memory of process trees are told in full."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from bench.processes import CpuTime, ProcessGroup

TICK = 1 / os.sysconf("SC_CLK_TCK")

# It works in a thread that ends, in a child that ends and in a child that lives. Then it says how
# much it has worked, and waits.
PROGRAM = """
import json, resource, subprocess, sys, threading, time

def work(clock):
    end = clock() + 0.1
    while clock() < end:
        pass

thread = threading.Thread(target=work, args=(time.thread_time,))
thread.start()
thread.join()
ended = "import time\\nwhile time.process_time() < 0.1: pass"
subprocess.run([sys.executable, "-c", ended], check=True)
lives = ended + "\\nimport sys\\nprint(flush=True)\\nsys.stdin.read()"
child = subprocess.Popen([sys.executable, "-c", lives], stdin=sys.stdin, stdout=subprocess.PIPE)
child.stdout.readline()
block = bytearray(b"x" * 20_000_000)
children = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({
    "own": time.process_time(),
    "ended": children.ru_utime + children.ru_stime,
    "pid": child.pid,
}), flush=True)
child.wait()
"""


@pytest.fixture(scope="module")
def worker() -> Iterator[tuple[int, dict[str, Any]]]:
    """Its process id, and what it says."""
    command = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield process.pid, json.loads(process.stdout.readline())
        assert process.stdin is not None
        process.stdin.close()


def test_the_time_of_ended_threads_and_children_counts(
    worker: tuple[int, dict[str, Any]],
) -> None:
    pid, said = worker
    living = ProcessGroup([said["pid"]]).cpu_time().total
    assert living >= 0.1
    # The time of children that have ended is kept in ticks, for user and system each.
    expected = said["own"] + said["ended"] + living - 2 * TICK
    assert ProcessGroup([pid]).cpu_time().total >= expected


def test_a_process_counts_once_however_often_it_is_named(
    worker: tuple[int, dict[str, Any]],
) -> None:
    pid, said = worker
    once = ProcessGroup([pid])
    often = ProcessGroup([pid, said["pid"], pid])
    before = once.cpu_time().total
    assert before <= often.cpu_time().total <= once.cpu_time().total


def test_memory_is_of_the_whole_tree(worker: tuple[int, dict[str, Any]]) -> None:
    pid, said = worker
    child = ProcessGroup([said["pid"]]).memory()
    assert child > 0
    assert ProcessGroup([pid]).memory() > 20_000_000 + child


def test_a_group_has_ended_when_one_of_its_processes_has() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    group = ProcessGroup([os.getpid(), ended.pid])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # it stays as a zombie
    assert group.has_ended()
    ended.wait()
    assert group.has_ended()
    assert not ProcessGroup([os.getpid()]).has_ended()
    assert ProcessGroup([ended.pid]).cpu_time() == CpuTime(0, 0, 0)
    assert ProcessGroup([ended.pid]).memory() == 0


def test_a_difference_is_split_as_the_ticks_are() -> None:
    earlier = CpuTime(total=1.0, user=0.6, system=0.3)
    later = CpuTime(total=3.0, user=1.2, system=0.5)
    used = later.since(earlier)
    assert (used.total, used.user, used.system) == pytest.approx((2.0, 1.5, 0.5))
    assert later.since(later) == CpuTime(0, 0, 0)
