"""One connection to a Redis server: commands out, replies in.  It speaks RESP3.

A library would cost several times as much for each message; what is hot here is
done by hiredis' parser and one ``join`` for each turn of the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple, cast

import hiredis

from parley.errors import BusBroken, BusUnavailable
from parley.incidents import fault
from parley.redis_options import RedisOptions, unquoted

logger = logging.getLogger(__name__)

MAX_UNSENT: Final = 8 * 2**20
"""Bytes that may wait for a server that doesn't read."""
MAX_REPLY: Final = 32 * 2**20
"""Bytes of one reply."""
TURN: Final = 128
"""Replies that are passed on before others get their turn: each may go to hundreds of devices."""

_MESSAGES: Final = (b"message", b"smessage")
_MISSING: Final = object()
_PASSING: Final = ("LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "ERR max number")
"""What errors begin with that go away by themselves."""


class Address(NamedTuple):
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def command(*words: bytes) -> bytes:
    """A command as it is sent."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words)


class RedisConnection(asyncio.Protocol):
    """An open connection; :func:`connect` makes one.

    At first it is for :meth:`ask`.  After :meth:`take_over` its replies, and
    its end, are somebody else's to handle.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self.cluster = False
        """The server is part of a cluster."""
        self.ended: Exception | None = None
        """Why the connection is closed; None while it is open."""
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(notEnoughData=_MISSING)
        self._transport: asyncio.Transport | None = None
        self._gathered: list[bytes] = []
        self._limit = MAX_UNSENT
        """Bytes that one turn may gather; 0 while too many wait already."""
        self._room = MAX_UNSENT
        """What is left of the limit in this turn."""
        self._unparsed = 0
        self._resting = False
        self._questions: deque[asyncio.Future[Any]] = deque()
        self._on_reply: Callable[[Any], None] = self._answer
        self._on_lost: Callable[[Exception], None] = self._fail_questions

    def take_over(
        self, on_reply: Callable[[Any], None], on_lost: Callable[[Exception], None]
    ) -> None:
        """Pass every reply on from now on, and the reason when the connection is lost, once.

        An error among the replies is a ``hiredis.ReplyError``.  :meth:`close` is no loss.
        """
        self._on_reply = on_reply
        self._on_lost = on_lost

    async def ask(self, *words: bytes) -> Any:
        """Send a command that is answered once, if only by a push, and return the answer.

        Raises:
            hiredis.ReplyError: the server says so.
            BusUnavailable, BusBroken: the connection is lost.
        """
        if self.ended is not None:
            raise self.ended
        answer = self._loop.create_future()
        self._questions.append(answer)
        self.send(command(*words))
        return await answer

    def send(self, data: bytes) -> None:
        """Send something that must not be dropped, in the order of the calls."""
        if not self._gathered:
            self._loop.call_soon(self._flush)
        self._gathered.append(data)
        self._room -= len(data)

    def offer(self, parts: tuple[bytes, ...], size: int) -> bool:
        """Send the ``parts``, ``size`` bytes in all; False if they were dropped.

        That is when too much waits for the server.  What one turn of the event
        loop sends and offers leaves in one write.
        """
        if size > self._room or self.ended is not None:
            return False
        if not self._gathered:
            self._loop.call_soon(self._flush)
        self._gathered += parts
        self._room -= size
        return True

    def close(self) -> None:
        """Close without a word, and give up what has not been sent.  Idempotent."""
        if self.ended is None:
            self._end(BusUnavailable(f"the connection to Redis at {self.address} is closed"))

    def abort(self, reason: Exception) -> None:
        """Give the connection up; it counts as lost, at once."""
        if self.ended is None:
            self._end(reason)
            self._on_lost(reason)

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=MAX_UNSENT)

    def data_received(self, data: bytes) -> None:
        self._unparsed += len(data)
        try:
            self._reader.feed(data)
            self._pass_on()
        except hiredis.ProtocolError:
            self.abort(_babble(self.address))
        except Exception:
            # An answer of another shape than its question's, or no room for it.
            fault(logger, f"what Redis at {self.address} sent can't be handled")
            self.abort(BusUnavailable(f"Redis at {self.address} sent what nobody can read"))
        if self._unparsed > MAX_REPLY:
            self.abort(BusUnavailable(f"Redis at {self.address} sent a reply without an end"))

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(exc, ssl.SSLError):
            self.abort(_tls_failure(self.address, exc))
        else:
            why = f" ({exc})" if exc else ""
            self.abort(BusUnavailable(f"Redis at {self.address} closed the connection{why}"))

    def pause_writing(self) -> None:
        self._limit = self._room = 0

    def resume_writing(self) -> None:
        self._limit = self._room = MAX_UNSENT

    # -- within

    def _pass_on(self) -> None:
        """Pass on the replies that are here; those too many for one turn in the next."""
        gets = self._reader.gets
        for _ in range(TURN):
            if (reply := gets()) is _MISSING:
                self._rest(False)
                return
            self._unparsed = 0
            self._on_reply(reply)
        self._rest(True)
        self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        if self.ended is None:
            self.data_received(b"")

    def _rest(self, resting: bool) -> None:
        """Read no more while there is enough to pass on."""
        if resting != self._resting and self._transport is not None and self.ended is None:
            self._resting = resting
            if resting:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _flush(self) -> None:
        gathered, self._gathered = self._gathered, []
        if gathered and self._transport is not None and self.ended is None:
            self._room = self._limit
            self._transport.write(b"".join(gathered))

    def _end(self, reason: Exception) -> None:
        self.ended = reason
        self._gathered = []
        if self._transport is not None:
            self._transport.abort()
        self._fail_questions(reason)

    def _answer(self, reply: Any) -> None:
        if isinstance(reply, hiredis.PushNotification) and reply[0] in _MESSAGES:
            return
        if self._questions:
            answer = self._questions.popleft()
            if answer.done():
                return
            if isinstance(reply, hiredis.ReplyError):
                answer.set_exception(reply)
            else:
                answer.set_result(reply)

    def _fail_questions(self, reason: Exception) -> None:
        while self._questions:
            answer = self._questions.popleft()
            if not answer.done():
                answer.set_exception(reason)


async def connect(address: Address, options: RedisOptions) -> RedisConnection:
    """Open a connection and log in.

    Raises:
        BusUnavailable: the server isn't there, or not ready.
        BusBroken: it refuses us.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(options.timeout):
            _, connection = await loop.create_connection(
                lambda: RedisConnection(address), address.host, address.port, ssl=options.tls
            )
            try:
                await _log_in(connection, options)
            except BaseException:
                connection.close()
                raise
            return connection
    except TimeoutError as exc:
        how = "does not answer, over TLS" if options.tls else "does not answer"
        raise BusUnavailable(f"Redis at {address} {how}") from exc
    except ssl.SSLError as exc:
        raise _tls_failure(address, exc) from exc
    except OSError as exc:
        raise BusUnavailable(f"can't connect to Redis at {address}: {_reason(exc)}") from exc
    except hiredis.ReplyError as exc:
        raise refusal(address, exc) from exc


async def _log_in(connection: RedisConnection, options: RedisOptions) -> None:
    words = [b"HELLO", b"3"]
    if options.username or options.password:
        user = options.username or "default"
        words += [b"AUTH", user.encode(), options.password.encode()]
    hello = await connection.ask(*words, b"SETNAME", b"parley")
    if not isinstance(hello, dict):
        raise _babble(connection.address)
    connection.cluster = hello.get(b"mode") == b"cluster"
    if not connection.cluster:
        if hello.get(b"role") != b"master":
            raise BusUnavailable(f"Redis at {connection.address} is a replica, not the primary")
        await connection.ask(b"SELECT", b"%d" % options.database)
    elif options.database:
        raise BusBroken(
            f"Redis at {connection.address} is part of a cluster, which has no database "
            f"{options.database}, only 0."
        )


def refusal(address: Address, error: hiredis.ReplyError) -> BusBroken | BusUnavailable:
    """What an error that a server answers with means for the bus."""
    text = unquoted(str(error))
    kind = BusUnavailable if text.startswith(_PASSING) else BusBroken
    return kind(f"Redis at {address} refuses: {text}")


def _babble(address: Address) -> BusBroken:
    return BusBroken(f"{address} doesn't speak Redis' protocol, or wants TLS")


def _reason(error: OSError) -> str:
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)  # the loop's own text is about its call
    return error.strerror or str(error)


def _tls_failure(address: Address, error: ssl.SSLError) -> BusBroken:
    return BusBroken(f"TLS with Redis at {address} fails: {error.reason or error}")
