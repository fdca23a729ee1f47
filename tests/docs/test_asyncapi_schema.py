"""The AsyncAPI document, against AsyncAPI's own schema."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from parley.web.asyncapi import document

pytestmark = pytest.mark.node


@pytest.fixture(scope="module")
def schema(node_packages: Path) -> dict[str, object]:
    path = node_packages / "@asyncapi/specs/schemas/3.0.0.json"
    found: dict[str, object] = json.loads(path.read_text())
    return found


def test_it_is_valid(schema: dict[str, object]) -> None:
    jsonschema.Draft7Validator(schema).validate(document("1.2.3", 10_000))


def test_what_is_not_valid_is_noticed(schema: dict[str, object]) -> None:
    wrong = document("1.2.3", 10_000)
    wrong["operations"]["emit-ping"]["action"] = "shout"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(schema).validate(wrong)
