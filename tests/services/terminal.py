"""A program on a terminal of its own, and somebody who reads and types there."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PATIENCE: Final = 30.0
"""Seconds after which whoever waits for something gives up."""
ENTER: Final = "\r"
CTRL_C: Final = "\x03"
CTRL_D: Final = "\x04"

_WHERE_IS_THE_CURSOR: Final = b"\x1b[6n"
_CURSOR_IS_AT_THE_TOP: Final = b"\x1b[1;1R"
_ROWS, _COLUMNS = 50, 400
"""So wide that no line is broken."""
_MOVEMENTS: Final = re.compile(r"\x1b\[[\d;]*[A-HJK]|\r+\n?")
_SEQUENCES: Final = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours, movements
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # titles
    r"|\x1b[ -/]*[0-~]"
)


class Terminal:
    """What a program has written to its terminal, and the keys that it is sent."""

    def __init__(
        self,
        *arguments: str,
        folder: Path,
        environment: Mapping[str, str],
        kind: str = "xterm-256color",
    ) -> None:
        """Run ``python -m parley`` with ``arguments`` in ``folder``.

        ``kind`` of terminal that it is said to be.
        """
        self._written = b""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, _COLUMNS, 0, 0))
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "parley", *arguments],
                cwd=folder,
                env={**environment, "TERM": kind},
                stdin=slave,
                stdout=slave,
                stderr=slave,
                start_new_session=True,
            )
        finally:
            os.close(slave)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def raw(self) -> str:
        """All that was written, with colours and movements."""
        return self._written.decode("utf-8", "replace")

    @property
    def text(self) -> str:
        """All that was written, without colours; whatever the cursor jumped to is a new line."""
        return _SEQUENCES.sub("", _MOVEMENTS.sub("\n", self.raw))

    def echoes(self) -> bool:
        """Whether the terminal itself shows what is typed, as it does for shells' commands."""
        return bool(termios.tcgetattr(self._master)[3] & termios.ECHO)

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._master, keys.encode())

    def enter(self, line: str) -> None:
        """Type a line."""
        self.type(line + ENTER)

    def wait_for(self, pattern: str, count: int = 1) -> list[str]:
        """What the pattern matched, once it has matched so many times."""
        deadline = time.monotonic() + PATIENCE
        while len(found := re.findall(pattern, self.text, re.MULTILINE)) < count:
            assert time.monotonic() < deadline, f"{pattern!r} is not in:\n{self.text}"
            time.sleep(0.02)
        return found

    def wait(self) -> int:
        """Wait for the end of the program; its exit status."""
        status = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return status

    def close(self) -> None:
        """End the program, if it has not ended, and take its terminal away."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.wait()
        os.close(self._master)

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # how Linux tells that the other side is closed
            while some := os.read(self._master, 65536):
                self._written += some
                # Terminals are asked where their cursor is, and answer.
                os.write(self._master, _CURSOR_IS_AT_THE_TOP * some.count(_WHERE_IS_THE_CURSOR))


@contextmanager
def on_terminal(
    *arguments: str, folder: Path, environment: Mapping[str, str], kind: str = "xterm-256color"
) -> Iterator[Terminal]:
    """A program on a terminal, which is gone in the end."""
    terminal = Terminal(*arguments, folder=folder, environment=environment, kind=kind)
    try:
        yield terminal
    finally:
        terminal.close()
