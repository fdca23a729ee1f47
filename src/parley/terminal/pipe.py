"""The client for other programs, and for a quick check: each line of the input is a message.

Nothing is read from the server: messages that a person has not seen are not
marked received.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import Sequence
from typing import Final, TextIO

from parley.model import Chat, ChatId, UserId
from parley.terminal.client import Client, Draft
from parley.terminal.errors import Failure
from parley.terminal.text import one_line, say

_SHOWN: Final = 200
"""Characters of a message that are printed."""
_AHEAD: Final = 100
"""Lines that may have been read and not been sent."""


class Pipe:
    """Sends lines and tells which have been stored."""

    def __init__(self, *, timeout: float) -> None:
        """``timeout``: seconds in which the server must let us in, and store each line."""
        self._timeout = timeout
        self._online = asyncio.Event()
        self._settled = asyncio.Event()
        self._why = "it does not answer"
        self._failed = 0

    async def send(self, client: Client, receiver: UserId, lines: TextIO) -> bool:
        """Send each line when the one before is stored; True if all were.

        ``client`` must have this as its listener.

        Raises:
            Refused: as :meth:`Client.during`.
        """
        return await client.during(self._send_all(client, receiver, lines), patient=True)

    # -- Listener

    def connected(self) -> None:
        self._why = "it does not answer"
        self._online.set()

    def disconnected(self, why: str) -> None:
        self._why = why

    def stored(self, draft: Draft) -> None:
        self._settled.set()
        say(f"stored  {draft.id}  {one_line(draft.message, _SHOWN)}", sys.stdout)

    def postponed(self, failure: Failure) -> None:
        self._why = failure.message

    def failed(self, draft: Draft, failure: Failure) -> None:
        shown = one_line(draft.message, _SHOWN)
        _complain(f"Not stored: {shown} ({failure.message})")
        self._failed += 1
        self._settled.set()

    def delivered(self, chat_ids: Sequence[ChatId]) -> None:
        """Nobody waits for it."""

    def came(self, chat: Chat) -> None:
        """Never: the client does not read."""

    # -- within

    async def _send_all(self, client: Client, receiver: UserId, lines: TextIO) -> bool:
        try:
            async with asyncio.timeout(self._timeout):
                await self._online.wait()
            source = _Lines(lines)
            while (line := await source.next()) is not None:
                self._settled.clear()
                client.send(receiver, line)
                async with asyncio.timeout(self._timeout):
                    await self._settled.wait()
        except TimeoutError:
            what = "Not known to be stored" if client.waiting else "No connection"
            _complain(f"{what} within {self._timeout:g} s: {self._why}.")
            return False
        except OSError as error:
            _complain(f"The input cannot be read: {error.strerror}.")
            return False
        return not self._failed


def _complain(sentence: str) -> None:
    say(f"parley: {sentence}", sys.stderr)


class _Lines:
    """The lines that aren't blank, as they come.

    They are read in a thread that nobody waits for: it may wait for a line that
    never comes.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._room = threading.Semaphore(_AHEAD)
        self._read: asyncio.Queue[str | OSError | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._read_all, daemon=True).start()

    async def next(self) -> str | None:
        """The next one; None at the end.

        Raises:
            OSError: there is one, but it can't be read.
        """
        line = await self._read.get()
        self._room.release()
        if isinstance(line, OSError):
            raise line
        return line

    def _read_all(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
            try:
                for line in self._stream:
                    if line.strip():
                        self._put(line.rstrip("\r\n"))
                self._put(None)
            except OSError as error:
                self._put(error)

    def _put(self, line: str | OSError | None) -> None:
        self._room.acquire()
        self._loop.call_soon_threadsafe(self._read.put_nowait, line)
