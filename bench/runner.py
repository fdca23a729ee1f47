"""Measures: one run of the load generator after another."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from bench.errors import CannotRun
from bench.load.report import AnyReport, ChatReport, ConnectsReport, IdleReport, decode
from bench.machine import Host
from bench.plan import Measure, Turn
from bench.processes import ProcessGroup
from bench.results import DISTURBED, Omission, Run
from bench.servers import SECRET, Fleet, Server, Spec

ROOT: Final = Path(__file__).parents[1]
_PATIENCE: Final = 150.0
"""Seconds after which a run, however many connections it opens, is given up."""
_UNEVEN: Final = 1.5
"""Workers share connections out by chance: one may have so many times its share."""
_WARMING: Final = ("chat", "--receipts", "--warmup", "0.1")
"""What a server is put under before it is measured: some compile as they go."""
_LOOK: Final = 0.25
"""Seconds between two looks whether a server has become idle."""
_CALM_BY: Final = 20.0
"""Seconds after which it is no longer waited for."""
_IDLE: Final = 0.05
"""The part of a core that an idle server may use."""
_SPARE: Final = 500
"""File descriptors that a process needs for other things than clients."""


class Runner:
    """Takes measurements on servers that it starts as they are needed."""

    def __init__(
        self, fleet: Fleet, specs: Mapping[str, Spec], seconds: float, tell: Callable[[str], None]
    ) -> None:
        """Each run measures for ``seconds``; ``tell`` is called with lines for people to read."""
        self.runs: list[Run] = []
        self.omissions: list[Omission] = []
        self._warm: set[Server] = set()
        self._fleet, self._specs, self._seconds, self._tell = fleet, specs, seconds, tell

    def run(self, turns: Iterable[Turn]) -> Iterator[None]:
        """Do all that is planned, and come back after each run; what can't be done is left out.

        What was done until then is in ``runs``, and the rest in ``omissions``.
        """
        for turn in turns:
            yield from self._take(turn)

    def _take(self, turn: Turn) -> Iterator[None]:
        """One round after the other, in each of which every server has its turn."""
        measure = turn.measure
        self._tell(f"{measure.name}: {measure.title}")
        failed: set[str] = set()
        for number in range(1, turn.rounds + 1):
            for name in turn.servers:
                if name in failed:
                    continue
                try:
                    report, withheld = self._measure(self._server(turn, name), measure)
                except CannotRun as reason:
                    failed.add(name)
                    self._omit(measure, name, str(reason))
                else:
                    self.runs.append(Run(measure.name, name, number, report, withheld))
                    summary = f"{_summary(report)}{_disturbance(withheld)}"
                    self._tell(f"  {number}/{turn.rounds}  {name:<16} {summary}")
                yield

    def _server(self, turn: Turn, name: str) -> Server:
        """The server, ready to be measured.

        The others of its turn are up as well, and idle.
        """
        allow_descriptors(turn.measure.connections, self._specs[name].workers)
        servers = self._fleet.use([self._specs[each] for each in turn.servers])
        if name not in servers:
            raise CannotRun(self._fleet.obstacles[name])
        server = servers[name]
        if turn.measure.fresh:
            server.restart()
        elif server not in self._warm:
            self._load(server, (*_WARMING, "--seconds", str(self._seconds)))
            self._warm.add(server)
        server.settle()
        return server

    def _measure(self, server: Server, measure: Measure) -> tuple[AnyReport, float]:
        seconds = ("--seconds", str(self._seconds)) if measure.timed else ()
        return self._load(server, (*measure.load, *seconds))

    def _load(self, server: Server, arguments: Sequence[str]) -> tuple[AnyReport, float]:
        """What the load generator reports, and what the host withheld meanwhile."""
        mode, *options = arguments
        pids = [f"--pid={group}={pid}" for group, pid in server.pids.items()]
        host = Host()
        try:
            report = generate([mode, "--url", server.url, "--secret", SECRET, *pids, *options])
            return report, host.withheld()
        finally:
            wait_until_idle(server.pids.values())

    def _omit(self, measure: Measure, server: str, reason: str) -> None:
        self.omissions.append(Omission(measure.name, server, reason))
        self._tell(f"  left out: {server}, {reason}")


def generate(arguments: list[str]) -> AnyReport:
    """Run the load generator and return what it reports.

    Raises:
        CannotRun: it could not measure, or not in time.
    """
    generator = subprocess.Popen(
        [sys.executable, "-m", "bench.load", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # it and its children can be ended as one
    )
    try:
        output, complaints = generator.communicate(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        raise CannotRun(f"it takes longer than {_PATIENCE:.0f} s") from None
    finally:
        with suppress(ProcessLookupError):  # usually nothing of it is left
            os.killpg(generator.pid, signal.SIGKILL)
        generator.wait()
    try:
        return decode(output)
    except msgspec.DecodeError:
        raise CannotRun(_last_line(complaints.decode(errors="replace"))) from None


def wait_until_idle(pids: Iterable[int]) -> None:
    """Return when these processes, and their descendants, have next to nothing to do.

    A server that could not keep up works on when the clients have left, and would disturb the
    next.  Returns in any case when that takes too long.
    """
    group = ProcessGroup(pids)
    deadline = time.monotonic() + _CALM_BY
    before = group.cpu_time()
    while time.monotonic() < deadline:
        time.sleep(_LOOK)
        now = group.cpu_time()
        if now.since(before).total < _IDLE * _LOOK:
            return
        before = now


def allow_descriptors(connections: int, workers: int) -> None:
    """Let the processes that are started from now on have so many connections open, together.

    Raises:
        CannotRun: a limit of this machine is lower.
    """
    share = connections if workers == 1 else round(_UNEVEN * connections / workers)
    needed = share + _SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= needed:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, max(needed, hard)))
    except (ValueError, OSError):
        raise CannotRun(
            f"a process may have only {hard:,} file descriptors open here (ulimit -Hn)"
        ) from None


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:200] if lines else "the load generator says nothing"


def _disturbance(withheld: float) -> str:
    return f"  (the host withheld {withheld:.0%})" if withheld > DISTURBED else ""


def _summary(report: AnyReport) -> str:
    """The figures that tell most, for whoever watches."""
    usage = report.usage["server"].cpu_us
    counts = ", ".join(f"{count:,} {what}" for what, count in report.flaws.items())
    flawed = f"  FLAWS: {counts}" if counts else ""
    match report:
        case ChatReport():
            p99 = report.latency.p99_ms
            behind = "" if report.kept_up else f", {report.undelivered:,} undelivered"
            figures = f"{report.delivered_per_s:9,.0f} messages/s {usage} µs, p99 {p99} ms{behind}"
            return f"{figures}{flawed}"
        case ConnectsReport():
            return f"{report.connects_per_s:9,.0f} connects/s {usage} µs{flawed}"
        case IdleReport():
            memory = report.memory_per_connection_bytes["server"]
            return f"{report.connections:9,} connections of {memory} bytes{flawed}"
