"""A connection to PostgreSQL that runs a statement with little work: for commits.

The driver connects and logs in; then its connection is taken over.  Where each
message is a commit, running a statement costs the driver more than all the rest
of it costs us.  Everything goes as text, which PostgreSQL casts as the statement
says, but for UUIDs: reading them as text would cost it a tenth of a commit.

The messages are those of the protocol's version 3, "extended query":
https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

from __future__ import annotations

import asyncio
import os
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, TypeAlias

import asyncpg

from parley.answer import Answer
from parley.store.postgres_connect import LOST

Row: TypeAlias = tuple[Any, ...]
"""Of texts, and None for NULL."""
Argument: TypeAlias = str | Sequence[str]
"""A text, or UUIDs for an array of them; at least one."""

_LENGTH: Final = struct.Struct("!I")
_COUNT: Final = struct.Struct("!H")
_HEADER: Final = 5
"""Bytes: a message's kind, and its length, which includes itself but not the kind."""
_NULL: Final = 2**32 - 1
_ARRAY: Final = struct.Struct("!5I")
_UUID_TYPE: Final = 2950
_UUID_SIZE: Final = f"{16:08x}"
"""In hexadecimal digits."""
MAX_ANSWER: Final = 64 * 2**20
"""Bytes of all that one statement is answered with."""
_DATA_ROW, _ERROR, _READY = b"DEZ"
_QUOTING: Final = "DWq"
"""Fields of an error that may quote what was to be stored, which isn't for the log: its detail, its
context, and the query of a trigger."""


def _message(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return kind + _LENGTH.pack(_LENGTH.size + len(body)) + body


# The unnamed portal, and all of its rows.
_EXECUTE: Final = _message(b"E", b"\0", _LENGTH.pack(0)) + _message(b"S")
_ALL_AS_TEXT: Final = _COUNT.pack(0)
_AS_TEXT, _AS_BINARY = _COUNT.pack(0), _COUNT.pack(1)


def _parse(name: bytes, statement: str) -> bytes:
    return _message(b"P", name, b"\0", statement.encode(), b"\0", _COUNT.pack(0))


def _bind(name: bytes, arguments: Sequence[Argument]) -> bytes:
    count = _COUNT.pack(len(arguments))
    formats, values = [count], [count]
    for argument in arguments:
        if isinstance(argument, str):
            formats.append(_AS_TEXT)
            value = argument.encode()
        else:
            formats.append(_AS_BINARY)
            value = _uuids(argument)
        values += (_LENGTH.pack(len(value)), value)
    return _message(b"B", b"\0", name, b"\0", *formats, *values, _ALL_AS_TEXT)


def _uuids(items: Sequence[str]) -> bytes:
    # As array_send of PostgreSQL has it: one dimension, no NULLs, the elements' type, how many they
    # are, and the first's index; then each element after its size.
    digits = _UUID_SIZE + _UUID_SIZE.join(items).replace("-", "")
    return _ARRAY.pack(1, 0, _UUID_TYPE, len(items), 1) + bytes.fromhex(digits)


class Garbled(ConnectionError):
    """What arrived is nothing that PostgreSQL sends."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the server sent {what}")


def _row(message: bytes | bytearray) -> Row:
    (count,) = _COUNT.unpack_from(message, _HEADER)
    position = _HEADER + _COUNT.size
    row: list[str | None] = []
    for _ in range(count):
        (size,) = _LENGTH.unpack_from(message, position)
        position += _LENGTH.size
        if size == _NULL:
            row.append(None)
        else:
            row.append(message[position : position + size].decode())
            position += size
    if position != len(message):
        raise Garbled("a row whose size is wrong")
    return tuple(row)


def _error(message: bytes | bytearray) -> Exception:
    fields = message[_HEADER:].decode(errors="replace").split("\0")
    told = {field[0]: field[1:] for field in fields if field and field[0] not in _QUOTING}
    error = asyncpg.PostgresError.new(told)
    # Its state says of what kind it is; some are of no error's.
    return error if isinstance(error, asyncpg.PostgresError) else Garbled("no error for an error")


def _plain_socket(transport: asyncio.WriteTransport) -> int | None:
    """The descriptor to which bytes can be written as they are; None: only the transport can."""
    if sys.platform == "win32" or transport.get_extra_info("sslcontext") is not None:
        return None
    descriptor: int = transport.get_extra_info("socket").fileno()
    return descriptor


class Wire(asyncio.Protocol):
    """An open connection, with one statement at a time."""

    def __init__(self, connection: Any, *, keep: bool) -> None:
        """Take the driver's ``connection`` over; ``keep`` statements prepared on it."""
        self._connection = connection
        self._transport = connection._transport  # noqa: SLF001  (there is no public way)
        self._driver = self._transport.get_protocol()
        self._transport.set_protocol(self)
        self._keep = keep
        self._names: dict[str, bytes] = {}
        """Of the statements that are prepared."""
        self._socket = _plain_socket(self._transport)
        self._answer: Answer[list[Row]] | None = None
        self._rows: list[Row] = []
        self._error: Exception | None = None
        self._rest: bytes | bytearray = b""
        """The beginning of a message."""
        self._arrived = 0
        """Bytes since the last statement was sent."""
        self.lost = False
        """The connection is closed, by whomever."""

    def run(self, statement: str, arguments: Sequence[Argument]) -> Answer[list[Row]]:
        """Run a statement, a transaction of its own; its rows follow.

        After an error the connection is of no more use: abort it.

        Raises:
            asyncpg.PostgresError: the server says so.
            ConnectionError: the connection was lost; whether the statement was carried out is
                unknown.
            ValueError: an argument is no text, since it holds a lone surrogate, or no UUIDs.
        """
        name = self._names.get(statement, b"")
        parse = b""
        if not name:
            if self._keep:
                self._names[statement] = name = b"parley_%d" % len(self._names)
            parse = _parse(name, statement)
        answer = self._answer = Answer()
        self._arrived = 0
        if self.lost:
            self._fail(ConnectionError(LOST))
        else:
            try:
                self._send(parse + _bind(name, arguments) + _EXECUTE)
            except (OSError, ValueError) as error:
                self._fail(error)
        return answer

    def abort(self, reason: Exception) -> None:
        """Close the connection without a word; whatever runs fails with ``reason``.  Idempotent."""
        self.lost = True
        self._transport.set_protocol(self._driver)
        self._connection.terminate()
        self._fail(reason)

    async def close(self) -> None:
        """Say goodbye to the server and close the connection, within a second."""
        self.lost = True
        self._transport.set_protocol(self._driver)
        await self._connection.close(timeout=1)

    # -- asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        self._arrived += len(data)
        buffer: bytes | bytearray = data
        if self._rest:
            self._rest += data
            buffer = self._rest
        try:
            start = self._read(buffer)
            if self._arrived > MAX_ANSWER:
                raise Garbled("an answer without an end")
        except Garbled as error:
            self.abort(error)
        except (struct.error, UnicodeDecodeError) as error:
            self.abort(Garbled(f"what can't be read ({error})"))
        else:
            if start == len(buffer):
                self._rest = b""
            elif isinstance(buffer, bytearray):
                del buffer[:start]
            else:
                self._rest = bytearray(buffer[start:])

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._driver.connection_lost(exc)
        # The server may have said why before.
        self._fail(self._error or exc or ConnectionError(LOST))

    # -- within

    def _read(self, data: bytes | bytearray) -> int:
        """Take the whole messages in it, and return where the first unfinished one begins."""
        start, size = 0, len(data)
        while size - start >= _HEADER:
            (length,) = _LENGTH.unpack_from(data, start + 1)
            if length < _LENGTH.size:
                raise Garbled("a message without a size")
            end = start + 1 + length
            if end > size:
                break
            kind = data[start]
            if kind == _DATA_ROW:
                self._rows.append(_row(data[start:end]))
            elif kind == _ERROR:
                self._error = _error(data[start:end])
            elif kind == _READY:
                self._finish()
            start = end
        return start

    def _send(self, data: bytes) -> None:
        # uvloop's transport would write at the end of the loop's turn: after all else that has
        # arrived has been dealt with, while the server waits.
        if self._socket is not None and not self._transport.get_write_buffer_size():
            with suppress(BlockingIOError):
                data = data[os.write(self._socket, data) :]
        if data:
            self._transport.write(data)

    def _finish(self) -> None:
        if self._error is not None:
            self._fail(self._error)
        elif self._answer is not None:
            answer, self._answer = self._answer, None
            rows, self._rows = self._rows, []
            answer.set(rows)

    def _fail(self, reason: Exception) -> None:
        if self._answer is not None:
            answer, self._answer = self._answer, None
            answer.fail(reason)
