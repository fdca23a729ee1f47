"""Joins Socket.IO and the rules of chat: the table of events.

To add an event, add a line to ``Gateway._rules`` and the method it names.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import msgspec

from parley.chat.auth import Authenticator, Identity, KeysAway, Refusal, UnknownKey
from parley.chat.delivery import Delivery
from parley.chat.inbox import Inbox
from parley.chat.listing import Listing
from parley.chat.ports import Clock
from parley.chat.receipts import Delivered, Receipts
from parley.chat.replies import internal, rate_limited
from parley.chat.service import ChatService
from parley.device import Device, MovedDevice
from parley.errors import ChatError, ErrorCode, StoreUnavailable
from parley.event_data import DELIVERY_QUESTION, DRAFT, RECEIVED_MARK, read_query
from parley.incidents import Incident, fault, tell
from parley.model import Chat, ChatId, UserId
from parley.socketio.events import Event
from parley.socketio.namespaces import ConnectRefused, ConnectUnavailable, Socket, encode_event
from parley.socketio.packets import PacketError
from parley.socketio.protocol import CloseReason
from parley.socketio.server import Server

logger = logging.getLogger(__name__)

T = TypeVar("T")
D = TypeVar("D")
Rule: TypeAlias = Callable[[Socket, Event], Coroutine[Any, Any, None] | None]
Decode: TypeAlias = Callable[[Event], D]
Read: TypeAlias = Callable[[UserId, D], Awaitable[bytes]]
"""Finds what a user asks for, as JSON."""

NAMESPACE: Final = "/"
PONG: Final = "Hello World!"
_MAX_SLEEP: Final = 3_600.0
"""Seconds after which a token's expiry is looked at again; the wall clock may have been set."""

_encode = msgspec.json.Encoder().encode
_message_prefix: Final = encode_event(NAMESPACE, b'["message",')
_received_prefix: Final = encode_event(NAMESPACE, b'["received",')
_pong: Final = encode_event(NAMESPACE, _encode(["pong", PONG]))


class ErrorReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """The data of an ``error`` event."""

    id: UserId
    """The user it is sent to."""
    message: str
    code: ErrorCode
    event: str | None = None
    """The event that failed, if one did."""
    retryable: bool = False
    retryAfter: int | None = None  # noqa: N815 - the wire's name
    """Milliseconds before which the same request can't succeed."""


def encode_message(chat: Chat) -> bytes:
    """The packet that tells a device of a chat; the same one for every device and node."""
    return b"%s%s]" % (_message_prefix, _encode(chat))


def encode_received(delivered: Delivered) -> bytes:
    """The packet that tells a device of a receipt; the same one for every device and node."""
    return b"%s%s]" % (_received_prefix, _encode(delivered))


def _encode_receipt(chat_id: ChatId) -> bytes:
    return _encode({"chatId": chat_id, "received": True})


class Rules(NamedTuple):
    """The rules of chat that events are joined to."""

    authenticator: Authenticator
    service: ChatService
    listing: Listing
    delivery: Delivery
    receipts: Receipts


class Gateway:
    """Registers the chat's handlers on a Socket.IO server."""

    def __init__(self, server: Server, rules: Rules, clock: Clock) -> None:
        self._deadlines = server.engine.deadlines
        self._limiter = server.engine.limiter
        self._max_in_flight = server.engine.options.max_in_flight
        self._authenticator, self._service, self._listing, self._delivery, self._receipts = rules
        self._clock = clock
        self.events: Counter[str] = Counter()
        """Events taken so far, by name."""
        self.errors: Counter[ErrorCode] = Counter()
        """Errors answered so far, by code."""
        namespace = server.namespace(NAMESPACE)
        self._sockets = namespace.sockets
        namespace.authorize(self._authorize)
        namespace.on_connect(self._connected)
        namespace.on_disconnect(self._disconnected)
        namespace.on_move(self._export, self._restore)
        namespace.on_other(self._guarded(self._unknown, "unknown"))
        namespace.on_excess(self._exceeded)
        for name, rule in self._rules().items():
            namespace.on(name)(self._guarded(rule, name))

    def _rules(self) -> dict[str, Rule]:
        return {
            "ping": self._ping,
            "send message": partial(self._ask, DRAFT.read, self._service.send, _encode),
            "receive message": partial(
                self._ask, RECEIVED_MARK.read, self._service.receive, _encode_receipt
            ),
            "unreceived messages": partial(self._look_up, read_query, self._listing.unreceived),
            "all messages": partial(self._look_up, read_query, self._listing.all),
            "delivery": partial(self._look_up, DELIVERY_QUESTION.read, self._receipts.delivered),
        }

    # -- connecting

    def _authorize(self, socket: Socket, auth: dict[str, Any]) -> Awaitable[None]:
        token = auth.get("token")
        if token is None and socket.session.handshake is not None:
            token = socket.session.handshake.headers.get("authorization")
        try:
            identity = self._authenticator.verify(token)
        except UnknownKey:
            return self._authorize_later(socket, token)
        except ChatError as exc:
            raise self._refused(exc) from None
        return self._open(socket, identity)

    async def _authorize_later(self, socket: Socket, token: object) -> None:
        try:
            identity = await self._authenticator.verify_with_newer_keys(token)
        except KeysAway as exc:
            _put_off(Refusal.KEYS_AWAY)
            raise ConnectUnavailable from exc
        except ChatError as exc:
            raise self._refused(exc) from None
        await self._open(socket, identity)

    async def _open(self, socket: Socket, identity: Identity) -> None:
        if not self._limiter.admits_account(identity.user):
            # After a CONNECT_ERROR official clients would not come back by themselves.
            raise ConnectUnavailable(CloseReason.TOO_MANY)
        socket.data = Device(self, socket, await self._open_inbox(identity.user), identity)

    async def _open_inbox(self, user: UserId, *, moved: bool = False) -> Inbox:
        try:
            return await self._delivery.open(user, moved=moved)
        except ChatError as exc:
            if exc.code is ErrorCode.TOO_MANY_CONNECTIONS:
                raise self._refused(exc) from None
            self.errors[exc.code] += 1
            _put_off(exc.code)
            raise ConnectUnavailable from exc

    def _refused(self, error: ChatError) -> ConnectRefused:
        self.errors[error.code] += 1
        text, code = "a connection was refused", error.code
        tell(logger, Incident.CONNECT_REFUSED, text, reason=code, subject=code)
        return ConnectRefused(error.message, {"code": error.code})

    def _connected(self, socket: Socket, auth: dict[str, Any]) -> None:
        device: Device = socket.data
        self._delivery.attach(device.inbox, socket)
        socket.session.account = device.inbox.owner
        if auth.get("receipts") is True:
            self._follow(device)
        self._watch_token(device)
        logger.debug("user %s connected", device.inbox.owner)

    def _disconnected(self, socket: Socket, reason: CloseReason) -> None:
        device: Device | None = socket.data
        if device is None:
            return
        self._deadlines.cancel(device)
        if device.answering is not None:
            device.answering.cancel()
        if device.follows:
            self._receipts.unfollow(device.inbox.owner, socket)
        self._delivery.detach(device.inbox, socket)
        self._delivery.close(device.inbox)
        logger.debug("user %s disconnected: %s", device.inbox.owner, reason)

    def _follow(self, device: Device) -> None:
        device.follows = True
        self._receipts.follow(device.inbox.owner, device.socket)

    # -- moving to another process

    def _export(self, socket: Socket) -> bytes:
        device: Device = socket.data
        return device.export()

    async def _restore(self, socket: Socket, data: bytes) -> None:
        moved = MovedDevice.read(data)
        inbox = await self._open_inbox(moved.user, moved=True)
        try:
            await self._delivery.resume(inbox, socket, moved.seen)
        except BaseException as exc:
            self._delivery.close(inbox)
            if isinstance(exc, StoreUnavailable):
                raise ConnectUnavailable from exc
            raise
        socket.session.account = inbox.owner
        device = socket.data = Device(self, socket, inbox, moved.identity)
        if moved.follows:
            self._follow(device)
        self._watch_token(device)
        logger.debug("user %s moved here", moved.user)

    # -- tokens that expire, or are revoked

    def _watch_token(self, device: Device) -> None:
        identity = device.identity
        if self._authenticator.check(identity) is not None:  # meanwhile
            self._deadlines.arm(device, 0.0)
        elif identity.expires_at is not None:
            # A little late rather than early: deadlines may fire before their time.
            left = identity.expires_at - self._clock.now() + self._deadlines.resolution
            self._deadlines.arm(device, min(left, _MAX_SLEEP))

    def check_token(self, device: Device) -> None:
        """Disconnect a client whose token is of no use any more."""
        error = self._authenticator.check(device.identity)
        if error is None:
            self._watch_token(device)
            return
        self._send_error(device.socket, error, None)
        # Closing the transport makes official clients reconnect by themselves,
        # with a fresh token; a Socket.IO DISCONNECT would keep them away.
        device.socket.disconnect(close=True)

    def check_users(self, users: AbstractSet[UserId]) -> None:
        """Look at the tokens of all clients here that are one of these users."""
        for socket in list(self._sockets.values()):
            device: Device | None = socket.data  # None: it is moving here, and looks itself then
            if device is not None and device.inbox.owner in users:
                self.check_token(device)

    # -- events

    def _ping(self, socket: Socket, event: Event) -> None:
        socket.send(_pong)
        event.ack(PONG)

    def _ask(
        self,
        decode: Decode[D],
        request: Callable[[UserId, D, Callable[[T | ChatError], None]], int],
        to_json: Callable[[T], bytes],
        socket: Socket,
        event: Event,
    ) -> None:
        """Have the service do something, and acknowledge its outcome as ``to_json`` puts it."""
        data = decode(event)
        socket.session.hold()
        try:
            device: Device = socket.data
            done = partial(self._answer, socket, event, to_json)
            device.submitted = request(device.inbox.owner, data, done)
        except BaseException:
            socket.session.release()
            raise

    def _answer(
        self,
        socket: Socket,
        event: Event,
        to_json: Callable[[T], bytes],
        outcome: T | ChatError,
    ) -> None:
        if isinstance(outcome, ChatError):
            self._fail(socket, event, outcome)
        elif event.wants_ack:
            event.ack_json(b"[%s]" % to_json(outcome))
        socket.session.release()  # last: it may close a session that drains

    def _look_up(
        self, decode: Decode[D], read: Read[D], socket: Socket, event: Event
    ) -> Coroutine[Any, Any, None]:
        """Answer with an event of the same name, and what ``read`` finds of the decoded data."""
        # One at a time: a client isn't read on before its answer is on its way.
        socket.session.hold(self._max_in_flight)
        return self._answer_look_up(decode, read, socket, event)

    async def _answer_look_up(
        self, decode: Decode[D], read: Read[D], socket: Socket, event: Event
    ) -> None:
        device: Device = socket.data
        device.answering = asyncio.current_task()
        try:
            data = decode(event)
            # The answer shows what its client did before.
            await self._service.settled(device.submitted)
            found = await read(device.inbox.owner, data)
            socket.send(encode_event(NAMESPACE, b"[%s,%s]" % (_encode(event.name), found)))
            if event.wants_ack:
                event.ack_json(b"[%s]" % found)
        except ChatError as exc:
            self._fail(socket, event, exc)
        except Exception:
            fault(logger, f"the event {event.name!r} failed")
            self._fail(socket, event, internal())
        finally:
            device.answering = None
            socket.session.release(self._max_in_flight)

    def _unknown(self, socket: Socket, event: Event) -> None:
        names = ", ".join(f"'{name}'" for name in self._rules())
        raise ChatError(ErrorCode.UNKNOWN_EVENT, f"There is no such event; there are {names}")

    def _exceeded(self, socket: Socket, event: Event, wait: int) -> None:
        self._fail(socket, event, rate_limited(wait))

    # -- errors

    def _guarded(self, rule: Rule, name: str) -> Rule:
        """The rule, counted by ``name``, with whatever it raises answered as an error."""

        def handler(socket: Socket, event: Event) -> Coroutine[Any, Any, None] | None:
            self.events[name] += 1
            try:
                return rule(socket, event)
            except ChatError as exc:
                self._fail(socket, event, exc)
            except PacketError:
                raise
            except Exception:
                fault(logger, f"the event {event.name[:_SHOWN]!r} failed")
                self._fail(socket, event, internal())
            return None

        return handler

    def _fail(self, socket: Socket, event: Event, error: ChatError) -> None:
        reply = self._send_error(socket, error, event.name[:_SHOWN])
        event.ack({"error": reply})

    def _send_error(self, socket: Socket, error: ChatError, event: str | None) -> ErrorReply:
        self.errors[error.code] += 1
        text, code = "a client was told of an error", error.code
        tell(logger, Incident.EVENT_REFUSED, text, reason=code, subject=code)
        reply = ErrorReply(
            _user(socket), error.message, code, event, error.retryable, error.retry_after
        )
        socket.send(encode_event(NAMESPACE, _encode(["error", reply])))
        return reply


_SHOWN: Final = 64
"""Characters of an event's name that are shown; it is the client's and may be anything."""


def _put_off(reason: str) -> None:
    """A client can't connect now, and is told to come again."""
    text = "a connection could not be prepared"
    tell(logger, Incident.CONNECT_REFUSED, text, reason=reason, subject=reason)


def _user(socket: Socket) -> UserId:
    device: Device = socket.data
    return device.inbox.owner
