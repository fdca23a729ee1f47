"""What happens in a server, a line for each event, on the terminal of ``parley dev``.

The lines show what people write to each other.  They belong to whoever
develops with it, and nothing but ``parley dev`` makes them.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeVar

import msgspec

from parley.chat.service import ReceivedMark
from parley.errors import ChatError, ErrorCode
from parley.gateway import ErrorReply, Gateway
from parley.model import Chat, UserId
from parley.socketio.events import Event
from parley.socketio.namespaces import ConnectRefused, Socket
from parley.socketio.protocol import CloseReason
from parley.terminal.text import Paint, Style, one_line

T = TypeVar("T")

_SHOWN: Final = 60
"""Characters of a message."""
_EXPLAINED: Final = 200
"""Characters of what an error says."""
_REMEMBERED: Final = 1_000
"""Messages that can be shown again when they are received."""

_received_mark: Final = msgspec.json.Decoder(ReceivedMark)


def telling(names: Mapping[UserId, str], paint: Paint) -> Callable[..., Gateway]:
    """What makes gateways that print a line for each event, from what a gateway is made of.

    ``names`` are those of users that have one.
    """
    return partial(_TellingGateway, Teller(names, paint, _print))


class Teller:
    """Makes the lines."""

    def __init__(
        self, names: Mapping[UserId, str], paint: Paint, write: Callable[[str], object]
    ) -> None:
        self._names = names
        self._paint = paint
        self._write = write
        self._texts: dict[str, str] = {}
        """The latest messages, by the ids of their chats."""

    def connected(self, user: UserId) -> None:
        self._line("+", "green", f"{self._name(user)} connected")

    def disconnected(self, user: UserId, reason: str) -> None:
        self._line("-", "yellow", f"{self._name(user)} disconnected: {reason}")

    def stored(self, chat: Chat) -> None:
        text = self._texts[chat.id] = one_line(chat.message, _SHOWN)
        if len(self._texts) > _REMEMBERED:
            del self._texts[next(iter(self._texts))]
        self._line("→", "cyan", f"{self._name(chat.sender)} to {self._name(chat.receiver)}: {text}")

    def received(self, user: UserId, chat_id: str) -> None:
        text = self._texts.get(chat_id) or f"chat {one_line(chat_id, 36)}"
        self._line("✓", "green", f"{self._name(user)} received: {text}")

    def failed(self, user: UserId, event: str | None, error: ChatError) -> None:
        about = f" ({one_line(event, _SHOWN)!r})" if event else ""
        self._line("!", "red", f"{self._name(user)}{about}: {_explained(error)}")

    def refused(self, error: ChatError) -> None:
        self._line("!", "red", f"somebody was refused: {_explained(error)}")

    def _line(self, sign: str, colour: Style, text: str) -> None:
        time = self._paint(f"{datetime.now():%H:%M:%S}", "dim")  # noqa: DTZ005 - of the wall
        self._write(f"{time} {self._paint(sign, colour)} {text}\n")

    def _name(self, user: UserId) -> str:
        name = self._names.get(user)
        return self._paint(user[:8] if name is None else name, "bold")


class _TellingGateway(Gateway):
    """A gateway that tells what it does; an ordinary one costs nothing for it."""

    def __init__(self, teller: Teller, *parts: Any) -> None:
        self._teller = teller
        super().__init__(*parts)

    def _refused(self, error: ChatError) -> ConnectRefused:
        self._teller.refused(error)
        return super()._refused(error)

    def _connected(self, socket: Socket, auth: dict[str, Any]) -> None:
        super()._connected(socket, auth)
        self._teller.connected(socket.data.inbox.owner)

    def _disconnected(self, socket: Socket, reason: CloseReason) -> None:
        super()._disconnected(socket, reason)
        if socket.data is not None:
            self._teller.disconnected(socket.data.inbox.owner, reason)

    def _answer(
        self,
        socket: Socket,
        event: Event,
        to_json: Callable[[T], bytes],
        outcome: T | ChatError,
    ) -> None:
        if isinstance(outcome, Chat):
            self._teller.stored(outcome)
        elif event.name == "receive message" and not isinstance(outcome, ChatError):
            chat_id = event.decode(_received_mark).chatId.lower()
            self._teller.received(socket.data.inbox.owner, chat_id)
        super()._answer(socket, event, to_json, outcome)

    def _send_error(self, socket: Socket, error: ChatError, event: str | None) -> ErrorReply:
        if error.code is not ErrorCode.RATE_LIMITED:  # that would be a line for each; a log tells
            self._teller.failed(socket.data.inbox.owner, event, error)
        return super()._send_error(socket, error, event)


def _explained(error: ChatError) -> str:
    return f"{error.code}, {one_line(error.message, _EXPLAINED)}"


def _print(line: str) -> None:
    # The terminal may be gone. That must not stop the server.
    with contextlib.suppress(OSError):
        sys.stdout.write(line)
        sys.stdout.flush()
