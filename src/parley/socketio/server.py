"""Socket.IO protocol v5: a server, and the connections of its clients.

An application registers handlers on namespaces::

    server = Server(Options())
    chat = server.namespace("/")

    @chat.on("message")
    def message(socket: Socket, event: Event) -> None:
        socket.emit("message-back", *event.args())

Handlers are called in the order in which a client's events arrived.  A handler
that returns an awaitable goes on beside those of later events; while it runs,
the event counts as unanswered (see :attr:`Options.max_in_flight`).
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

import msgspec

from parley.incidents import Incident, fault, tell
from parley.socketio import packets
from parley.socketio.deadlines import Deadline, Timed
from parley.socketio.engine import Engine
from parley.socketio.namespaces import (
    CONNECTED,
    ConnectRefused,
    ConnectUnavailable,
    Namespace,
    Socket,
    SocketState,
)
from parley.socketio.options import Options
from parley.socketio.packets import Packet, PacketError, PacketType
from parley.socketio.peers import MovedConnection, MovedSocket, Peers
from parley.socketio.protocol import MESSAGE, CloseReason
from parley.socketio.session import Session

logger = logging.getLogger(__name__)

_JSON_SPACE: Final = b" \t\r\n"
_PLAIN_EVENT: Final = b"2["
"""How an event to the main namespace begins that wants no acknowledgement."""


class Connection(Timed):
    """Socket.IO on one Engine.IO session: the handler of its messages.

    It is due when its client must have joined a namespace.
    """

    __slots__ = (
        "_dismissed",
        "_refused",
        "_server",
        "_waiting",
        "session",
        "sockets",
    )

    def __init__(self, server: Server, session: Session) -> None:
        super().__init__()
        self._server = server
        self.session = session
        self.sockets: tuple[Socket, ...] = ()
        """Those that have joined or are about to; at most :attr:`Options.max_namespaces`."""
        self._dismissed: set[str] | None = None
        self._refused = 0
        self._waiting: _Attachments | None = None
        self._await_connect()

    # -- session.Handler

    def on_text(self, message: bytes) -> None:
        try:
            if self._waiting is not None:
                raise PacketError("a text packet amid attachments")
            if message.startswith(_PLAIN_EVENT):
                socket = self._socket("/")
                if socket is not None:
                    raw = packets.decode_array(message[1:])
                    socket.namespace.dispatch(socket, raw, None, None)
            else:
                self._take(packets.decode(message))
        except PacketError:
            self.session.close(CloseReason.PARSE_ERROR)

    def on_excess(self, message: bytes, wait: int) -> None:
        try:
            if self._waiting is not None:
                raise PacketError("a text packet amid attachments")
            self._take(packets.decode(message), wait)
        except PacketError:
            self.session.close(CloseReason.PARSE_ERROR)

    def on_binary(self, message: bytes) -> None:
        waiting = self._waiting
        try:
            if waiting is None:
                raise PacketError("an attachment of nothing")
            waiting.arrived.append(message)
            waiting.room -= len(message)
            if waiting.room < 0:
                raise PacketError("the attachments are too large")
            if len(waiting.arrived) == waiting.packet.attachments:
                self._stop_waiting()
                self._take_values(waiting.packet, waiting.arrived, waiting.wait)
        except PacketError:
            self.session.close(CloseReason.PARSE_ERROR)

    def on_close(self, reason: CloseReason) -> None:
        self._stop_waiting()
        sockets, self.sockets = self.sockets, ()
        for socket in sockets:
            socket.left(reason)
        self.session.engine.deadlines.cancel(self)

    # -- deadlines.Timed

    def due(self) -> None:
        self.session.close(CloseReason.CONNECT_TIMEOUT)

    # -- session.MovableHandler

    def movable(self) -> bool:
        return all(socket.namespace.move is not None for socket in self.sockets)

    def settled(self) -> bool:
        return all(socket.state is SocketState.CONNECTED for socket in self.sockets)

    def export(self) -> MovedConnection:
        sockets = [socket.export() for socket in self.sockets]
        incomplete = [] if self._waiting is None else self._waiting.parts()
        return MovedConnection(sockets, sorted(self._dismissed or ()), incomplete)

    async def restore(self, moved: MovedConnection) -> None:
        self._dismissed = set(moved.dismissed) or None
        try:
            async with asyncio.timeout(self.session.engine.options.upgrade_timeout):
                await self._restore([self._arrived(socket) for socket in moved.sockets])
        except Exception as exc:
            text = "a session that moved here can't go on"
            if isinstance(exc, ConnectUnavailable):
                tell(logger, Incident.MOVE_FAILED, text, reason="the application is not ready")
            else:
                fault(logger, text, exc)
            self.session.close(CloseReason.FORCED)
        for binary, message in moved.incomplete:
            if binary:
                self.on_binary(message)
            else:
                self.on_text(message)

    # -- namespaces.Owner

    def dismiss(self, socket: Socket) -> None:
        """The server disconnected a socket; its client may not know yet."""
        if self._dismissed is None:
            self._dismissed = set()
        self._dismissed.add(socket.namespace.name)
        self._leave(socket, CloseReason.SERVER_NAMESPACE)

    # -- within

    def _leave(self, socket: Socket, reason: CloseReason) -> None:
        self._remove(socket)
        socket.left(reason)
        if not self.sockets:
            self._await_connect()

    def _remove(self, socket: Socket) -> None:
        self.sockets = tuple(each for each in self.sockets if each is not socket)

    def _take(self, packet: Packet, wait: int = 0) -> None:
        """``wait``: an event is to be refused for so many milliseconds."""
        kind = packet.type
        if kind is PacketType.CONNECT:
            self._connect(packet)
        elif kind is PacketType.CONNECT_ERROR:
            raise PacketError("not a packet that a client may send")
        elif kind is PacketType.DISCONNECT:
            socket = self._socket(packet.namespace)
            if socket is not None:
                self._leave(socket, CloseReason.CLIENT_NAMESPACE)
        elif packet.attachments:
            self._await_attachments(packet, wait)
        else:
            self._take_values(packet, None, wait)

    def _await_attachments(self, packet: Packet, wait: int) -> None:
        self._socket(packet.namespace)
        options = self.session.engine.options
        if packet.attachments > options.max_attachments:
            raise PacketError("too many attachments")
        deadline = Deadline(lambda: self.session.close(CloseReason.PARSE_ERROR))
        self._waiting = _Attachments(packet, [], deadline, options.max_payload, wait)
        self.session.engine.deadlines.arm(deadline, options.attachment_timeout)

    def _take_values(self, packet: Packet, attachments: list[bytes] | None, wait: int = 0) -> None:
        socket = self._socket(packet.namespace)
        if socket is None:
            return
        if packet.type in (PacketType.EVENT, PacketType.BINARY_EVENT):
            raw = packets.decode_array(packet.json)
            if wait:
                socket.namespace.refuse(socket, raw, packet.id, wait)
            else:
                socket.namespace.dispatch(socket, raw, packet.id, attachments)
        elif packet.id is None or not packet.json.lstrip(_JSON_SPACE).startswith(b"["):
            raise PacketError("an acknowledgement needs an id and a JSON array")
        elif socket.awaits(packet.id):  # else it came too late or is made up: not worth decoding
            raw = packets.decode_array(packet.json)
            socket.acknowledged(packet.id, packets.decode_values(raw, attachments or ()))

    def _socket(self, namespace: str) -> Socket | None:
        """The socket that a packet is for; None if the server has just disconnected it.

        Raises:
            PacketError: the client has not joined that namespace.
        """
        for socket in self.sockets:
            if socket.namespace.name == namespace and socket.state is CONNECTED:
                return socket
        if self._dismissed is not None and namespace in self._dismissed:
            return None  # it was sent before our DISCONNECT arrived
        raise PacketError("not connected to that namespace")

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self.session.engine.deadlines.cancel(self._waiting.deadline)
            self._waiting = None

    # -- arriving from another process

    def _arrived(self, moved: MovedSocket) -> asyncio.Future[None]:
        """The socket is here, and being restored."""
        namespace = self._server.find(moved.namespace)
        if namespace is None or namespace.move is None:
            raise LookupError(f"there is no such namespace to move to: {moved.namespace}")
        socket = Socket(self, namespace, moved)
        self.sockets += (socket,)
        self._joined(socket)
        socket.task = asyncio.ensure_future(namespace.move.restore(socket, moved.data))
        return socket.task

    async def _restore(self, tasks: list[asyncio.Future[None]]) -> None:
        """Raises what one of them raises; one of a socket that leaves is cancelled."""
        if tasks:
            await asyncio.wait(tasks)
        for socket in self.sockets:
            socket.task = None
        failures = [task.exception() for task in tasks if not task.cancelled()]
        for failure in filter(None, failures):
            raise failure

    # -- joining a namespace

    def _connect(self, packet: Packet) -> None:
        auth = packets.decode_value(packet.json) if packet.json else {}
        known = any(socket.namespace.name == packet.namespace for socket in self.sockets)
        if packet.id is not None or not isinstance(auth, dict) or known:
            raise PacketError("bad CONNECT")
        if len(self.sockets) + self._refused >= self.session.engine.options.max_namespaces:
            raise PacketError("too many namespaces")
        namespace = self._server.find(packet.namespace)
        if namespace is None:
            self._refuse(packet.namespace, ConnectRefused("Invalid namespace"))
            return
        if self._dismissed is not None:
            self._dismissed.discard(packet.namespace)
        socket = Socket(self, namespace)
        self.sockets += (socket,)
        try:
            running = namespace.authorization(socket, auth)
        except Exception as exc:
            self._not_authorized(socket, exc)
        else:
            if running is None:
                self._join(socket, auth)
            else:
                socket.task = asyncio.ensure_future(running)
                socket.task.add_done_callback(lambda done: self._authorized(socket, auth, done))

    def _authorized(self, socket: Socket, auth: dict[str, Any], done: asyncio.Future[None]) -> None:
        socket.task = None
        exc = None if done.cancelled() else done.exception()
        if socket.state is SocketState.CONNECTING:
            with self.session.engine.batch:
                if exc is not None:
                    self._not_authorized(socket, exc)
                elif not done.cancelled():
                    self._join(socket, auth)

    def _join(self, socket: Socket, auth: dict[str, Any]) -> None:
        self._joined(socket)
        if not self.session.engine.options.keep_handshake:
            self.session.handshake = None
        json = b'{"sid":"%s"}' % socket.id.encode()
        packet = packets.encode(PacketType.CONNECT, socket.namespace.name, None, json)
        self.session.send(MESSAGE + packet)
        socket.namespace.connected(socket, auth)

    def _joined(self, socket: Socket) -> None:
        socket.state = SocketState.CONNECTED
        socket.namespace.sockets[socket.id] = socket
        self.session.engine.deadlines.cancel(self)

    def _not_authorized(self, socket: Socket, exc: BaseException) -> None:
        if isinstance(exc, ConnectUnavailable):
            self.session.close(exc.reason)
            return
        if not isinstance(exc, ConnectRefused):
            fault(logger, "the authorize handler failed", exc)
            self.session.close(CloseReason.FORCED)
            return
        self._remove(socket)
        socket.left(CloseReason.SERVER_NAMESPACE)
        self._refuse(socket.namespace.name, exc)

    def _refuse(self, namespace: str, refused: ConnectRefused) -> None:
        self._refused += 1
        answer: dict[str, object] = {"message": refused.message}
        if refused.data is not None:
            answer["data"] = refused.data
        json = msgspec.json.encode(answer)
        packet = packets.encode(PacketType.CONNECT_ERROR, namespace, None, json)
        self.session.send(MESSAGE + packet)

    def _await_connect(self) -> None:
        engine = self.session.engine
        engine.deadlines.arm(self, engine.options.connect_timeout)


class _Attachments(msgspec.Struct):
    """A binary packet and what has come of its attachments."""

    packet: Packet
    arrived: list[bytes]
    deadline: Deadline
    room: int
    """Bytes that may still come."""
    wait: int
    """Milliseconds for which it is to be refused; 0: it isn't."""

    def parts(self) -> list[tuple[bool, bytes]]:
        """All of it, as it came."""
        packet = self.packet
        text = packets.encode(
            packet.type, packet.namespace, packet.id, packet.json, packet.attachments
        )
        return [(False, text), *((True, attachment) for attachment in self.arrived)]


class Server:
    """A Socket.IO server; give :attr:`engine` to the transports."""

    def __init__(self, options: Options, *, node: str = "", peers: Peers | None = None) -> None:
        """``node`` and ``peers``: as :class:`Engine` has them."""
        self.engine = Engine(
            options, lambda session: Connection(self, session), node=node, peers=peers
        )
        self._namespaces: dict[str, Namespace] = {}

    def namespace(self, name: str = "/") -> Namespace:
        """The namespace of that name, made at the first call."""
        return self._namespaces.setdefault(name, Namespace(name))

    def find(self, name: str) -> Namespace | None:
        """The namespace of that name, if it was made."""
        return self._namespaces.get(name)
