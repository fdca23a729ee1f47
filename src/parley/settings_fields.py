"""What fields of :class:`parley.settings.Settings` may be, and what each says about itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

LAST_PORT: Final = 65535
NETWORK: Final = r"^[0-9A-Fa-f.:]+(/[0-9]{1,3})?$"
SECRET: Final = {"secret": True}
"""``extra`` of those that are never shown."""

Seconds = Annotated[float, Meta(gt=0, le=3600)]
Port = Annotated[int, Meta(ge=1, le=LAST_PORT)]
ListenPort = Annotated[int, Meta(ge=0, le=LAST_PORT)]
"""0: any free one."""
Count = Annotated[int, Meta(ge=1, le=10_000_000)]
Rate = Annotated[int, Meta(ge=0, le=1_000_000_000)]
"""So much in a second; 0: no limit."""
Network = Annotated[str, Meta(pattern=NETWORK)]
Origin = Annotated[str, Meta(pattern=r"^(\*|null|[A-Za-z][A-Za-z0-9+.-]*://[^/\s*?#@]+)$")]


class Field(msgspec.Struct, frozen=True):
    """One field with what it says about itself."""

    attribute: str
    annotation: Any
    type: msgspec.inspect.Type
    default: Any
    description: str
    example: str
    secret: bool

    @property
    def name(self) -> str:
        """That of its environment variable."""
        return self.attribute.upper()


def fields_of(settings: type[msgspec.Struct]) -> Iterator[Field]:
    """Those of a struct, each of which is ``Annotated`` with a description, in their order."""
    described = msgspec.inspect.type_info(settings)
    assert isinstance(described, msgspec.inspect.StructType)
    for info, shape in zip(msgspec.structs.fields(settings), described.fields, strict=True):
        metadata = shape.type
        assert isinstance(metadata, msgspec.inspect.Metadata)
        schema = metadata.extra_json_schema or {}
        yield Field(
            attribute=info.name,
            annotation=info.type,
            type=metadata.type,
            default=info.default,
            description=schema["description"],
            example=schema.get("examples", [""])[0],
            secret=bool((metadata.extra or {}).get("secret")),
        )
