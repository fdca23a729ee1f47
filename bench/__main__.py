"""``python -m bench``: measures Parley beside its peers, and writes down what came out."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Final

from bench.errors import CannotRun
from bench.machine import commit, describe
from bench.page import fill
from bench.plan import MEASURES, QUICK, Turn, length, plan
from bench.plots import draw
from bench.results import Results, load
from bench.runner import ROOT, Runner
from bench.servers import catalogue, fleet
from bench.services import services
from bench.tables import NOT_MEASURED, blocks

PAGE: Final = ROOT / "docs" / "performance.md"
PUBLISHED: Final = ROOT / "docs" / "performance"
UNPUBLISHED: Final = ROOT / "build" / "bench"
_INTERRUPTED: Final = 130
_DESCRIPTION: Final = """\
Measures Parley side by side with its peers on this machine. Every measure is taken of one server
after the other, several rounds long, and medians are told. A whole run takes about 35 minutes
on two cores; it is written to docs/performance.md and docs/performance/. What is chosen by
--only, --servers or --quick is written to build/bench/ instead, and so is what an interrupted run
has measured. Needs 10 GB of disk, and Node.js for those peers that are written for it; what can't
be measured here is left out by name."""


def main() -> int:
    """Measure, or report once more; returns the exit status."""
    signal.signal(signal.SIGTERM, _interrupt)
    options = _parse()
    if options.report:
        _write_down(load(options.report), publish=options.report.parent == PUBLISHED)
        return 0
    return measure(options)


def measure(options: argparse.Namespace) -> int:
    """Measure what is wished, and write it down, or as much of it as there is in the end."""
    results = None
    try:
        with closing(_measure(options)) as measured:
            for results in measured:
                _save(results, UNPUBLISHED)  # whatever happens later, this is there
    except CannotRun as reason:
        print(f"bench: {reason}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if results is not None:
            _write_down(results, publish=False)
        print("bench: interrupted; all that was started has been stopped", file=sys.stderr)
        return _INTERRUPTED
    if results is not None:
        _write_down(results, publish=not (options.only or options.servers or options.quick))
    return 0


def _measure(options: argparse.Namespace) -> Generator[Results]:
    """What has been measured so far, after each run."""
    began, checked_out = datetime.now(UTC), commit(ROOT)
    specs = catalogue(options.server)
    seconds = 2.0 if options.quick else options.seconds
    turns = _turns(options)
    if not turns:
        raise CannotRun("nothing of that is measured on any of these servers")
    _tell(f"about {math.ceil(length(turns, seconds) / 60)} minutes on two cores")
    with tempfile.TemporaryDirectory(prefix="parley-bench-", dir=options.folder) as name:
        folder = Path(name)
        folder.chmod(0o711)  # PostgreSQL refuses to be root, and must find its own folder
        (folder / "postgres").mkdir()
        with services(folder / "postgres") as stores, fleet(stores, folder, _tell) as servers:
            machine = describe(folder, stores.version())
            runner = Runner(servers, specs, seconds, _tell)
            for _ in runner.run(turns):
                yield Results(
                    date=began.isoformat(timespec="seconds"),
                    commit=checked_out,
                    command=shlex.join(["python", "-m", "bench", *sys.argv[1:]]),
                    machine=machine,
                    servers={name: spec.title for name, spec in specs.items()},
                    runs=list(runner.runs),
                    omissions=list(runner.omissions),
                )


def _turns(options: argparse.Namespace) -> list[Turn]:
    chosen = options.only or (QUICK if options.quick else MEASURES)
    return list(
        plan(
            [MEASURES[name] for name in chosen],
            options.servers,
            [name for name, _ in options.server],
            1 if options.quick else options.rounds,
        )
    )


def _save(results: Results, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    results.save(folder / "results.json")


def _write_down(results: Results, *, publish: bool) -> None:
    """Print the tables, and keep all of it in files."""
    folder = PUBLISHED if publish else UNPUBLISHED
    _save(results, folder)
    draw(results, folder)
    tables = blocks(results)
    for name, text in tables.items():
        if text != NOT_MEASURED:
            print(f"\n## {name}\n\n{text}")
    if publish:
        PAGE.write_text(fill(PAGE.read_text(), tables))
    print(f"\nWritten to {os.path.relpath(folder)}.", file=sys.stderr)


def _parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=_DESCRIPTION)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=MEASURES,
        metavar="MEASURE",
        help=f"of {', '.join(MEASURES)}",
    )
    names = ", ".join(catalogue())
    parser.add_argument("--servers", nargs="+", default=[], metavar="SERVER", help=f"of {names}")
    parser.add_argument(
        "--server",
        action="append",
        default=[],
        type=_named_folder,
        metavar="NAME=DIR",
        help="one more server, started by DIR/run.sh; may be repeated",
    )
    parser.add_argument(
        "--rounds", type=int, help="runs of each measurement (1 to 5, by what it varies and takes)"
    )
    parser.add_argument("--seconds", type=float, default=4.0, help="that a run measures (4)")
    parser.add_argument("--quick", action="store_true", help="one short round of what tells most")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("/var/tmp"),  # noqa: S108 - a folder with a random name is made in it
        help="where databases are kept meanwhile; it must be on a disk (/var/tmp)",
    )
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="measure nothing; tables and plots from FILE"
    )
    options = parser.parse_args(arguments)
    unknown = set(options.servers) - catalogue(options.server).keys()
    if unknown:
        parser.error(f"no such servers: {', '.join(sorted(unknown))}")
    if options.report:
        options.report = options.report.resolve()
    return options


def _named_folder(text: str) -> tuple[str, Path]:
    name, _, folder = text.partition("=")
    if not name or not (Path(folder) / "run.sh").is_file():
        raise argparse.ArgumentTypeError(f"not NAME=DIR with a run.sh in DIR: {text}")
    return name, Path(folder)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
