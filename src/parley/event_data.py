"""The data of events: from a client's JSON to typed values, or to what is wrong with it."""

from __future__ import annotations

from typing import Final, Generic, TypeVar

import msgspec

from parley.chat.listing import Query
from parley.chat.receipts import DeliveryQuestion
from parley.chat.replies import bad_request
from parley.chat.service import Draft, ReceivedMark
from parley.socketio.events import Event

T = TypeVar("T")


class Shape(Generic[T]):
    """What the data of an event must be like."""

    def __init__(self, decoder: msgspec.json.Decoder[T], text: str) -> None:
        """``text`` tells clients."""
        self._decode = decoder.decode
        self._text = text

    def read(self, event: Event) -> T:
        """An event's data.

        Raises:
            ChatError: BAD_REQUEST, saying what is expected.
        """
        try:
            if not event.attachments:
                return self._decode(event.raw[1])
            problem = ", and takes no binary data"
        except IndexError:
            problem = ", and there is no data"
        except msgspec.ValidationError as exc:
            problem = f": {exc}"
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            problem = ", and the data is not valid JSON and Unicode"
        raise bad_request(f"'{event.name}' needs {self._text}{problem}")


DRAFT: Final = Shape(msgspec.json.Decoder(Draft), "{receiver, message}")
RECEIVED_MARK: Final = Shape(msgspec.json.Decoder(ReceivedMark), "{chatId}")
DELIVERY_QUESTION: Final = Shape(msgspec.json.Decoder(DeliveryQuestion), "{receiver, chatIds}")
_QUERY: Final[Shape[Query | None]] = Shape(
    msgspec.json.Decoder(Query | None), "{before, after, limit}"
)


def read_query(event: Event) -> Query:
    """Which part of a list is wanted: all of it, if there is no data.

    Raises:
        ChatError: BAD_REQUEST, as :meth:`Shape.read`.
    """
    query = _QUERY.read(event) if len(event) else None
    return query or Query()
