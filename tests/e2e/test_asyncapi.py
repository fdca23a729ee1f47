"""The AsyncAPI document that a server has of itself, against what the server does."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest

from .clients import Device, Devices
from .conftest import StartServer
from .server import ChatServer, new_user


@pytest.fixture
def document(server: ChatServer) -> dict[str, Any]:
    status, body = server.get("/asyncapi.json")
    assert status == 200
    found: dict[str, Any] = json.loads(body)
    return found


class Checked:
    """A device; everything that it says and is told must be as the document says."""

    def __init__(self, device: Device, document: dict[str, Any]) -> None:
        self.device = device
        self._document = document

    def check(self, message: str, data: Any) -> None:
        """Raises jsonschema.ValidationError."""
        payload = self._document["channels"]["chat"]["messages"][message]["payload"]
        schema = {**payload, "components": self._document["components"]}
        checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
        jsonschema.Draft202012Validator(schema, format_checker=checker).validate(data)

    async def call(self, event: str, *data: Any) -> Any:
        """Emit an event; what is acknowledged."""
        name = event.replace(" ", "-")
        self.check(f"emit-{name}", data[0] if data else None)
        answer = await self.device.call(event, *data)
        self.check(f"ack-{name}", answer)
        return answer

    async def heard(self, event: str) -> None:
        """Wait for an event, and check all that came of it."""
        await self.device.wait(event)
        self.check_heard()

    def check_heard(self) -> None:
        """Check every event that came so far."""
        for event in self.device.heard - {"connect"}:
            for data in self.device.received(event):
                self.check(f"on-{event.replace(' ', '-').replace('_', '-')}", data)


async def test_it_has_every_event_of_the_gateways_table(
    server: ChatServer, devices: Devices, document: dict[str, Any]
) -> None:
    device = await devices.connect(server)
    error = (await device.call("which events are there?"))["error"]
    table = set(re.findall(r"'([^']+)'", error["message"]))
    emitted = {
        message["name"]
        for key, message in document["channels"]["chat"]["messages"].items()
        if key.startswith("emit-")
    }
    assert table == emitted - {"connect"}


async def test_a_conversation_is_as_it_says(
    server: ChatServer, devices: Devices, document: dict[str, Any]
) -> None:
    alice = Checked(await devices.connect(server, receipts=True), document)
    bob = Checked(await devices.connect(server), document)
    draft = {"receiver": bob.device.user, "message": "hush", "id": new_user()}
    assert await alice.call("ping") == "Hello World!"
    chat = await alice.call("send message", draft)
    await bob.heard("message")
    assert await bob.call("unreceived messages") == [chat]
    assert await bob.call("receive message", {"chatId": chat["id"]})
    await alice.heard("received")
    asked = {"receiver": bob.device.user, "chatIds": [chat["id"]]}
    assert await alice.call("delivery", asked) == [chat["id"]]
    await alice.heard("delivery")
    assert await bob.call("unreceived messages", {"after": chat["id"], "limit": 3}) == []
    assert (await bob.call("all messages", {"limit": 1}))[alice.device.user]
    for device in (alice, bob):
        await device.device.settle()
        device.check_heard()
    assert {"pong", "message", "unreceived messages", "all messages"} <= bob.device.heard


async def test_one_joins_as_it_says(
    server: ChatServer, devices: Devices, document: dict[str, Any]
) -> None:
    device = devices.make(server)
    checked, token = Checked(device, document), server.token(device.user)
    headers = {"Authorization": f"Bearer {token}"}
    for auth, more in (({"token": token, "receipts": True}, None), ({"receipts": False}, headers)):
        checked.check("emit-connect", auth)
        await device.connect(auth, more)
        await device.disconnect()


@pytest.mark.parametrize("auth", [{}, {"token": "hush"}, {"token": ""}])
async def test_one_is_refused_as_it_says(
    server: ChatServer, devices: Devices, document: dict[str, Any], auth: dict[str, str]
) -> None:
    device = devices.make(server)
    Checked(device, document).check("on-connect-error", await device.refused(auth))


async def test_errors_are_as_it_says(
    server: ChatServer, devices: Devices, document: dict[str, Any]
) -> None:
    alice = Checked(await devices.connect(server), document)
    answer = await alice.device.call("send message", {"receiver": alice.device.user})
    alice.check("ack-send-message", answer)
    await alice.heard("error")


@pytest.mark.parametrize(
    "draft",
    [
        {},
        {"receiver": new_user()},
        {"receiver": "bob", "message": "hush"},
        {"receiver": new_user(), "message": ""},
        {"receiver": new_user(), "message": "x" * 10_001},
        {"receiver": new_user(), "message": "hush", "id": 1},
    ],
)
async def test_what_it_does_not_allow_is_refused(
    server: ChatServer, devices: Devices, document: dict[str, Any], draft: dict[str, Any]
) -> None:
    alice = Checked(await devices.connect(server), document)
    with pytest.raises(jsonschema.ValidationError):
        alice.check("emit-send-message", draft)
    assert (await alice.device.call("send message", draft))["error"]["code"] == "bad_request"


@pytest.mark.parametrize(
    ("event", "data"),
    [
        ("delivery", {"receiver": new_user(), "chatIds": ["bob"]}),
        ("delivery", {"receiver": new_user(), "chatIds": [new_user()] * 101}),
        ("receive message", {"chatId": "bob"}),
        ("all messages", {"limit": 0}),
        ("all messages", {"before": "bob"}),
        ("unreceived messages", {"limit": 1.5}),
    ],
)
async def test_other_questions_that_it_does_not_allow_are_refused(
    server: ChatServer, devices: Devices, document: dict[str, Any], event: str, data: dict[str, Any]
) -> None:
    alice = Checked(await devices.connect(server), document)
    with pytest.raises(jsonschema.ValidationError):
        alice.check(f"emit-{event.replace(' ', '-')}", data)
    assert (await alice.device.call(event, data))["error"]["code"] == "bad_request"


def test_it_tells_the_servers_own_limit(start_server: StartServer) -> None:
    server = start_server(MESSAGE_MAX_LENGTH="10")
    _, body = server.get("/asyncapi.json")
    draft = json.loads(body)["components"]["schemas"]["Draft"]
    assert draft["properties"]["message"]["maxLength"] == 10
