"""One commit as the arrays of one statement, and its outcome from that statement's rows."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping, Sequence
from typing import TypeAlias

from parley.chat.ports import Committed, IdTaken, NewChat, Receipt, Stored
from parley.model import Chat, ChatId, UserId
from parley.store.postgres_statements import MARK, STORE, STORE_AND_MARK

Key: TypeAlias = tuple[UserId, ChatId]
"""A chat is known by its receiver and its id."""

Row: TypeAlias = tuple[UserId | None, int]
"""What the statements return: see there."""


class Batch:
    """What one call of ``commit`` asks for."""

    def __init__(
        self,
        chats: Sequence[NewChat],
        receipts: Sequence[Receipt],
        known: MutableMapping[Key, Chat],
    ) -> None:
        """Of the chats ``known``, none is stored again; the others become known too.

        Raises ValueError if a message is no text, because it holds a lone surrogate.
        """
        # The driver would find out too, but its error quotes the messages.
        "".join([new.message for new in chats]).encode()
        self._outcomes: list[Stored | IdTaken | None] = []
        """None: it is to be stored, as the next of ``_fresh``."""
        self._fresh: list[Chat] = []
        for new in chats:
            old = known.get((new.receiver, new.id))
            if old is None:
                chat = Chat(new.id, new.sender, new.receiver, new.message, new.created_at, False)
                known[new.receiver, new.id] = chat
                self._fresh.append(chat)
                self._outcomes.append(None)
            elif new.chosen_id and (old.sender, old.message) == (new.sender, new.message):
                self._outcomes.append(Stored(old, None))
            else:
                self._outcomes.append(IdTaken())
        self._number_backwards()
        self._asked: list[Key] = [(receipt.user, receipt.chat_id) for receipt in receipts]
        # A statement doesn't see what it stores, so these are stored as received.
        self._marked = {(chat.receiver, chat.id) for chat in self._fresh} & set(self._asked)
        self._marks = sorted(set(self._asked) - self._marked)

    def _number_backwards(self) -> None:
        """How far each chat will be behind its owner's new head, and how far the heads move."""
        self._moves: dict[UserId, int] = {}
        self._backs: list[int] = []
        for chat in reversed(self._fresh):
            back = self._moves.get(chat.receiver, 0)
            self._backs.append(back)
            self._moves[chat.receiver] = back + 1
        self._backs.reverse()

    @property
    def statement(self) -> str | None:
        """The smallest statement that does it; None if there is nothing to do."""
        if self._fresh:
            return STORE_AND_MARK if self._marks else STORE
        return MARK if self._marks else None

    @property
    def arguments(self) -> list[str | list[str]]:
        """What :attr:`statement` takes."""
        arguments: list[str | list[str]] = []
        if self._fresh:
            owners, moves = zip(*sorted(self._moves.items()), strict=True)
            receivers, ids, senders, messages, times, marks = zip(
                *[
                    (
                        chat.receiver,
                        chat.id,
                        chat.sender,
                        chat.message,
                        str(chat.createdAt),
                        "t" if (chat.receiver, chat.id) in self._marked else "f",
                    )
                    for chat in self._fresh
                ],
                strict=True,
            )
            arguments = [
                as_list(owners),
                as_list(map(str, moves)),
                as_list(receivers),
                as_list(ids),
                as_list(senders),
                as_list(map(str, self._backs)),
                list(messages),
                as_list(times),
                as_list(marks),
            ]
        if self._marks:
            arguments += keys(self._marks)
        return arguments

    def outcome(self, rows: Iterable[Row]) -> Committed:
        """The outcome, from the rows that the statement returned."""
        heads: dict[UserId, int] = {}
        for owner, number in rows:
            if owner is None:
                self._marked.add(self._marks[number - 1])
            else:
                heads[owner] = number
        stored = (
            Stored(chat, heads[chat.receiver] - back)
            for chat, back in zip(self._fresh, self._backs, strict=True)
        )
        return Committed(
            [next(stored) if outcome is None else outcome for outcome in self._outcomes],
            [key in self._marked for key in self._asked],
        )


def keys(chats: Iterable[Key]) -> list[str]:
    """The two lists by which statements look chats up."""
    pairs = list(chats)
    return [as_list(receiver for receiver, _ in pairs), as_list(chat_id for _, chat_id in pairs)]


def as_list(items: Iterable[str]) -> str:
    """Ids or numbers as the statements take them."""
    return ",".join(items)
