"""The AsyncAPI document: whole in itself, and with a word on everything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from parley.errors import ErrorCode
from parley.model import Chat
from parley.web.asyncapi import EMITTED, FIELDS, HEARD, document

DOCUMENT = document("1.2.3", 77)
MESSAGES = DOCUMENT["channels"]["chat"]["messages"]
SCHEMAS = DOCUMENT["components"]["schemas"]


def references(part: object) -> Iterator[str]:
    """All that are made anywhere in the document."""
    if isinstance(part, dict):
        for key, value in part.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


def at(reference: str) -> Any:
    found: Any = DOCUMENT
    for key in reference.removeprefix("#/").split("/"):
        found = found[key]
    return found


def test_references_lead_somewhere() -> None:
    made = set(references(DOCUMENT))
    assert len(made) > 20
    for reference in made:
        assert at(reference)


def test_it_is_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(DOCUMENT)) == DOCUMENT


def test_every_message_is_in_an_operation() -> None:
    used = {
        reference
        for operation in DOCUMENT["operations"].values()
        for part in (operation, operation.get("reply", {}))
        for reference in references(part.get("messages", []))
    }
    assert used == {f"#/channels/chat/messages/{key}" for key in MESSAGES}


def test_every_event_is_there_and_says_what_it_is_for() -> None:
    names = [message["name"] for message in MESSAGES.values()]
    assert {*EMITTED, *HEARD} <= set(names)
    assert len(names) == len({(key, name) for key, name in zip(MESSAGES, names, strict=True)})
    assert all(message["summary"] for message in MESSAGES.values())


def test_what_a_client_emits_can_be_acknowledged_or_fail() -> None:
    for name in EMITTED:
        reply = DOCUMENT["operations"][f"emit-{name.replace(' ', '-')}"]["reply"]
        (answer,) = (at(reference) for reference in references(reply["messages"]))
        assert {"$ref": "#/components/schemas/Failure"} in answer["payload"]["oneOf"]


OBJECTS = {name: schema for name, schema in SCHEMAS.items() if "properties" in schema}


@pytest.mark.parametrize("name", OBJECTS)
def test_every_field_is_described(name: str) -> None:
    properties = OBJECTS[name]["properties"]
    assert properties.keys() == FIELDS[name].keys()
    for field, schema in properties.items():
        assert "description" in schema or "$ref" in schema, field


def test_schemas_are_those_of_the_structs() -> None:
    assert SCHEMAS["Chat"]["required"] == list(Chat.__struct_fields__)
    assert SCHEMAS["ErrorCode"]["enum"] == sorted(ErrorCode)
    assert "event" not in SCHEMAS["ErrorReply"]["required"]


def test_it_tells_this_servers_version_and_limit() -> None:
    assert DOCUMENT["info"]["version"] == "1.2.3"
    assert SCHEMAS["Draft"]["properties"]["message"]["maxLength"] == 77
    assert SCHEMAS["Chat"]["properties"]["message"].get("maxLength") is None
