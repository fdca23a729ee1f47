"""A link to one Redis server: publishes there, subscribes there, and hears when it is gone."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol

import hiredis

from parley.bus.redis_connection import Address, RedisConnection, command
from parley.errors import BusUnavailable
from parley.redis_options import unquoted

Then = Callable[[Exception | None], None]
"""Is called with None when the server has answered, or with the reason why it never will."""

_TICKS: Final = 4
"""Times that an answer is looked for before the server counts as away."""
_NAMES: Final = 500
"""Channels that one command names."""


class Verbs(NamedTuple):
    """The commands and pushes of one kind of pub/sub."""

    publish: bytes
    subscribe: bytes
    unsubscribe: bytes
    message: bytes
    numsub: bytes
    names: int
    """How many channels one command may name."""


PLAIN: Final = Verbs(b"PUBLISH", b"SUBSCRIBE", b"UNSUBSCRIBE", b"message", b"NUMSUB", _NAMES)
SHARDED: Final = Verbs(b"SPUBLISH", b"SSUBSCRIBE", b"SUNSUBSCRIBE", b"smessage", b"SHARDNUMSUB", 1)
"""Of a cluster, whose commands may name channels of one slot only."""


class Listener(Protocol):
    """Is told what happens on a link."""

    def on_message(self, name: bytes, payload: bytes) -> None: ...

    def on_subscribed(self, link: RedisLink, name: bytes) -> None: ...

    def on_unsubscribed(self, link: RedisLink, name: bytes) -> None:
        """Because it was asked for, or because the channel isn't this server's any more."""

    def on_refused(self, link: RedisLink, error: str) -> None:
        """A command failed; which one isn't known."""

    def on_lost(self, link: RedisLink, reason: Exception) -> None:
        """Once, and the last word."""


class RedisLink:
    """Takes over an open connection.

    The replies are told apart by their types: a number answers a publish, a
    text a PING, a list a count, and subscriptions are confirmed by pushes.  So
    nothing needs to be noted for a publish.
    """

    def __init__(
        self, connection: RedisConnection, verbs: Verbs, listener: Listener, timeout: float
    ) -> None:
        self.address: Address = connection.address
        self._connection = connection
        self._verbs = verbs
        self._listener = listener
        self._publish = b"*3\r\n$%d\r\n%b\r\n$%%d\r\n%%b\r\n$%%d\r\n" % (
            len(verbs.publish),
            verbs.publish,
        )
        self._message = verbs.message
        self._on_message = listener.on_message
        self._subscribed = verbs.subscribe.lower()
        self._unsubscribed = verbs.unsubscribe.lower()
        self._pings: deque[Then] = deque()
        self._on_count: Callable[[int], None] = _nobody_asked
        """Is told the next count."""
        self._heard = True
        self._silent = 0
        self._interval = timeout / _TICKS
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(self._interval, self._tick)
        connection.take_over(self._on_reply, self._on_lost)

    @property
    def alive(self) -> bool:
        """False as soon as the link is lost or closed."""
        return self._connection.ended is None

    def publish(self, name: bytes, head: bytes, packet: bytes) -> bool:
        """Publish ``head + packet``; False if it was dropped, because too much waits already."""
        size = len(head) + len(packet)
        start = self._publish % (len(name), name, size)
        return self._connection.offer((start, head, packet, b"\r\n"), len(start) + size + 2)

    def subscribe(self, names: Sequence[bytes], then: Then) -> None:
        """Ask for channels; ``then`` is called when every confirmation has come that comes."""
        self._name(self._verbs.subscribe, names, then)

    def unsubscribe(self, names: Sequence[bytes], then: Then) -> None:
        """Give channels up; otherwise like :meth:`subscribe`."""
        self._name(self._verbs.unsubscribe, names, then)

    def count(self, name: bytes, then: Callable[[int], None]) -> None:
        """Ask how many are on a channel; ``then`` is told, unless the server doesn't say."""

        def expect(lost: Exception | None) -> None:
            self._on_count = then

        # A refusal doesn't say of what.  The answer to a PING comes right before each count, and
        # tells whose that is: so nobody is told what was asked for another.
        self._ping(expect)
        self._connection.send(command(b"PUBSUB", self._verbs.numsub, name))

    async def round_trip(self) -> None:
        """Return when the server has done everything that was sent before.

        Raises:
            BusUnavailable, BusBroken: the link is lost.
        """
        answered: asyncio.Future[None] = self._loop.create_future()

        def settle(lost: Exception | None) -> None:
            if not answered.done():
                if lost is None:
                    answered.set_result(None)
                else:
                    answered.set_exception(lost)

        self._ping(settle)
        await answered

    def close(self) -> None:
        """End it; the listener isn't told."""
        self._connection.close()
        self._end()

    # -- within

    def _name(self, verb: bytes, names: Sequence[bytes], then: Then) -> None:
        for start in range(0, len(names), self._verbs.names):
            self._connection.send(command(verb, *names[start : start + self._verbs.names]))
        self._ping(then)

    def _ping(self, then: Then) -> None:
        if self._connection.ended is not None:
            then(self._connection.ended)
            return
        self._pings.append(then)
        self._connection.send(b"*1\r\n$4\r\nPING\r\n")

    def _on_reply(self, reply: Any) -> None:
        if type(reply) is hiredis.PushNotification:
            kind = reply[0]
            if kind == self._message:
                self._on_message(reply[1], reply[2])
            elif kind == self._subscribed:
                self._listener.on_subscribed(self, reply[1])
            elif kind == self._unsubscribed:
                self._listener.on_unsubscribed(self, reply[1])
        elif type(reply) is int:
            pass
        elif type(reply) is bytes:
            self._heard = True
            if self._pings:
                self._pings.popleft()(None)
        elif type(reply) is list:
            self._on_count(reply[1])
        elif isinstance(reply, hiredis.ReplyError):
            self._listener.on_refused(self, unquoted(str(reply)))

    def _on_lost(self, reason: Exception) -> None:
        self._end()
        self._listener.on_lost(self, reason)

    def _end(self) -> None:
        self._timer.cancel()
        while self._pings:
            self._pings.popleft()(self._connection.ended)

    def _tick(self) -> None:
        """Count the looks rather than the time: if we were held up ourselves, that is one."""
        self._silent = 0 if self._heard or not self._pings else self._silent + 1
        self._heard = False
        if self._silent >= _TICKS:
            self._connection.abort(BusUnavailable(f"Redis at {self.address} does not answer"))
            return
        if not self._pings:
            self._ping(lambda lost: None)
        self._timer = self._loop.call_later(self._interval, self._tick)


def _nobody_asked(subscribers: int) -> None:
    """Before the first :meth:`RedisLink.count`."""
