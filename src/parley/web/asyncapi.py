"""The protocol as an AsyncAPI document, made from the structs that are decoded and sent.

To document an event, add a line to ``EMITTED`` or ``HEARD``; a test fails while
one of the gateway's events has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeAlias

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from parley.chat.listing import Query
from parley.chat.receipts import Delivered, DeliveryQuestion
from parley.chat.service import Draft, ReceivedMark
from parley.gateway import PONG, ErrorReply
from parley.model import Chat, ChatId, UserId

PATH: Final = "/asyncapi.json"

_SCHEMA: Final = "#/components/schemas/{name}"
_CHANNEL: Final = "#/channels/chat"
_JOIN: Final = "Join the namespace"
_REFUSE: Final = "The client may not join"
_ABOUT: Final = (
    "A chat server that speaks Socket.IO (protocol version 5) on the main namespace. An operation "
    "that Parley *receives* is an event that a client emits; its reply is the acknowledgement, "
    "which a client may ask for or not."
)
_SERVER: Final = {
    "host": "{host}",
    "pathname": "/socket.io/",
    "protocol": "wss",
    "description": "WebSocket or HTTP long-polling; the protocols of Socket.IO and Engine.IO say "
    "how events are framed.",
    "variables": {"host": {"default": "127.0.0.1:3000"}},
    "security": [{"$ref": "#/components/securitySchemes/token"}],
}
_TOKEN: Final = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "In the handshake's `Authorization` header, or as `auth: {token}` when joining; "
    "the latter wins.",
}


class Auth(msgspec.Struct):
    """What a client joins with; the ``auth`` of Socket.IO's clients."""

    token: str | msgspec.UnsetType = msgspec.UNSET
    receipts: bool = False


class Refusal(msgspec.Struct):
    """Why a client may not join."""

    message: str
    data: RefusalData


class RefusalData(msgspec.Struct):
    """The part of a refusal that programs read."""

    code: Literal["token_missing", "token_invalid", "token_expired"]


class Receipt(msgspec.Struct):
    """A chat is marked received."""

    chatId: ChatId  # noqa: N815 - the wire's name
    received: bool


class Failure(msgspec.Struct):
    """The acknowledgement of a request that failed."""

    error: ErrorReply


_UUID: Final = {"format": "uuid"}
Ids: TypeAlias = list[Annotated[ChatId, msgspec.Meta(extra_json_schema=_UUID)]]
Pong: TypeAlias = Annotated[str, msgspec.Meta(extra_json_schema={"const": PONG})]


class Emitted(msgspec.Struct, frozen=True):
    """An event that a client emits."""

    summary: str
    data: Any = None
    """The type of its data; None if it has none."""
    acknowledged: Any = None
    """The type of the acknowledgement, if all goes well."""


class Heard(msgspec.Struct, frozen=True):
    """An event that the server emits."""

    summary: str
    data: Any


EMITTED: Final[Mapping[str, Emitted]] = {
    "ping": Emitted("Ask whether the server is there", acknowledged=Pong),
    "send message": Emitted("Send a message to a user", Draft, Chat),
    "receive message": Emitted("Mark a chat received", ReceivedMark, Receipt),
    "unreceived messages": Emitted(
        "Ask for the chats that aren't marked received, the oldest first", Query | None, list[Chat]
    ),
    "all messages": Emitted(
        "Ask for all chats sent to the user, by sender, the oldest first",
        Query | None,
        dict[UserId, list[Chat]],
    ),
    "delivery": Emitted(
        "Ask which of the chats sent to a user are marked received", DeliveryQuestion, Ids
    ),
}
HEARD: Final[Mapping[str, Heard]] = {
    "pong": Heard("Answers `ping`", Pong),
    "message": Heard("A chat was sent to the user; it is stored", Chat),
    "unreceived messages": Heard("Answers the event of the same name", list[Chat]),
    "all messages": Heard("Answers the event of the same name", dict[UserId, list[Chat]]),
    "received": Heard(
        "A chat that the user sent was marked received, for the first time", Delivered
    ),
    "delivery": Heard("Answers the event of the same name", Ids),
    "error": Heard(
        "Something went wrong; the connection lives on, except with `token_expired`", ErrorReply
    ),
}

_USER: Final = {**_UUID, "description": "A user's UUID, in lower case."}
_CHAT: Final = {**_UUID, "description": "The chat's UUID."}
FIELDS: Final[Mapping[str, Mapping[str, dict[str, Any]]]] = {
    "Auth": {
        "token": {
            "description": "A JWT signed with HS256; a leading `Bearer` is allowed. Without it, "
            "the handshake's `Authorization` header counts."
        },
        "receipts": {"description": "Whether the client wants the event `received`."},
    },
    "Refusal": {
        "message": {"description": "For people: what is wrong with the token."},
        "data": {},
    },
    "RefusalData": {"code": {"description": "For programs."}},
    "Draft": {
        "receiver": {**_UUID, "description": "The UUID of the user who shall get it."},
        "message": {"description": "Text: not empty, no NUL.", "minLength": 1},
        "id": {
            **_UUID,
            "description": "A UUID chosen by the client, so that sending again stores nothing "
            "twice.",
        },
    },
    "ReceivedMark": {"chatId": _CHAT},
    "Delivered": {"chatId": _CHAT, "receiver": _USER},
    "DeliveryQuestion": {
        "receiver": {**_UUID, "description": "To whom the chats were sent."},
        "chatIds": {"items": {"type": "string", **_UUID}, "description": "The UUIDs of chats."},
    },
    "Receipt": {"chatId": _CHAT, "received": {"const": True, "description": "Always true."}},
    "Query": {
        "before": {**_UUID, "description": "The id of a chat: only what was sent before it."},
        "after": {**_UUID, "description": "The id of a chat: only what was sent after it."},
        "limit": {
            "minimum": 1,
            "description": "At most so many chats; the server has a limit of its own.",
        },
    },
    "Chat": {
        "id": _CHAT,
        "sender": _USER,
        "receiver": _USER,
        "message": {"description": "The text."},
        "createdAt": {"description": "Milliseconds since 1970, by the server's clock."},
        "received": {"description": "Whether its receiver has marked it received."},
    },
    "Failure": {"error": {}},
    "ErrorReply": {
        "id": {**_UUID, "description": "The user it is sent to."},
        "message": {"description": "For people: what is wrong and what to do."},
        "code": {},
        "event": {"description": "The event that failed, if one did."},
        "retryable": {"description": "Whether the same request may succeed later."},
        "retryAfter": {"description": "Milliseconds to wait before, with the code rate_limited."},
    },
}
"""What the structs can't say of their fields."""


def route(version: str, message_max_length: int) -> Route:
    """Serves the document; anybody may read it, pages of other sites too."""
    body = msgspec.json.encode(document(version, message_max_length))
    headers = {"access-control-allow-origin": "*"}

    async def asyncapi(request: Request) -> Response:
        return Response(body, media_type="application/json", headers=headers)

    return Route(PATH, asyncapi)


def document(version: str, message_max_length: int) -> dict[str, Any]:
    """AsyncAPI 3.0 of a Parley of that version, whose messages have so many characters at most."""
    rows = list(_rows())
    types = [each for row in rows for each in row.types]
    schemas, components = msgspec.json.schema_components(types, ref_template=_SCHEMA)
    left = iter(schemas)
    messages = {row.key: _message(row, [next(left) for _ in row.types]) for row in rows}
    for name, fields in FIELDS.items():
        for field, facts in fields.items():
            components[name]["properties"][field].update(facts)
    components["Draft"]["properties"]["message"]["maxLength"] = message_max_length
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Parley", "version": version, "description": _ABOUT},
        "defaultContentType": "application/json",
        "servers": {"parley": _SERVER},
        "channels": {"chat": {"address": "/", "title": "The main namespace", "messages": messages}},
        "operations": dict(_operations()),
        "components": {"schemas": components, "securitySchemes": {"token": _TOKEN}},
    }


class _Row(NamedTuple):
    """A message, in the order of the document."""

    key: str
    name: str
    summary: str
    types: tuple[Any, ...]
    """Of its data: one of these; there is no data if there are none."""


def _rows() -> Iterator[_Row]:
    yield _Row(_key("emit", "connect"), "connect", _JOIN, (Auth,))
    for name, emitted in EMITTED.items():
        data = () if emitted.data is None else (emitted.data,)
        yield _Row(_key("emit", name), name, emitted.summary, data)
        answers = (emitted.acknowledged, Failure)
        yield _Row(_key("ack", name), f"{name} (acknowledgement)", f"Answers `{name}`", answers)
    yield _Row(_key("on", "connect_error"), "connect_error", _REFUSE, (Refusal,))
    for name, heard in HEARD.items():
        yield _Row(_key("on", name), name, heard.summary, (heard.data,))


def _message(row: _Row, schemas: list[dict[str, Any]]) -> dict[str, Any]:
    payload: dict[str, Any] = {"oneOf": schemas}
    if len(schemas) < 2:
        payload = schemas[0] if schemas else {"type": "null"}
    return {"name": row.name, "title": row.name, "summary": row.summary, "payload": payload}


def _operations() -> Iterator[tuple[str, dict[str, Any]]]:
    yield _operation("receive", _key("emit", "connect"), _JOIN)
    for name, emitted in EMITTED.items():
        key, operation = _operation("receive", _key("emit", name), emitted.summary)
        reply = {"channel": {"$ref": _CHANNEL}, "messages": [_reference(_key("ack", name))]}
        yield key, {**operation, "reply": reply}
    yield _operation("send", _key("on", "connect_error"), _REFUSE)
    for name, heard in HEARD.items():
        yield _operation("send", _key("on", name), heard.summary)


def _operation(action: str, key: str, summary: str) -> tuple[str, dict[str, Any]]:
    messages = [_reference(key)]
    return key, {
        "action": action,
        "channel": {"$ref": _CHANNEL},
        "summary": summary,
        "messages": messages,
    }


def _reference(key: str) -> dict[str, str]:
    return {"$ref": f"{_CHANNEL}/messages/{key}"}


def _key(what: str, name: str) -> str:
    """How a message is called in the document: ``emit-send-message``, ``ack-...``, ``on-...``."""
    return f"{what}-{name.replace(' ', '-').replace('_', '-')}"
