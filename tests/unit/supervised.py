"""What test_supervisor.py runs: a supervisor of workers that tell what they do, line by line."""

from __future__ import annotations

import os
import signal
import sys
import time
from multiprocessing.synchronize import Event
from pathlib import Path

from parley.supervisor import Supervisor


def tell(*words: object) -> None:
    """One line in one write, so that those of several processes do not mix."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def work(folder: Path, number: int, ready: Event) -> None:
    """Serve until SIGTERM; files make a worker ``fail`` at its start, or ``hang`` at its end."""
    stopped = []
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    if (folder / "hang").exists():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if (folder / "fail").exists():
        tell("failed", number, os.getpid())
        sys.exit(7)
    tell("serves", number, os.getpid())
    ready.set()
    while not stopped:
        time.sleep(0.01)
    tell("stopped", number, os.getpid())


if __name__ == "__main__":
    arguments = (Path(sys.argv[1]),)
    supervisor = Supervisor(work, arguments, int(sys.argv[2]), patience=float(sys.argv[3]))
    sys.exit(supervisor.run(lambda: tell("ready")))
