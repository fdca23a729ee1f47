"""What waits for a user, and all that was ever sent to one."""

from __future__ import annotations

from typing import Any

import pytest

from .clients import Chat, Devices, numbered, texts
from .conftest import StartServer
from .server import HUSH, ChatServer, new_user


async def test_what_was_sent_to_somebody_away_waits_for_them(
    server: ChatServer, devices: Devices, transports: list[str] | None
) -> None:
    alice = await devices.connect(server, transports=transports)
    bob = devices.make(server, transports=transports)
    chats = await alice.send_all(bob.user, numbered(5))
    await bob.connect()
    assert await bob.unreceived() == chats
    await bob.settle()
    assert bob.received("message") == []


async def test_lists_are_empty_for_somebody_new(server: ChatServer, devices: Devices) -> None:
    alice = await devices.connect(server)
    assert await alice.unreceived() == []
    assert await alice.everything() == {}


async def test_a_list_that_was_asked_for_without_acknowledgement_comes_as_an_event(
    server: ChatServer, devices: Devices
) -> None:
    alice = await devices.connect(server)
    chat = await alice.send(alice.user)
    await alice.emit("unreceived messages")
    assert await alice.wait("unreceived messages") == [[chat]]
    await alice.emit("all messages", None)
    assert await alice.wait("all messages") == [{alice.user: [chat]}]


async def test_what_was_marked_received_waits_no_longer_but_stays_listed(
    server: ChatServer, devices: Devices
) -> None:
    alice, bob = await devices.connect(server), await devices.connect(server)
    first, second, third = await alice.send_all(bob.user, numbered(3))
    await bob.emit("receive message", {"chatId": third["id"].upper()})
    for _ in range(2):  # again is fine
        assert await bob.mark_received(second) == {"chatId": second["id"], "received": True}

    assert await bob.unreceived() == [first]
    assert await bob.everything() == {
        alice.user: [first, {**second, "received": True}, {**third, "received": True}]
    }
    assert bob.received("error") == []


async def test_only_its_receiver_may_mark_a_chat_and_others_learn_nothing(
    server: ChatServer, devices: Devices
) -> None:
    alice, bob, eve = [await devices.connect(server) for _ in range(3)]
    chat = await alice.send(bob.user)
    unknown = {**chat, "id": new_user()}
    answers = []
    for device, what in ((alice, chat), (eve, chat), (eve, unknown), (bob, unknown)):
        error = (await device.mark_received(what))["error"]
        assert await device.wait("error") == [error]
        device.received("error").clear()
        assert error.pop("id") == device.user
        answers.append(error)
    assert answers[0]["code"] == "not_found"
    assert all(answer == answers[0] for answer in answers)
    assert await bob.unreceived() == [chat]


async def test_all_messages_are_told_by_sender_the_oldest_first(
    server: ChatServer, devices: Devices
) -> None:
    bob = await devices.connect(server)
    senders = [bob, await devices.connect(server), await devices.connect(server)]
    sent: dict[str, list[Chat]] = {sender.user: [] for sender in senders}
    for message in numbered(4):
        for sender in senders:
            sent[sender.user].append(await sender.send(bob.user, message))
        await bob.send(senders[1].user, f"{HUSH} from bob, so not in his list")
    assert await bob.everything() == sent


async def test_a_list_can_be_read_in_parts(server: ChatServer, devices: Devices) -> None:
    alice, bob = await devices.connect(server), await devices.connect(server)
    chats = await alice.send_all(bob.user, numbered(10))
    ids = [chat["id"] for chat in chats]

    async def everything(**query: Any) -> list[Chat]:
        return (await bob.everything(**query)).get(alice.user, [])

    assert await everything(limit=3) == chats[7:]
    assert await everything(before=ids[7], limit=3) == chats[4:7]
    assert await everything(before=ids[2], limit=3) == chats[:2]
    assert await everything(before=ids[0]) == []
    assert await everything(after=ids[2]) == chats[3:]
    assert await everything(after=ids[2].upper(), limit=3) == chats[3:6]
    assert await everything(after=ids[2], before=ids[5]) == chats[3:5]
    assert await everything(after=ids[9]) == []

    assert await bob.unreceived(limit=3) == chats[:3]
    assert await bob.unreceived(after=ids[2], limit=3) == chats[3:6]
    assert await bob.unreceived(after=ids[8]) == chats[9:]
    assert await bob.unreceived(before=ids[5]) == chats[:5]
    await bob.mark_received(chats[4])
    assert await bob.unreceived(after=ids[3], limit=2) == chats[5:7]
    assert await bob.unreceived(after=ids[4], before=ids[6]) == chats[5:6]


@pytest.mark.parametrize("event", ["unreceived messages", "all messages"])
async def test_the_part_that_is_wanted_must_make_sense(
    server: ChatServer, devices: Devices, event: str
) -> None:
    alice, bob = await devices.connect(server), await devices.connect(server)
    chat = await alice.send(bob.user)
    queries: list[Any] = [
        {"limit": 0},
        {"limit": -1},
        {"limit": "5"},
        {"limit": 1.5},
        {"limit": True},
        {"before": "yesterday"},
        {"after": 7},
        ["limit"],
        "limit",
        5,
    ]
    for query in queries:
        error = (await bob.call(event, query))["error"]
        assert (error["code"], error["event"]) == ("bad_request", event), query
    for query in ({"before": new_user()}, {"after": new_user()}):
        assert (await bob.call(event, query))["error"]["code"] == "not_found"
    for query in ({"before": chat["id"]}, {"after": chat["id"]}):  # sent by her, not to her
        assert (await alice.call(event, query))["error"]["code"] == "not_found"
    assert await bob.unreceived() == [chat]


async def test_lists_are_bounded_and_the_rest_can_be_fetched(
    start_server: StartServer, devices: Devices
) -> None:
    server = start_server(LIST_MAX_CHATS="50")
    alice, bob = await devices.connect(server), await devices.connect(server)
    chats = await alice.send_all(bob.user, numbered(120))

    assert (await bob.everything())[alice.user] == chats[70:]
    assert (await bob.everything(limit=1000))[alice.user] == chats[70:]
    assert (await bob.everything(before=chats[70]["id"]))[alice.user] == chats[20:70]
    assert (await bob.everything(before=chats[20]["id"]))[alice.user] == chats[:20]
    assert await bob.unreceived() == chats[:50]
    assert await bob.unreceived(after=chats[49]["id"]) == chats[50:100]
    assert await bob.unreceived(after=chats[99]["id"], limit=1000) == chats[100:]


async def test_what_is_marked_makes_room_for_the_next(
    start_server: StartServer, devices: Devices
) -> None:
    server = start_server(LIST_MAX_CHATS="50")
    alice, bob = await devices.connect(server), await devices.connect(server)
    chats = await alice.send_all(bob.user, numbered(70))
    for chat in await bob.unreceived():
        await bob.mark_received(chat)
    assert texts(await bob.unreceived()) == texts(chats[50:])
