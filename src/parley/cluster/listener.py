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
        self.unproven: set[Served] = set()
        self.links: set[Served] = set()
        self.running: set[asyncio.Task[bytes]] = set()
        self.closing = False
        self._server: asyncio.Server | None = None

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
        await asyncio.gather(*(each.close() for each in self.links | self.unproven))
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
        listener.unproven.add(self)
        if listener.closing or len(listener.unproven) > options.max_unproven:
            reason = "there are too many that have not proven themselves"
            self._turn_away(reason)
            self.lose(reason)
            return
        self._transport.write(wire.MAGIC + self._nonce)
        self._timer = asyncio.get_running_loop().call_later(options.connect_timeout, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._listener.unproven.discard(self)
        self._listener.links.discard(self)
        for task in self._calls.values():
            task.cancel()

    def _prove(self) -> None:
        size = wire.NONCE_SIZE + wire.PROOF_SIZE
        if len(self._arrived) < size:
            return
        nonces = self._nonce + self._take(wire.NONCE_SIZE)
        expected = wire.proof(self._listener.key, wire.CALLER, nonces)
        if not hmac.compare_digest(expected, self._take(wire.PROOF_SIZE)):
            self._turn_away("it does not know this node's key")
            self._transport.write(wire.REFUSAL)
            self._transport.close()
            return
        assert self._timer is not None
        self._timer.cancel()
        self._listener.unproven.discard(self)
        self._listener.links.add(self)
        self._transport.write(wire.proof(self._listener.key, wire.NODE, nonces))
        self._begin()

    def _give_up(self) -> None:
        reason = "no proof in time"
        self._turn_away(reason)
        self.lose(reason)

    def _turn_away(self, reason: str) -> None:
        text = "somebody at the nodes' port was turned away"
        tell(logger, Incident.LINK_REFUSED, text, reason=reason, subject=reason)

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
