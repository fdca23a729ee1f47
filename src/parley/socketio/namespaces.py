"""What an application sees of Socket.IO: namespaces, their sockets, and events."""

from __future__ import annotations

import asyncio
import enum
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import msgspec

from parley.incidents import fault
from parley.socketio import packets
from parley.socketio.acks import AckCallback, Acks, AckTimeout, call_back
from parley.socketio.events import Event
from parley.socketio.packets import PacketError, PacketType
from parley.socketio.peers import MovedSocket
from parley.socketio.protocol import MESSAGE, CloseReason
from parley.socketio.session import Session

logger = logging.getLogger(__name__)


class ConnectRefused(Exception):
    """Raised by an authorize handler: the client gets CONNECT_ERROR with this.

    Official clients show it as ``connect_error``, with ``err.message`` and ``err.data``.
    """

    def __init__(self, message: str, data: object = None) -> None:
        super().__init__(message)
        self.message = message
        self.data = data


class ConnectUnavailable(Exception):
    """Raised by an authorize handler that can't tell at the moment.

    The transport is closed, after which official clients try again by
    themselves; after a CONNECT_ERROR they would not.
    """

    def __init__(self, reason: CloseReason = CloseReason.FORCED) -> None:
        super().__init__(reason)
        self.reason = reason
        """Why it is closed."""


class SocketState(enum.Enum):
    CONNECTING = enum.auto()
    CONNECTED = enum.auto()
    DISCONNECTED = enum.auto()


# For what every message passes: Python 3.11 takes as long to find an enum's member as for a call.
CONNECTED: Final = SocketState.CONNECTED
_DISCONNECTED: Final = SocketState.DISCONNECTED


class Owner(Protocol):
    """The connection that a socket is one of."""

    @property
    def session(self) -> Session:
        """The Engine.IO session beneath."""

    def dismiss(self, socket: Socket) -> None:
        """The server disconnects a socket of it."""


class Socket:
    """One client in one namespace."""

    __slots__ = (
        "_acks",
        "_connection",
        "data",
        "id",
        "namespace",
        "session",
        "state",
        "task",
    )

    def __init__(
        self, connection: Owner, namespace: Namespace, moved: MovedSocket | None = None
    ) -> None:
        """``moved``: what it was in another process, if it began there."""
        self.id = secrets.token_urlsafe(15) if moved is None else moved.id
        self.session = connection.session
        self._connection = connection
        self.namespace = namespace
        self.state = SocketState.CONNECTING
        self.data: Any = None
        """The application's own."""
        self.task: asyncio.Future[None] | None = None
        self._acks: Acks | None = None
        if moved is not None and moved.last_ack:
            self._acks = Acks(self.session.engine.deadlines, moved.last_ack)

    def emit(
        self, event: str, *args: object, ack: AckCallback | None = None, timeout: float = 30.0
    ) -> None:
        """Send an event; silently dropped once the client has gone.

        ``ack`` is called with the values of the client's acknowledgement, or
        with an :class:`AckTimeout` after ``timeout`` seconds or at the end of
        the connection.

        Raises:
            TypeError: an argument has no JSON form.
            RuntimeError: too many acknowledgements are being waited for.
        """
        if ack is None:
            self.send_values(PacketType.EVENT, None, (event, *args))
        elif self.state is SocketState.DISCONNECTED:
            gone = AckTimeout("the client has gone")
            asyncio.get_running_loop().call_soon(call_back, ack, gone)
        else:
            if self._acks is None:
                self._acks = Acks(self.session.engine.deadlines)
            if len(self._acks) >= self.session.engine.options.max_acks:
                raise RuntimeError("too many acknowledgements are being waited for")
            ack_id = self._acks.next_id()
            self.send_values(PacketType.EVENT, ack_id, (event, *args))
            self._await_ack(ack_id, ack, timeout)

    def send(self, packet: bytes) -> None:
        """Send an encoded text packet (see :func:`encode_event`)."""
        if self.state is not _DISCONNECTED:
            self.session.send(packet)

    def send_json(self, packet_type: PacketType, ack_id: int | None, array: bytes) -> None:
        """Send an EVENT or ACK with the JSON array of its values."""
        if self.state is not _DISCONNECTED:
            packet = packets.encode(packet_type, self.namespace.name, ack_id, array)
            self.session.send(MESSAGE + packet)

    def send_values(
        self, packet_type: PacketType, ack_id: int | None, values: tuple[object, ...]
    ) -> None:
        """Send an EVENT or ACK with any values."""
        if self.state is SocketState.DISCONNECTED:
            return
        text, attachments = packets.encode_values(packet_type, self.namespace.name, ack_id, values)
        self.session.send(MESSAGE + text)
        for attachment in attachments:
            self.session.send_binary(attachment)

    def disconnect(self, *, close: bool = False) -> None:
        """Disconnect the client from this namespace, or close its whole connection.

        Official clients do not reconnect by themselves after the former.
        """
        if self.state is SocketState.DISCONNECTED:
            return
        if close:
            self.session.close(CloseReason.FORCED)
            return
        packet = packets.encode(PacketType.DISCONNECT, self.namespace.name)
        self.session.send(MESSAGE + packet)
        self._connection.dismiss(self)

    def left(self, reason: CloseReason) -> None:
        """The client is no longer here; the one place where a socket ends."""
        state, self.state = self.state, SocketState.DISCONNECTED
        if state is SocketState.DISCONNECTED:
            return
        if self.task is not None:
            self.task.cancel()
        self.namespace.sockets.pop(self.id, None)
        acks, self._acks = self._acks, None
        if acks is not None:
            acks.expire()
        self.namespace.disconnected(self, reason)

    def awaits(self, ack_id: int) -> bool:
        """True if an acknowledgement of that id is being waited for."""
        return self._acks is not None and ack_id in self._acks

    def acknowledged(self, ack_id: int, answer: list[Any]) -> None:
        """The client acknowledged an event."""
        if self._acks is not None:
            self._acks.settle(ack_id, answer)

    def export(self) -> MovedSocket:
        """What it will be in another process; only if its namespace can move."""
        assert self.namespace.move is not None
        data = self.namespace.move.export(self)
        last_ack = self._acks.last if self._acks is not None else 0
        return MovedSocket(self.id, self.namespace.name, data, last_ack)

    def _await_ack(self, ack_id: int, callback: AckCallback, timeout: float) -> None:
        if self._acks is None:  # sending it was too much for the client
            call_back(callback, AckTimeout("the client has gone"))
        else:
            self._acks.wait(ack_id, callback, timeout)


Authorize: TypeAlias = Callable[[Socket, dict[str, Any]], Awaitable[None] | None]
Connected: TypeAlias = Callable[[Socket, dict[str, Any]], object]
Disconnected: TypeAlias = Callable[[Socket, CloseReason], object]
EventHandler: TypeAlias = Callable[[Socket, Event], Coroutine[Any, Any, None] | None]
ExcessHandler: TypeAlias = Callable[[Socket, Event, int], object]
Export: TypeAlias = Callable[[Socket], bytes]
Restore: TypeAlias = Callable[[Socket, bytes], Coroutine[Any, Any, None]]


class Move(NamedTuple):
    """An application's hooks; see :meth:`Namespace.on_move`."""

    export: Export
    restore: Restore


class Namespace:
    """A named channel of one server and the handlers of its events.

    Each registering method may be used as a decorator.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.sockets: dict[str, Socket] = {}
        """The connected ones, by id."""
        self.move: Move | None = None
        """Absent if sockets can't move."""
        self._authorize: Authorize | None = None
        self._connected: Connected | None = None
        self._disconnected: Disconnected | None = None
        self._handlers: dict[str, EventHandler] = {}
        self._by_json: dict[bytes, tuple[str, EventHandler]] = {}
        self._other: EventHandler | None = None
        self._excess: ExcessHandler | None = None
        self._running: set[asyncio.Future[None]] = set()
        """Handlers under way; the loop itself keeps them only weakly."""

    def authorize(self, handler: Authorize) -> Authorize:
        """``handler(socket, auth)`` decides whether a client may join; it may be async.

        ``auth`` is what the client sent along ({} if nothing).  It may raise
        :class:`ConnectRefused` or :class:`ConnectUnavailable`, and must not
        send anything.
        """
        self._authorize = handler
        return handler

    def on_connect(self, handler: Connected) -> Connected:
        """``handler(socket, auth)`` is called as soon as a client has joined."""
        self._connected = handler
        return handler

    def on_disconnect(self, handler: Disconnected) -> Disconnected:
        """``handler(socket, reason)`` is called once for every socket that was
        authorized or was being so, whether or not it came to join."""
        self._disconnected = handler
        return handler

    def on_move(self, export: Export, restore: Restore) -> None:
        """Let a socket move to another process when its client changes over to a WebSocket.

        ``export(socket)`` returns what ``restore(socket, data)`` needs over
        there.  It must have no effect; the on_disconnect handler is called
        next, in the same turn of the loop, with :attr:`CloseReason.MOVED`.
        The new socket has the old one's id; nothing comes from its client
        before ``restore`` has returned, and anything may be sent to it.  If
        ``restore`` raises, the client is made to connect anew.

        Acknowledgements that the old socket waited for time out.  Without
        these hooks, clients in this namespace stay on polling unless their
        WebSocket reaches the same process.
        """
        self.move = Move(export, restore)

    def on(self, event: str) -> Callable[[EventHandler], EventHandler]:
        """``handler(socket, event)`` is called for every event of that name."""

        def register(handler: EventHandler) -> EventHandler:
            self._handlers[event] = handler
            self._by_json[msgspec.json.encode(event)] = (event, handler)
            return handler

        return register

    def on_other(self, handler: EventHandler) -> EventHandler:
        """``handler(socket, event)`` is called for events that have no handler."""
        self._other = handler
        return handler

    def on_excess(self, handler: ExcessHandler) -> ExcessHandler:
        """``handler(socket, event, wait)`` is called instead of an event's own
        while its client sends too much (see :attr:`Options.limits`).

        The event must not be done.  Its client may send it again in ``wait``
        milliseconds; what it sends before is met in the same way, and if it
        goes on, it is disconnected.
        """
        self._excess = handler
        return handler

    # -- for Connection

    def dispatch(
        self,
        socket: Socket,
        raw: list[msgspec.Raw],
        ack_id: int | None,
        attachments: list[bytes] | None,
    ) -> None:
        """Call the handler of an event.

        Raises:
            PacketError: it isn't an event.
        """
        if not raw:
            raise PacketError("an event needs a name")
        name, handler = self._by_json.get(bytes(raw[0])) or self._find(raw[0])
        if handler is None:
            return
        event = Event(socket, name, raw, ack_id, attachments)
        try:
            running = handler(socket, event)
        except PacketError:
            raise
        except Exception:
            fault(logger, "the handler of an event failed")
            return
        if running is not None:
            socket.session.hold()
            task = asyncio.ensure_future(running)
            self._running.add(task)
            task.add_done_callback(lambda done: self._handled(socket.session, done))

    def refuse(self, socket: Socket, raw: list[msgspec.Raw], ack_id: int | None, wait: int) -> None:
        """Call the on_excess handler.

        Raises:
            PacketError: it isn't an event.
        """
        if not raw:
            raise PacketError("an event needs a name")
        name, _ = self._by_json.get(bytes(raw[0])) or self._find(raw[0])
        if self._excess is not None:
            try:
                self._excess(socket, Event(socket, name, raw, ack_id, None), wait)
            except Exception:
                fault(logger, "the handler of events in excess failed")

    def connected(self, socket: Socket, auth: dict[str, Any]) -> None:
        """Call the on_connect handler."""
        if self._connected is not None:
            try:
                self._connected(socket, auth)
            except Exception:
                fault(logger, "the connect handler failed")

    def disconnected(self, socket: Socket, reason: CloseReason) -> None:
        """Call the on_disconnect handler."""
        if self._disconnected is not None:
            try:
                self._disconnected(socket, reason)
            except Exception:
                fault(logger, "the disconnect handler failed")

    def authorization(self, socket: Socket, auth: dict[str, Any]) -> Awaitable[None] | None:
        """Call the authorize handler."""
        return None if self._authorize is None else self._authorize(socket, auth)

    def _find(self, raw: msgspec.Raw) -> tuple[str, EventHandler | None]:
        """For names in an unusual spelling, and unknown ones."""
        name = packets.decode_value(raw)
        if type(name) is int:
            name = str(name)
        if not isinstance(name, str):
            raise PacketError("an event's name must be a string")
        return name, self._handlers.get(name, self._other)

    def _handled(self, session: Session, done: asyncio.Future[None]) -> None:
        self._running.discard(done)
        if not done.cancelled() and (exc := done.exception()) is not None:
            if isinstance(exc, PacketError):
                session.close(CloseReason.PARSE_ERROR)
            else:
                fault(logger, "the handler of an event failed", exc)
        session.release()


def encode_event(namespace: str, array: bytes) -> bytes:
    """An event ready for :meth:`Socket.send`.

    ``array`` is its JSON: ``["name", ...]``.  One encoded event may be sent to
    any number of sockets of the namespace.
    """
    return MESSAGE + packets.encode(PacketType.EVENT, namespace, None, array)
