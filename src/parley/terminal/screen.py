"""The client for people: what happens scrolls by, above a line to type in."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app_or_none, in_terminal
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.formatted_text.utils import fragment_list_to_text
from prompt_toolkit.renderer import print_formatted_text
from prompt_toolkit.styles import Style
from prompt_toolkit.utils import is_dumb_terminal

from parley.model import Chat, ChatId, UserId
from parley.terminal.client import Client, Draft
from parley.terminal.errors import ClientError, Failure
from parley.terminal.people import People
from parley.terminal.text import harmless
from parley.terminal.transcript import FAILED, RECEIVED, STORED, WAITING, Line, Transcript

_STYLE: Final = Style.from_dict(
    {
        "time": "ansibrightblack",
        "note": "ansibrightblack",
        "mark": "ansigreen",
        "mine": "ansicyan",
        "theirs": "ansimagenta bold",
        "error": "ansired",
        "receiver": "bold",
        "bottom-toolbar": "noreverse ansibrightblack",
    }
)
_FAREWELL: Final = 3.0
"""Seconds in which what was written last may still be stored."""
_HELP: Final = f"""\
Type a message and press Enter.
  /to USER   write to somebody: a name, a UUID, or how one seen here begins
  /list      who is known here
  /quit      leave (so does Ctrl+D)
  //text     send a message that begins with a slash
{WAITING} waits   {STORED} is stored   {RECEIVED} its receiver has it   {FAILED} was not sent"""


class Screen:
    """Shows what a client tells, and has it send what is typed."""

    def __init__(self, people: People, title: str, receiver: UserId | None) -> None:
        """``title`` says who is where; ``receiver`` is written to until another is chosen."""
        self._people = people
        self._title = title
        self._receiver = receiver
        self._transcript = Transcript(people.name)
        self._state = "connecting"
        self._online = asyncio.Event()
        self._waiting: Callable[[], int] = int
        self._unprinted: list[Line] = []
        self._printing: asyncio.Future[None] | None = None
        self._session: PromptSession[str] = PromptSession(
            message=self._above_and_prompt,
            bottom_toolbar=self._toolbar,
            completer=_Commands(people),
            complete_while_typing=False,
            enable_suspend=True,  # Ctrl+Z
            erase_when_done=True,
            style=_STYLE,
        )

    async def chat(self, client: Client) -> bool:
        """Let the user chat until they leave; False if something was not stored by then.

        ``client`` must have this as its listener.

        Raises:
            Refused, Lost: as :meth:`Client.during`.
        """
        self._waiting = lambda: len(client.waiting)
        try:
            await client.during(self._converse(client), patient=False)
        finally:
            self._print(self._transcript.rest())
            if client.waiting:
                self._note(f"Not known to be stored: {len(client.waiting)} of your messages.")
            self._write()  # there is no prompt any more
        return not client.waiting

    # -- Listener

    def connected(self) -> None:
        self._become("connected")
        self._online.set()

    def disconnected(self, why: str) -> None:
        self._become(f"not connected ({why})")

    def stored(self, draft: Draft) -> None:
        self._become("connected")
        self._print(self._transcript.stored(draft))

    def postponed(self, failure: Failure) -> None:
        self._become(f"connected ({failure.message})")

    def failed(self, draft: Draft, failure: Failure) -> None:
        self._print(self._transcript.failed(draft, failure))

    def delivered(self, chat_ids: Sequence[ChatId]) -> None:
        self._print(self._transcript.delivered(chat_ids))

    def came(self, chat: Chat) -> None:
        self._people.meet(chat.sender)
        self._print(self._transcript.came(chat))

    # -- what is typed

    async def _converse(self, client: Client) -> None:
        await self._online.wait()
        self._note(f"{self._title}. /help says what can be typed.")
        with contextlib.suppress(EOFError, KeyboardInterrupt):  # Ctrl+D, Ctrl+C
            while (text := await self._session.prompt_async()).strip() != "/quit":
                self._take(text, client)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL):
                await client.settled()

    def _take(self, text: str, client: Client) -> None:
        if text.startswith("/") and not text.startswith("//"):
            self._obey(text)
        elif not text.strip():
            return
        elif self._receiver is None:
            self._note("To whom? Choose with /to USER.")
        else:
            message = text.removeprefix("/") if text.startswith("//") else text
            self._transcript.wrote(client.send(self._receiver, message))

    def _obey(self, text: str) -> None:
        command, _, argument = text.partition(" ")
        if command == "/help":
            self._note(_HELP)
        elif command == "/list":
            self._note("\n".join(f"{self._people.name(user)}  {user}" for user in self._people))
        elif command == "/to":
            self._turn_to(argument)
        else:
            self._note(f"There is no {command}: /help lists what there is; //… sends a slash.")

    def _turn_to(self, text: str) -> None:
        try:
            self._receiver = self._people.find(text)
        except ClientError as error:
            self._note(str(error))
        else:
            self._people.meet(self._receiver)

    # -- what is shown

    def _become(self, state: str) -> None:
        if state != self._state:
            self._state = state
            self._note(f"{state[0].upper()}{state[1:]}.")

    def _note(self, text: str) -> None:
        self._print([[("class:note", line)] for line in text.split("\n")])

    def _print(self, lines: list[Line]) -> None:
        """Print above what is typed, below all that was printed before."""
        self._unprinted += lines
        self._session.app.invalidate()  # marks may have changed
        if lines and (self._printing is None or self._printing.done()):
            self._printing = asyncio.ensure_future(self._print_above())

    async def _print_above(self) -> None:
        # One at a time: several would wait for the prompt, and others overtake them between two.
        while self._unprinted:
            async with in_terminal():
                self._write()

    def _write(self) -> None:
        lines, self._unprinted = self._unprinted, []
        if lines and is_dumb_terminal():
            self._write_plainly(lines)
        elif lines:
            print_formatted_text(self._session.output, _text(lines), _STYLE)

    def _write_plainly(self, lines: list[Line]) -> None:
        """Write below what is typed, and that again, where there are no escape sequences."""
        text = fragment_list_to_text(_text(lines))
        if get_app_or_none() is not None:
            text = f"\n{text}{self._prompt()}{self._session.default_buffer.text}"
        sys.stdout.write(harmless(text))
        sys.stdout.flush()

    def _prompt(self) -> str:
        return "/to USER> " if self._receiver is None else f"{self._people.name(self._receiver)}> "

    def _above_and_prompt(self) -> FormattedText:
        return FormattedText([*_text(self._transcript.open()), ("class:receiver", self._prompt())])

    def _toolbar(self) -> FormattedText:
        count = self._waiting()
        waits = f" · {count} waiting" if count else ""
        return FormattedText([("", f"{self._title} · {self._state}{waits}")])


def _text(lines: list[Line]) -> FormattedText:
    return FormattedText([piece for line in lines for piece in (*line, ("", "\n"))])


class _Commands(Completer):
    """Completes what begins with a slash."""

    def __init__(self, people: People) -> None:
        self._people = people

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterator[Completion]:
        typed = document.text_before_cursor
        commands = [*(f"/to {name}" for name in self._people.names), "/list", "/help", "/quit"]
        for command in commands:
            if typed.startswith("/") and command.startswith(typed):
                yield Completion(command, start_position=-len(typed))
