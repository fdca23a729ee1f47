"""The events that clients may send."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias
from uuid import uuid4

import socketio

from . import requests
from .auth import user_of
from .errors import ChatError, internal, not_found
from .store import Chat, Store

logger = logging.getLogger(__name__)

Rule: TypeAlias = Callable[[str, str, Any], Awaitable[Any]]
"""Takes the connection, its user and what came with the event; returns the acknowledgement."""


class Events:
    """What the server does when clients connect and send."""

    def __init__(self, server: socketio.AsyncServer, store: Store, secret: str) -> None:
        """Registers itself with ``server``."""
        self._server, self._store, self._secret = server, store, secret
        server.on("connect", self._connect)
        rules: dict[str, Rule] = {
            "ping": self._ping,
            "send message": self._send,
            "receive message": self._receive,
            "unreceived messages": self._unreceived,
            "all messages": self._all,
        }
        for event, rule in rules.items():
            server.on(event, self._handler(rule))

    async def _connect(self, sid: str, environ: dict[str, Any], auth: Any = None) -> None:
        try:
            user = user_of(environ, auth, self._secret)
        except ChatError as exc:
            raise socketio.exceptions.ConnectionRefusedError(
                exc.message, {"code": exc.code}
            ) from exc
        await self._server.save_session(sid, {"user": user})
        await self._server.enter_room(sid, user)

    def _handler(self, rule: Rule) -> Callable[..., Awaitable[Any]]:
        """Runs a rule; what it raises is told in an `error` event and the acknowledgement."""

        async def handle(sid: str, data: Any = None, *_more: Any) -> Any:
            session = await self._server.get_session(sid)
            try:
                return await rule(sid, session["user"], data)
            except ChatError as exc:
                error = exc
            except Exception:
                logger.exception("an event failed")
                error = internal()
            reply = {"id": session["user"], "code": error.code, "message": error.message}
            await self._server.emit("error", reply, to=sid)
            return {"error": reply}

        return handle

    async def _ping(self, sid: str, _user: str, _data: Any) -> None:
        await self._server.emit("pong", "Hello World!", to=sid)

    async def _send(self, _sid: str, user: str, data: Any) -> Chat:
        chat = Chat(
            id=str(uuid4()),
            sender=user,
            receiver=requests.uuid(data, "receiver"),
            message=requests.text(data, "message"),
            createdAt=time.time_ns() // 1_000_000,
            received=False,
        )
        await self._store.add(chat)
        await self._server.emit("message", chat, room=chat["receiver"])
        return chat

    async def _receive(self, _sid: str, user: str, data: Any) -> dict[str, Any]:
        chat_id = requests.uuid(data, "chatId")
        if not await self._store.mark_received(user, chat_id):
            raise not_found()
        return {"chatId": chat_id, "received": True}

    async def _unreceived(self, sid: str, user: str, _data: Any) -> None:
        chats = await self._store.unreceived(user)
        await self._server.emit("unreceived messages", chats, to=sid)

    async def _all(self, sid: str, user: str, _data: Any) -> None:
        by_sender: dict[str, list[Chat]] = {}
        for chat in await self._store.all(user):
            by_sender.setdefault(chat["sender"], []).append(chat)
        await self._server.emit("all messages", by_sender, to=sid)
