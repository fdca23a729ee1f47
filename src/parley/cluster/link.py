"""The calling end of a link to another node: many calls at a time over one connection."""

from __future__ import annotations

import asyncio
import hmac
import itertools
import secrets
from collections.abc import Sequence
from typing import Any

from parley.cluster import wire
from parley.cluster.connection import Connection, LinkOptions
from parley.cluster.wire import Answer, Call, Cancel, Failed, Message, TooLarge, WireError


class LinkLost(Exception):
    """There is no connection any more, or none came about; a call may have been carried out."""


class WrongNode(Exception):
    """Who listens there is another than the one that was meant."""


class CallFailed(Exception):
    """The node could not carry out the call; why is in its log."""


async def connect(
    address: str,
    port: int,
    key: bytes,
    errors: Sequence[type[Exception]],
    options: LinkOptions,
) -> Link:
    """A link to the node that listens there and knows ``key``.

    ``errors`` are what its methods may raise; they arrive here as they are,
    but without a text.

    Raises:
        OSError: there is no connection; a TimeoutError if it took too long.
        WrongNode: there is another node, or no node.
        LinkLost: the connection was lost again at once.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(options.connect_timeout):
        _, link = await loop.create_connection(lambda: Link(key, errors, options), address, port)
        try:
            await link.ready
        except BaseException:
            await link.close()
            raise
    return link


class Link(Connection):
    """Calls the methods of one node.  Made by :func:`connect`."""

    def __init__(self, key: bytes, errors: Sequence[type[Exception]], options: LinkOptions) -> None:
        super().__init__(options)
        self._key = key
        self._nonces = b""
        self._errors = {error.__name__: error for error in errors}
        self._calls: dict[int, asyncio.Future[bytes]] = {}
        self._ids = itertools.count()
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when both sides have proven themselves; see :func:`connect` for what it raises."""

    async def call(self, method: str, body: bytes) -> bytes:
        """What the method of the other node returns; however long that takes.

        Calls begin there in the order in which they were made here.  If this
        is cancelled, so is the method.

        Raises:
            LinkLost: it may have been carried out, or not.
            CallFailed: it may have been carried out in part.
            one of the errors given to :func:`connect`: the method raised it.
        """
        if not self.open:
            raise LinkLost(self.reason)
        if len(self._calls) >= self._options.max_calls:
            raise CallFailed("too many calls")
        call_id = next(self._ids)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._calls[call_id] = answer
        try:
            self.send(Call(call_id, method, body))
            return await answer
        except asyncio.CancelledError:
            self.send(Cancel(call_id))
            raise
        except TooLarge:
            raise CallFailed("the call is too large") from None
        finally:
            del self._calls[call_id]

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        waiting: list[asyncio.Future[Any]] = [self.ready, *self._calls.values()]
        for future in waiting:
            if not future.done():
                future.set_exception(LinkLost(self.reason))
                future.exception()  # whoever waited may have gone: no complaint about that

    def _prove(self) -> None:
        if self.ready.done():
            return  # nobody waits for it any more
        if not self._nonces:
            if len(self._arrived) >= wire.GREETING_SIZE:
                self._answer(self._take(wire.GREETING_SIZE))
        elif len(self._arrived) >= wire.PROOF_SIZE:
            expected = wire.proof(self._key, wire.NODE, self._nonces)
            if hmac.compare_digest(expected, self._take(wire.PROOF_SIZE)):
                self.ready.set_result(None)
                self._begin()
            else:
                self._refuse("it does not know the key")

    def _answer(self, greeting: bytes) -> None:
        if not greeting.startswith(wire.MAGIC):
            self._refuse("it does not greet as a node does")
            return
        own = secrets.token_bytes(wire.NONCE_SIZE)
        self._nonces = greeting[len(wire.MAGIC) :] + own
        self._transport.write(own + wire.proof(self._key, wire.CALLER, self._nonces))

    def _refuse(self, reason: str) -> None:
        self.ready.set_exception(WrongNode(reason))
        self.lose(reason)

    def _receive(self, message: Message) -> None:
        if not isinstance(message, Answer | Failed):
            raise WireError(f"a {type(message).__name__} to a caller")
        waiting = self._calls.get(message.id)
        if waiting is None or waiting.done():
            return  # it was cancelled meanwhile
        if isinstance(message, Answer):
            waiting.set_result(message.body)
        elif error := self._errors.get(message.error):
            waiting.set_exception(error())
        else:
            waiting.set_exception(CallFailed(message.error))
