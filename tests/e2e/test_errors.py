"""What is wrong is answered with an ``error``, and the connection lives on."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from .clients import Device, Devices, numbered
from .conftest import StartServer
from .server import HUSH, PATIENCE, ChatServer, new_user

SOMEBODY = "3F0C6A3E-94C2-4D6B-9F1E-0D8A4A1F6F5B"
INTERNAL = ("traceback", ".py", "sqlite", "msgspec", "asyncio", "exception", "parley", "<class")
"""Words that would tell a client how the server is made."""


async def fails(device: Device, code: str, event: str, *args: Any) -> dict[str, Any]:
    """Emit something wrong; the ``error``, which came as an event and as acknowledgement."""
    errors = device.received("error")
    before = len(errors)
    acknowledgement = await device.call(event, *args)
    assert acknowledgement.keys() == {"error"}, acknowledgement
    error: dict[str, Any] = acknowledgement["error"]
    await device.settle()  # alive
    assert errors[before:] == [error]
    assert (error["id"], error["code"], error["event"]) == (device.user, code, event[:64])
    assert error.keys() == {"id", "message", "code", "event"}  # nothing to retry
    assert error["message"]
    said = json.dumps(error).lower()
    assert not [word for word in INTERNAL if word in said], error
    return error


async def test_an_error_is_an_event_even_if_no_acknowledgement_was_asked_for(
    server: ChatServer, devices: Devices, transports: list[str] | None
) -> None:
    device = await devices.connect(server, transports=transports)
    await device.emit("send message", {"receiver": SOMEBODY})
    (error,) = await device.wait("error")
    assert (error["id"], error["code"]) == (device.user, "bad_request")
    assert error["event"] == "send message"
    assert "message" in error["message"]
    await device.settle()


@pytest.mark.parametrize("event", ["send", "Send Message", "message", "error", "", "x" * 10_000])
async def test_unknown_events_are_named_unknown(
    server: ChatServer, devices: Devices, transports: list[str] | None, event: str
) -> None:
    device = await devices.connect(server, transports=transports)
    error = await fails(device, "unknown_event", event, {"message": HUSH})
    assert "send message" in error["message"]


NO_DRAFTS: dict[str, tuple[Any, ...]] = {
    "nothing": (),
    "null": (None,),
    "text": (HUSH,),
    "number": (5,),
    "array": ([SOMEBODY, HUSH],),
    "empty object": ({},),
    "no message": ({"receiver": SOMEBODY},),
    "no receiver": ({"message": HUSH},),
    "null message": ({"receiver": SOMEBODY, "message": None},),
    "null receiver": ({"receiver": None, "message": HUSH},),
    "receiver is a number": ({"receiver": 7, "message": HUSH},),
    "receiver is an array": ({"receiver": [SOMEBODY], "message": HUSH},),
    "message is an object": ({"receiver": SOMEBODY, "message": {"text": HUSH}},),
    "message is a number": ({"receiver": SOMEBODY, "message": 1},),
    "message is true": ({"receiver": SOMEBODY, "message": True},),
    "receiver is no UUID": ({"receiver": "bob", "message": HUSH},),
    "receiver has no hyphens": ({"receiver": SOMEBODY.replace("-", ""), "message": HUSH},),
    "receiver has braces": ({"receiver": f"{{{SOMEBODY}}}", "message": HUSH},),
    "receiver has a line end": ({"receiver": f"{SOMEBODY}\n", "message": HUSH},),
    "empty message": ({"receiver": SOMEBODY, "message": ""},),
    "NUL": ({"receiver": SOMEBODY, "message": f"{HUSH}\0"},),
    "half a surrogate pair": ({"receiver": SOMEBODY, "message": f"{HUSH} \ud83d"},),
    "10,001 characters": ({"receiver": SOMEBODY, "message": "x" * 10_001},),
    "10,001 emoji": ({"receiver": SOMEBODY, "message": "😀" * 10_001},),
    "binary data": (b"hush",),
    "binary message": ({"receiver": SOMEBODY, "message": b"hush"},),
    "binary beside": ({"receiver": SOMEBODY, "message": HUSH}, b"hush"),
    "id is no UUID": ({"receiver": SOMEBODY, "message": HUSH, "id": "1"},),
    "id is a number": ({"receiver": SOMEBODY, "message": HUSH, "id": 1},),
    "id is empty": ({"receiver": SOMEBODY, "message": HUSH, "id": ""},),
}


@pytest.mark.parametrize("args", NO_DRAFTS.values(), ids=NO_DRAFTS.keys())
async def test_a_message_must_be_as_it_must_be(
    server: ChatServer, devices: Devices, args: tuple[Any, ...]
) -> None:
    device = await devices.connect(server)
    await fails(device, "bad_request", "send message", *args)


NO_MARKS: dict[str, tuple[Any, ...]] = {
    "nothing": (),
    "null": (None,),
    "text": (SOMEBODY,),
    "array": ([SOMEBODY],),
    "empty object": ({},),
    "other case": ({"chatid": SOMEBODY},),
    "null chatId": ({"chatId": None},),
    "number": ({"chatId": 12},),
    "no UUID": ({"chatId": "12"},),
    "binary": ({"chatId": b"12"},),
}


@pytest.mark.parametrize("args", NO_MARKS.values(), ids=NO_MARKS.keys())
async def test_a_receipt_must_name_a_chat(
    server: ChatServer, devices: Devices, args: tuple[Any, ...]
) -> None:
    device = await devices.connect(server)
    await fails(device, "bad_request", "receive message", *args)


NO_QUESTIONS: dict[str, tuple[Any, ...]] = {
    "nothing": (),
    "null": (None,),
    "array": ([SOMEBODY],),
    "empty object": ({},),
    "no receiver": ({"chatIds": [SOMEBODY]},),
    "no chatIds": ({"receiver": SOMEBODY},),
    "receiver is no UUID": ({"receiver": "bob", "chatIds": [SOMEBODY]},),
    "one id": ({"receiver": SOMEBODY, "chatIds": SOMEBODY},),
    "an id is no UUID": ({"receiver": SOMEBODY, "chatIds": [SOMEBODY, "12"]},),
    "an id is a number": ({"receiver": SOMEBODY, "chatIds": [12]},),
    "an id is null": ({"receiver": SOMEBODY, "chatIds": [None]},),
    "101 ids": ({"receiver": SOMEBODY, "chatIds": [SOMEBODY] * 101},),
    "binary": ({"receiver": SOMEBODY, "chatIds": [b"12"]},),
}


@pytest.mark.parametrize("args", NO_QUESTIONS.values(), ids=NO_QUESTIONS.keys())
async def test_a_question_about_delivery_must_be_as_it_must_be(
    server: ChatServer, devices: Devices, args: tuple[Any, ...]
) -> None:
    device = await devices.connect(server)
    error = await fails(device, "bad_request", "delivery", *args)
    assert "receiver" in error["message"] or "chatIds" in error["message"]


@pytest.mark.parametrize("event", ["unreceived messages", "all messages"])
async def test_lists_take_no_binary_data(
    server: ChatServer, devices: Devices, transports: list[str] | None, event: str
) -> None:
    device = await devices.connect(server, transports=transports)
    await fails(device, "bad_request", event, b"hush")
    await fails(device, "bad_request", event, {"limit": b"5"})


@pytest.mark.parametrize("message", ["x" * 10_000, "😀" * 10_000, "\x01\x1e\x7f\u2028 " + HUSH])
async def test_messages_up_to_the_longest_arrive_whole(
    server: ChatServer, devices: Devices, transports: list[str] | None, message: str
) -> None:
    alice = await devices.connect(server, transports=transports)
    chat = await alice.send(alice.user, message)
    assert chat["message"] == message
    assert await alice.wait("message") == [chat]
    assert await alice.unreceived() == [chat]


async def test_after_all_mistakes_the_connection_is_as_good_as_new(
    server: ChatServer, devices: Devices, transports: list[str] | None
) -> None:
    device = await devices.connect(server, transports=transports)
    for args in NO_DRAFTS.values():
        await device.emit("send message", *args)
    await device.wait("error", len(NO_DRAFTS))
    chats = await device.send_all(device.user, numbered(3))
    assert await device.wait("message", 3) == chats
    assert len(device.received("error")) == len(NO_DRAFTS)
    assert len(device.received("connect")) == 1
    assert device.received("disconnect") == []


# -- ids that the client chooses


async def test_a_message_that_is_sent_again_is_stored_and_delivered_once(
    server: ChatServer, devices: Devices, transports: list[str] | None
) -> None:
    alice = await devices.connect(server, transports=transports)
    bob = await devices.connect(server, transports=transports)
    chosen = new_user()
    chat = await alice.send(bob.user, id=chosen.upper())
    assert chat["id"] == chosen
    assert await alice.send(bob.user, id=chosen) == chat
    again = [
        await alice.request("send message", {"receiver": bob.user, "message": HUSH, "id": chosen})
        for _ in range(5)
    ]
    assert await asyncio.wait_for(asyncio.gather(*again), PATIENCE) == [chat] * 5
    await bob.wait("message")
    await bob.settle()
    assert bob.received("message") == [chat]
    assert await bob.unreceived() == [chat]


async def test_an_id_belongs_to_one_chat_of_its_receiver(
    server: ChatServer, devices: Devices
) -> None:
    alice, bob, eve = [await devices.connect(server) for _ in range(3)]
    chat = await alice.send(bob.user, id=new_user())
    taken = {"receiver": bob.user, "message": HUSH, "id": chat["id"]}
    await fails(alice, "id_taken", "send message", {**taken, "message": f"{HUSH}!"})
    await fails(eve, "id_taken", "send message", taken)
    other = await alice.send(eve.user, id=chat["id"])
    assert await bob.unreceived() == [chat]
    assert await eve.unreceived() == [other]


# -- limits of a server's own


async def test_the_longest_message_can_be_set(start_server: StartServer, devices: Devices) -> None:
    server = start_server(MESSAGE_MAX_LENGTH="10")
    alice = await devices.connect(server)
    await alice.send(alice.user, "😀" * 10)
    error = await fails(
        alice, "bad_request", "send message", {"receiver": alice.user, "message": "x" * 11}
    )
    assert "10 " in error["message"]


async def test_a_client_that_floods_is_told_so_and_nothing_is_half_done(
    start_server: StartServer, devices: Devices
) -> None:
    server = start_server(COMMIT_QUEUE_MAX="3")
    alice, bob = await devices.connect(server), await devices.connect(server)
    futures = [
        await alice.request("send message", {"receiver": bob.user, "message": message})
        for message in numbered(300)
    ]
    answers = await asyncio.wait_for(asyncio.gather(*futures), PATIENCE)
    chats = [answer for answer in answers if "error" not in answer]
    errors = [answer["error"] for answer in answers if "error" in answer]
    assert chats
    assert errors
    assert {(error["code"], error["retryable"]) for error in errors} == {("overloaded", True)}
    assert alice.received("error") == errors
    assert await bob.wait("message", len(chats)) == chats
    assert await bob.unreceived() == chats
