"""HTTP/1.1 with bounds: uvicorn's protocol, which has none for what a client sends.

Nothing of a request reaches the application before its head is complete and
within :class:`~parley.socketio.door.Bounds`.  A refusal is a short answer where
one can be told from the answers before it, and the end of the connection.
"""

from __future__ import annotations

import enum
from http import HTTPStatus
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from parley.socketio.deadlines import Deadline
from parley.socketio.door import Door, Refusal, Waiting

_STATUS: Final = {
    Refusal.HEAD_TIMEOUT: HTTPStatus.REQUEST_TIMEOUT,
    Refusal.HEAD_TOO_LARGE: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    Refusal.MALFORMED: HTTPStatus.BAD_REQUEST,
}
"""The others have no answer."""
_LINE: Final = len(": \r\n")


class Awaited(enum.Enum):
    """What a client is to send next."""

    REQUEST = enum.auto()
    HEAD = enum.auto()
    """The rest of it."""
    BODY = enum.auto()
    """The rest of it, or its end."""
    NOTHING = enum.auto()
    """It is our turn."""
    END = enum.auto()
    """It has been refused; what comes is dropped."""


class TooMuch(Exception):
    """Out of the parser's callbacks: the request breaks a bound."""


class BoundedHttp(HttpToolsProtocol, Waiting):
    """One connection that isn't a WebSocket, or not known to be one yet."""

    def __init__(self, door: Door, config: Any, server_state: Any, app_state: Any) -> None:
        HttpToolsProtocol.__init__(self, config, server_state, app_state)
        Waiting.__init__(self)
        self._door = door
        self._awaited = Awaited.REQUEST
        self._asked = False
        """A request has come."""
        self._unanswered = 0
        """Requests whose head has come, and whose answer isn't complete."""
        self._overhead = 0
        """Bytes that came since there was something of a body, or a new request."""
        self._why = Refusal.MALFORMED
        """What it is, if the parser fails."""
        self._reader: Deadline | None = None
        """Present once something was left unread."""
        self._unsent = 0

    # -- asyncio.Protocol

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._door.wait(self, self._door.bounds.head_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._finish()

    def data_received(self, data: bytes) -> None:
        if self._awaited is Awaited.END:
            return
        self._overhead += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self._refuse(self._why)
        except httptools.HttpParserUpgrade:
            if self._should_upgrade():
                self._finish()
                self.handle_websocket_upgrade()
        else:
            if self._overhead > self._door.bounds.max_head:
                self._refuse(Refusal.HEAD_TOO_LARGE)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader()

    # -- Waiting

    def due(self) -> None:
        self._door.leave(self)
        match self._awaited:
            case Awaited.REQUEST if not self._asked:
                self._refuse(Refusal.SILENT)
            case Awaited.HEAD:
                self._refuse(Refusal.HEAD_TIMEOUT)
            case Awaited.BODY if not self._unanswered:
                self._refuse(Refusal.BODY_UNREAD)
            case Awaited.BODY:
                self._refuse(Refusal.BODY_TIMEOUT)
            case _:  # nothing that is worth telling
                self._end()

    def turn_away(self) -> None:
        self.transport.abort()

    # -- the parser's callbacks

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._awaited is not Awaited.REQUEST:  # pipelined: what came before it doesn't count
            self._overhead = 0
        self._awaited = Awaited.HEAD
        self._door.deadlines.arm(self, self._door.bounds.head_timeout)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._awaited is Awaited.HEAD:  # else it is a trailer, which nobody asks for
            super().on_header(name, value)
            if len(self.headers) > self._door.bounds.max_headers:
                self._give_up(Refusal.HEAD_TOO_LARGE)

    def on_headers_complete(self) -> None:
        bounds = self._door.bounds
        size = sum(len(name) + len(value) + _LINE for name, value in self.headers)
        if len(self.url) + size > bounds.max_head:
            self._give_up(Refusal.HEAD_TOO_LARGE)
        if len(self.pipeline) >= bounds.max_pipelined:
            self._give_up(Refusal.PIPELINE)
        self._door.leave(self)
        self._awaited = Awaited.BODY
        self._door.deadlines.arm(self, bounds.body_timeout)
        self._asked = True
        self._overhead = 0
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:  # else a WebSocket's handshake
            self._unanswered += 1

    def on_body(self, body: bytes) -> None:
        self._overhead = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._overhead = 0
        self._door.deadlines.cancel(self)
        self._awaited = Awaited.NOTHING
        super().on_message_complete()
        if not self._unanswered:
            self._await_request()

    # -- the answers

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._unset_keepalive_if_required()  # the door waits for the next request
        self._unanswered -= 1
        self._watch_reader()
        if not self._unanswered and not self.transport.is_closing():
            if self._awaited is Awaited.BODY:
                self._door.deadlines.arm(self, self._door.bounds.linger)
            elif self._awaited is Awaited.NOTHING:
                self._await_request()

    # -- within

    def _await_request(self) -> None:
        self._overhead = 0
        self._awaited = Awaited.REQUEST
        self._door.wait(self, self._door.bounds.keep_alive)

    def _give_up(self, why: Refusal) -> None:
        self._why = why
        raise TooMuch

    def _refuse(self, why: Refusal) -> None:
        """Say why, if that can't be taken for the answer to another request; and read no more."""
        door, status = self._door, _STATUS.get(why)
        door.leave(self)
        door.refuse(why)
        if status is None or self._unanswered:
            self._end()
            return
        self._awaited = Awaited.END
        self.transport.write(
            f"HTTP/1.1 {status.value} {status.phrase}\r\n"
            "connection: close\r\ncontent-length: 0\r\n\r\n".encode()
        )
        if self.transport.can_write_eof():
            self.transport.write_eof()
        door.deadlines.arm(self, door.bounds.linger)

    def _end(self) -> None:
        """Close it, and wait for nobody to read what is left."""
        self._awaited = Awaited.END
        self.transport.abort()

    def _watch_reader(self) -> None:
        """Something is ready for the client: it must be read."""
        self._unsent = self.transport.get_write_buffer_size()
        if self._unsent:
            if self._reader is None:
                self._reader = Deadline(self._look_whether_it_reads)
            self._door.deadlines.arm(self._reader, self._door.bounds.read_timeout)

    def _finish(self) -> None:
        """It is no HTTP connection any more."""
        self._awaited = Awaited.END
        self._door.leave(self)
        if self._reader is not None:
            self._door.deadlines.cancel(self._reader)
        # All these hold this protocol. Garbage in circles would stay until the collector comes by,
        # which it seldom does in a server, and a flood makes a lot of it.
        self._reader = self.cycle = self.parser = None  # type: ignore[assignment]

    def _look_whether_it_reads(self) -> None:
        before = self._unsent
        if self.transport.get_write_buffer_size() < before:
            self._watch_reader()
        else:
            self._door.refuse(Refusal.UNREAD)
            self._end()
