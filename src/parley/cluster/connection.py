"""One end of a link between two nodes: frames, heartbeat, loss."""

from __future__ import annotations

import asyncio
import logging
from typing import cast

import msgspec

from parley.cluster.wire import Beat, FrameReader, Message, WireError, encode
from parley.incidents import Incident, tell

logger = logging.getLogger(__name__)


class LinkOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds and deadlines of a link.  Times in seconds, sizes in bytes."""

    max_frame: int = 64 * 1024 * 1024
    """Of one call or answer; what a session takes along when it moves is the largest."""
    max_backlog: int = 256 * 1024 * 1024
    """What may wait for the other side to read; above that the link is given up."""
    max_calls: int = 100_000
    """Under way at a time; each held polling request is one."""
    max_unproven: int = 256
    """Connections to a node that have not proven yet that they may be there; above that, the
    oldest of them is closed."""
    connect_timeout: float = 3.0
    """For a connection and both proofs."""
    close_timeout: float = 1.0
    """In which the last answers of a node that stops must leave."""
    beat: float = 5.0
    """Between two signs of life."""
    missed_beats: int = 3
    """After so many beats in which nothing arrived, the other side counts as dead."""


class Connection(asyncio.Protocol):
    """What both ends have in common.  A subclass proves itself, and takes the messages."""

    def __init__(self, options: LinkOptions) -> None:
        self._options = options
        self._transport: asyncio.Transport
        self._reader = FrameReader(options.max_frame)
        self._arrived = bytearray()
        """Of the proofs; empty afterwards."""
        self._proven = False
        self.reason = "the other side closed it"
        """Why it has ended, once it has."""
        self._silent_beats = 0
        self._timer: asyncio.TimerHandle | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when nothing arrives any more."""

    @property
    def open(self) -> bool:
        """Both sides have proven themselves, and nothing has gone wrong since."""
        return self._proven and not self._transport.is_closing()

    def send(self, message: Message) -> None:
        """Send it, unless the connection is closing.  Raises TooLarge."""
        if self._transport.is_closing():
            return
        frame = encode(message, self._options.max_frame)
        if self._transport.get_write_buffer_size() + len(frame) > self._options.max_backlog:
            self.lose("the other side does not read")
            return
        self._transport.write(frame)

    def lose(self, reason: str) -> None:
        """End it at once.  Idempotent."""
        if not self._transport.is_closing():
            self.reason = reason
            self._transport.abort()

    async def close(self) -> None:
        """End it; give what was sent a little time to leave.  Idempotent."""
        if not self._transport.is_closing():
            self.reason = "it was closed"
            self._transport.close()
        try:
            async with asyncio.timeout(self._options.close_timeout):
                await asyncio.shield(self.ended)
        except TimeoutError:
            self._transport.abort()
            await self.ended

    # -- for subclasses

    def _prove(self) -> None:
        """Look at what has ``_arrived``, and call :meth:`_begin` when it is all there."""
        raise NotImplementedError

    def _receive(self, message: Message) -> None:
        """Do what the message wants.  Raises WireError if it is not for this side."""
        raise NotImplementedError

    def _take(self, size: int) -> bytes:
        """The first bytes of ``_arrived``, which loses them."""
        taken = bytes(self._arrived[:size])
        del self._arrived[:size]
        return taken

    def _begin(self) -> None:
        """The other side is who it should be."""
        self._proven = True
        self._beat()
        early, self._arrived = bytes(self._arrived), bytearray()
        if early:
            self._read(early)

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's has another base class

    def data_received(self, data: bytes) -> None:
        self._silent_beats = 0
        if self._proven:
            self._read(data)
        else:
            self._arrived += data
            self._prove()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self.ended.done():
            self.ended.set_result(None)

    # -- within

    def _read(self, data: bytes) -> None:
        try:
            for message in self._reader.feed(data):
                if not isinstance(message, Beat):
                    self._receive(message)
        except WireError as error:
            text = "a link between nodes is given up"
            tell(logger, Incident.LINK_REFUSED, text, reason=error, subject="words")
            self.lose(str(error))

    def _beat(self) -> None:
        if self._silent_beats >= self._options.missed_beats:
            self.lose("the other side is silent")
            return
        self._silent_beats += 1
        self.send(Beat())
        self._timer = asyncio.get_running_loop().call_later(self._options.beat, self._beat)
