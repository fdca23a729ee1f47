"""The called end of links: lets other nodes call this one's methods."""

from __future__ import annotations

import asyncio
import functools
import hmac
import logging
import secrets
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from parley.cluster import wire
from parley.cluster.connection import Connection, LinkOptions
from parley.cluster.wire import Answer, Call, Cancel, Failed, Message, TooLarge, WireError
from parley.incidents import Incident, fault, tell

logger = logging.getLogger(__name__)

Method = Callable[[bytes], Coroutine[Any, Any, bytes]]
"""Cancelled when its caller doesn't wait any longer, or the link is lost."""

# Why a call failed, when it is no error of the table: for the caller's log.
_UNKNOWN: Final = "no such method"
_BUSY: Final = "too many calls"
_CANCELLED: Final = "cancelled"
_TOO_LARGE: Final = "the answer is too large"
# Why a connection was refused.
_CROWDED: Final = "crowded"
_SILENT: Final = "no proof in time"
_WRONG: Final = "wrong proof"
_FAULT: Final = "it raised something; that node's log has it"


class Listener:
    """Answers the calls of all nodes that know the key."""

    def __init__(
        self,
        key: bytes,
        methods: Mapping[str, Method],
        errors: Sequence[type[Exception]],
        options: LinkOptions,
    ) -> None:
        """``errors`` are those that methods raise for their callers to see, by name."""
        self.key = key
        self.methods = methods
        self.errors = errors
        self.options = options
        self.unproven: dict[Served, None] = {}
        """The oldest first."""
        self.links: set[Served] = set()
        self.running: set[asyncio.Task[bytes]] = set()
        self.closing = False
        self._server: asyncio.Server | None = None

    def admit(self, connection: Served) -> None:
        """A new one, which has to prove itself; the oldest that has not yet may have to go.

        Other nodes prove themselves within two round trips, strangers never: so these go.
        """
        self.unproven[connection] = None
        if len(self.unproven) > self.options.max_unproven:
            oldest = next(iter(self.unproven))
            del self.unproven[oldest]
            _refused(_CROWDED)
            oldest.lose("there are too many that have not proven themselves")

    async def start(self, sock: socket.socket) -> None:
        """Accept connections on a bound socket, which is the listener's from now on."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Served(self), sock=sock)

    async def close(self) -> None:
        """Cancel what is under way, and close all links.  Idempotent."""
        self.closing = True
        if self._server is None:
            return
        self._server.close()
        for task in self.running:
            task.cancel()
        await asyncio.gather(*self.running, return_exceptions=True)
        await asyncio.gather(*(each.close() for each in (*self.links, *self.unproven)))
        await self._server.wait_closed()


class Served(Connection):
    """One link, whose caller is another node."""

    def __init__(self, listener: Listener) -> None:
        super().__init__(listener.options)
        self._listener = listener
        self._nonce = secrets.token_bytes(wire.NONCE_SIZE)
        self._calls: dict[int, asyncio.Task[bytes]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        listener, options = self._listener, self._options
        if listener.closing:
            self.lose("this node stops")
            return
        listener.admit(self)
        self._transport.write(wire.MAGIC + self._nonce)
        self._timer = asyncio.get_running_loop().call_later(options.connect_timeout, self._expire)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._listener.unproven.pop(self, None)
        self._listener.links.discard(self)
        for task in self._calls.values():
            task.cancel()

    def lose(self, reason: str) -> None:
        """As any connection; if it was a node's, that is told: the node may be unable to."""
        if self.open:
            text = "a link from another node is given up"
            tell(logger, Incident.LINK_LOST, text, reason=reason, subject=reason)
        super().lose(reason)

    def _expire(self) -> None:
        if not self._transport.is_closing():
            _refused(_SILENT)
        self.lose(_SILENT)

    def _prove(self) -> None:
        size = wire.NONCE_SIZE + wire.PROOF_SIZE
        if len(self._arrived) < size:
            return
        nonces = self._nonce + self._take(wire.NONCE_SIZE)
        expected = wire.proof(self._listener.key, wire.CALLER, nonces)
        if not hmac.compare_digest(expected, self._take(wire.PROOF_SIZE)):
            _refused(_WRONG)
            self._transport.write(wire.REFUSAL)
            self._transport.close()
            return
        assert self._timer is not None
        self._timer.cancel()
        self._listener.unproven.pop(self, None)
        self._listener.links.add(self)
        self._transport.write(wire.proof(self._listener.key, wire.NODE, nonces))
        self._begin()

    def _receive(self, message: Message) -> None:
        if isinstance(message, Call):
            self._start(message)
        elif isinstance(message, Cancel):
            if task := self._calls.get(message.id):
                task.cancel()
        else:
            raise WireError(f"a {type(message).__name__} to a node that is called")

    def _start(self, call: Call) -> None:
        if call.id in self._calls:
            raise WireError("two calls with one id")
        method = self._listener.methods.get(call.method)
        if method is None:
            self.send(Failed(call.id, _UNKNOWN))
        elif self._listener.closing or len(self._calls) >= self._options.max_calls:
            self.send(Failed(call.id, _BUSY))
        else:
            task = asyncio.get_running_loop().create_task(method(call.body))
            self._calls[call.id] = task
            self._listener.running.add(task)
            task.add_done_callback(functools.partial(self._finish, call))

    def _finish(self, call: Call, task: asyncio.Task[bytes]) -> None:
        self._listener.running.discard(task)
        del self._calls[call.id]
        try:
            self.send(self._outcome(call, task))
        except TooLarge:
            self.send(Failed(call.id, _TOO_LARGE))

    def _outcome(self, call: Call, task: asyncio.Task[bytes]) -> Message:
        if task.cancelled():
            return Failed(call.id, _CANCELLED)
        error = task.exception()
        if error is None:
            return Answer(call.id, task.result())
        for known in self._listener.errors:
            if isinstance(error, known):
                return Failed(call.id, known.__name__)
        fault(logger, f"{call.method}, called by another node, failed", error)
        return Failed(call.id, _FAULT)


def _refused(reason: str) -> None:
    text = "who connected to the port for other nodes is none"
    tell(logger, Incident.LINK_REFUSED, text, reason=reason, subject=reason)
