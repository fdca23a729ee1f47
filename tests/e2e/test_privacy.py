"""Nobody learns by an answer whether a chat of others exists."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from .clients import Devices
from .server import HUSH, ChatServer, new_user

QUESTIONS: dict[str, Callable[[str, str], tuple[str, dict[str, Any]]]] = {
    "receive message": lambda chat, _: ("receive message", {"chatId": chat}),
    "all after": lambda chat, _: ("all messages", {"after": chat}),
    "all before": lambda chat, _: ("all messages", {"before": chat}),
    "unreceived after": lambda chat, _: ("unreceived messages", {"after": chat, "limit": 1}),
    "unreceived before": lambda chat, _: ("unreceived messages", {"before": chat}),
    "delivery": lambda chat, other: ("delivery", {"receiver": other, "chatIds": [chat]}),
    "send message": lambda chat, _: (
        "send message",
        {"receiver": new_user(), "message": HUSH, "id": chat},
    ),
}
_VARYING = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b\d{13}\b")


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=list(QUESTIONS))
async def test_chats_of_others_are_like_those_that_do_not_exist(
    server: ChatServer,
    devices: Devices,
    question: Callable[[str, str], tuple[str, dict[str, Any]]],
) -> None:
    ann, bob, eve = [await devices.connect(server) for _ in range(3)]
    chat = await ann.send(bob.user)
    await bob.call("receive message", {"chatId": chat["id"]})
    told = []
    for chat_id in (chat["id"], str(uuid4())):
        answer = await eve.call(*question(chat_id, bob.user))
        errors = eve.received("error")
        told.append(_VARYING.sub("X", repr((answer, errors))))
        errors.clear()
    assert told[0] == told[1]
