"""Hostile input by its name: each is answered or ends its own connection, and harms nobody else."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final, TypeAlias

import pytest

from tests.services.frames import BINARY, CONTINUATION, PING, PONG, TEXT, encode_frame

from .client import Closed, Honest, Polling, WebSocket
from .inputs import EVENTS, LONG, nested
from .live import LiveNode

BOB: Final = "00000000-0000-4000-8000-000000000000"
MANY: Final = 80_000


def sending(message: str, more: str = "") -> str:
    """A message as JSON, whose text is JSON already."""
    return f'{{"receiver":"{BOB}","message":{message}{more}}}'


def test_every_event_is_fuzzed(node: LiveNode) -> None:
    """One that is new belongs among the inputs, and into ``test_events``."""
    assert node.events() == set(EVENTS)


# Events that are answered by an error; their connections live on

REFUSED = {
    "1e400": ("all messages", '{"limit":1e400}'),
    "10**5000": ("all messages", f'{{"limit":1{"0" * LONG}}}'),
    "-0": ("all messages", '{"limit":-0}'),
    "a lone surrogate": ("send message", sending('"\\ud800"')),
    "a lone surrogate in a key": ("send message", '{"\\ud800":1}'),
    "NUL in a message": ("send message", sending('"a\\u0000b"')),
    "NUL for an id": ("receive message", '{"chatId":"\\u0000"}'),
    "a BOM in an id": ("receive message", f'{{"chatId":"\ufeff{BOB}"}}'),
    "digits of another script": (
        "receive message",
        '{"chatId":"' + BOB.replace("0", "\u0660") + '"}',
    ),
    "__proto__ for data": ("send message", '{"__proto__":{"receiver":"x","message":"y"}}'),
    "a message that is too long": ("send message", sending(json.dumps("x" * 10_001))),
    "a list for an object": ("send message", "[]"),
    "80,000 keys": (
        "send message",
        "{" + ",".join(f'"{number}":0' for number in range(MANY)) + "}",
    ),
    "too many ids": ("delivery", json.dumps({"receiver": BOB, "chatIds": [BOB] * 101})),
    "SQL": ("receive message", '{"chatId":"\' OR 1=1 --"}'),
}


@pytest.mark.parametrize(("event", "data"), REFUSED.values(), ids=REFUSED)
def test_refused(node: LiveNode, honest: Honest, event: str, data: str) -> None:
    with WebSocket(node) as client:
        client.join(node.token())
        answer = client.ask(7, event, data)
        assert answer["error"]["code"] == "bad_request"
        assert client.ask(8, "ping") == "Hello World!"


TAKEN = {
    "a key that comes twice": sending('"one"', ',"message":"two"'),
    "__proto__ beside the data": sending('"hi"', ',"__proto__":{"admin":true}'),
    "a pair of surrogates": sending('"\\ud83d\\ude00"'),
    "characters that turn text around": sending('"\\u202e\\u2066\\ufeff"'),
}


@pytest.mark.parametrize("data", TAKEN.values(), ids=TAKEN)
def test_taken(node: LiveNode, honest: Honest, data: str) -> None:
    with WebSocket(node) as client:
        client.join(node.token())
        chat = client.ask(7, "send message", data)
        assert chat["message"] == json.loads(data)["message"]
        assert chat.keys() == {"id", "sender", "receiver", "message", "createdAt", "received"}


NAMES = {
    "a name of 900 KB": "n" * 900_000,
    "__proto__": "__proto__",
    "constructor": "constructor",
    "an empty name": "",
    "NUL": "\0",
    "a BOM": "\ufeffping",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_unknown_events(node: LiveNode, honest: Honest, name: str) -> None:
    with WebSocket(node) as client:
        client.join(node.token())
        client.say(f"427[{json.dumps(name)}]")
        (answer,) = json.loads(client.until("437[")[3:])
        assert answer["error"]["code"] == "unknown_event"
        assert len(json.dumps(answer)) < 1_000
        assert client.ask(8, "ping") == "Hello World!"


# Packets that end the connection

ENDED = {
    "an id of an acknowledgement beyond 2**53": '429007199254740993["ping"]',
    "an id of 5,000 digits": f'42{"9" * LONG}["ping"]',
    "a negative id": '42-1["ping"]',
    "an acknowledgement without an id": "43[1]",
    "an acknowledgement that is no list": "431{}",
    "11 attachments": '4511-["ping"]',
    "9,999 attachments": '459999-["ping"]',
    "text where an attachment belongs": "\x1e".join(['451-["ping"]', '42["ping"]']),
    "deep arrays": f'42["send message",{nested(MANY)}]',
    "deep objects": '42["send message",' + '{"a":' * MANY + "1" + "}" * MANY + "]",
    "half an array": '42["ping"',
    "no array": "42{}",
    "NaN": '42["ping",NaN]',
    "a BOM before the packet": '\ufeff42["ping"]',
    "NUL before the packet": '\x0042["ping"]',
    "CONNECT_ERROR": '44{"message":"no"}',
    "a packet of type 7": "47",
    "an event for a namespace that was not joined": '42/admin,["ping"]',
    "a name that is no text": "42[{}]",
    "a name of half a character": '42["\\ud800"]',
    "a second CONNECT": "40{}",
    "an upgrade of what is no polling session": "2probe",
}


@pytest.mark.parametrize("packet", ENDED.values(), ids=ENDED)
def test_ended(node: LiveNode, honest: Honest, packet: str) -> None:
    with WebSocket(node) as client:
        client.join(node.token())
        client.say(*packet.split("\x1e"))
        assert _end(client) == 1002


def _end(client: WebSocket) -> int | None:
    """The code with which the server closes, if it does."""
    try:
        while True:
            client.packet()
    except Closed as closed:
        return closed.code


def test_an_acknowledgement_that_nobody_awaits_is_ignored(node: LiveNode, honest: Honest) -> None:
    with WebSocket(node) as client:
        client.join(node.token())
        client.say("430[]", f"43{2**53 - 1}" + nested(MANY))
        assert client.ask(1, "ping") == "Hello World!"


def test_thousands_of_namespaces(node: LiveNode, honest: Honest) -> None:
    with WebSocket(node) as client:
        client.say(*(f"40/{number}," for number in range(5_000)))
        refused = list(client.packets())
    assert len(refused) == 16
    assert all("Invalid namespace" in packet for packet in refused)


Attach: TypeAlias = Callable[[WebSocket], None]
ATTACHED: dict[str, tuple[Attach, int | None]] = {
    "empty ones": (lambda client: _attach(client, b"", b""), None),
    "a giant one": (lambda client: _attach(client, bytes(900_000)), None),
    "giant ones": (lambda client: _attach(client, bytes(900_000), bytes(900_000)), 1002),
    "one that is too large": (lambda client: _attach(client, bytes(1_000_001)), 1009),
    "one of nothing": (lambda client: _binary(client, b"x"), 1002),
}


def _binary(client: WebSocket, *contents: bytes) -> None:
    client.send(b"".join(encode_frame(BINARY, content) for content in contents))


def _attach(client: WebSocket, *contents: bytes) -> None:
    holes = ",".join(f'{{"_placeholder":true,"num":{at}}}' for at in range(len(contents)))
    client.say(f'45{len(contents)}-7["send message",{holes}]')
    _binary(client, *contents)


@pytest.mark.parametrize(("attach", "code"), ATTACHED.values(), ids=ATTACHED)
def test_attachments(node: LiveNode, honest: Honest, attach: Attach, code: int | None) -> None:
    with WebSocket(node) as client:
        client.join(node.token())
        attach(client)
        if code is not None:
            assert _end(client) in (code, None)  # None: it hung up while we were still talking
            return
        (answer,) = json.loads(client.until("437[")[3:])
        assert "no binary data" in answer["error"]["message"]


def test_attachments_that_never_come(node: LiveNode, honest: Honest) -> None:
    """Nothing is kept for them once their client has gone; it would be cut off after 10 s."""
    clients = [WebSocket(node) for _ in range(20)]
    for client in clients:
        client.join(node.token())
        client.say('4510-["ping"]')
        _binary(client, bytes(100_000))
    honest.check()
    assert node.tables()["sockets"] == 21
    for client in clients:
        client.close()


# Frames

FRAMES = {
    "a compressed frame that was not agreed on": (encode_frame(TEXT, b"42", reserved=4), 1002),
    "a fragmented ping": (encode_frame(PING, b"x", final=False), 1002),
    "invalid UTF-8": (encode_frame(TEXT, b'42["\xff"]'), 1007),
    "a frame of 2**62 bytes": (encode_frame(TEXT, b"42", announced=1 << 62), 1009),
    "a million tiny fragments": (
        encode_frame(TEXT, b"6", final=False)
        + encode_frame(CONTINUATION, b"6", final=False) * 1_000_000,
        1009,
    ),
    "fragments of nothing without an end": (
        encode_frame(TEXT, b"", final=False)
        + encode_frame(CONTINUATION, b"", final=False) * 100_000,
        1008,
    ),
}


@pytest.mark.parametrize(("data", "code"), FRAMES.values(), ids=FRAMES)
def test_frames(node: LiveNode, honest: Honest, data: bytes, code: int) -> None:
    with WebSocket(node) as client:
        client.join(node.token())
        client.send(data)
        assert _end(client) in (code, None)


TINY = {
    "noops": encode_frame(TEXT, b"6"),
    "pongs": encode_frame(PONG),
    "pings": encode_frame(PING),
    "fragmented noops": encode_frame(TEXT, b"6", final=False) + encode_frame(CONTINUATION),
}


@pytest.mark.parametrize("tiny", TINY.values(), ids=TINY)
def test_tiny_frames_by_the_hundred_thousand(node: LiveNode, honest: Honest, tiny: bytes) -> None:
    with WebSocket(node) as client:
        client.join(node.token())
        for _ in range(10):
            # Read meanwhile, or it would be cut off: each ping is answered.
            client.send(tiny * 10_000)
            assert client.ask(1, "ping") == "Hello World!"
            honest.check()


# Tokens, where they come in

TOKENS = {
    "1 MB": '"' + "x" * 900_000 + '"',
    "a list": nested(500),
    "a deep list": nested(960),
    "an object": '{"__proto__":"x"}',
    "a number": "9" * 4_000,
    "true": "true",
    "a lone surrogate": '"\\ud800"',
}


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS)
def test_tokens(node: LiveNode, honest: Honest, token: str) -> None:
    with WebSocket(node) as client:
        client.say(f'40{{"token":{token}}}')
        assert _refusal(client) in ("token_invalid", 1002)


def _refusal(client: WebSocket) -> object:
    """The code of the error, or that of the close: then it was no JSON, or too deep to be read."""
    try:
        return json.loads(client.until("44")[2:])["data"]["code"]
    except Closed as closed:
        return closed.code


def test_every_depth_of_a_token(node: LiveNode, honest: Honest) -> None:
    """Also those that one part of the server can take, and the next one can't."""
    for depth in range(900, 1_000):
        with WebSocket(node) as client:
            client.say(f'40{{"token":{nested(depth)}}}')
            assert _refusal(client) in ("token_invalid", 1002)


# The same over polling

BODIES = {
    "nothing": b"",
    "empty packets": b"\x1e" * 100,
    "10,001 packets": b"\x1e".join([b"6"] * 10_001),
    "bad base64": b"b***",
    "an attachment of nothing": b"bAAAA",
    "invalid UTF-8": b'42["\xff"]',
    "a BOM": b"\xef\xbb\xbf42",
    "deep nesting": b"42" + nested(MANY).encode(),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_bodies(node: LiveNode, honest: Honest, body: bytes) -> None:
    polling = Polling(node)
    assert polling.request("POST", f'40{{"token":"{node.token()}"}}'.encode()) == (200, "ok")
    status, answer = polling.request("POST", body)
    assert (status, json.loads(answer)["code"]) == (400, 3)
    # It has ended, and is told so.
    assert polling.request("POST", b"3")[0] == 400
