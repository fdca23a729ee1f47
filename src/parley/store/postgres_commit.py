"""One commit as the arguments of one statement, and its outcome from that statement's rows."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping, Sequence
from typing import Any, TypeAlias

from msgspec.structs import astuple

from parley.chat.ports import AGAIN, Committed, IdTaken, Marked, NewChat, Receipt, Stored
from parley.model import Chat, ChatId, UserId
from parley.store.postgres_statements import MARK, STORE, STORE_AND_MARK
from parley.store.postgres_wire import Argument

Key: TypeAlias = tuple[UserId, ChatId]
"""A chat is known by its receiver and its id."""


class Batch:
    """What one call of ``commit`` asks for."""

    def __init__(
        self,
        chats: Sequence[NewChat],
        receipts: Sequence[Receipt],
        known: MutableMapping[Key, Chat],
    ) -> None:
        """Of the chats ``known``, none is stored again; the others become known too."""
        self._fresh: list[Chat] = []
        """Those to be stored."""
        self._others: dict[int, Stored | IdTaken] = {}
        """The outcomes of those that aren't, by their places in ``chats``, ascending."""
        moves: dict[UserId, int] = {}
        counts: list[int] = []
        for place, new in enumerate(chats):
            receiver = new.receiver
            old = known.get((receiver, new.id))
            if old is None:
                chat = Chat(new.id, new.sender, receiver, new.message, new.created_at, False)
                known[receiver, new.id] = chat
                self._fresh.append(chat)
                moves[receiver] = count = moves.get(receiver, 0) + 1
                counts.append(count)
            elif new.chosen_id and (old.sender, old.message) == (new.sender, new.message):
                self._others[place] = Stored(old, None)
            else:
                self._others[place] = IdTaken()
        self._moves = dict(sorted(moves.items()))
        """How far each receiver's head moves."""
        self._backs = [
            moves[chat.receiver] - count for chat, count in zip(self._fresh, counts, strict=True)
        ]
        """How far each of ``_fresh`` will be behind its receiver's new head."""
        self._asked: list[Key] = []
        self._first: dict[Key, Marked] = {}
        """The outcomes for chats that are marked for the first time."""
        self._marks: list[Key] = []
        if receipts:
            self._asked = list(map(astuple, receipts))
            marks = set(self._asked)
            # A statement doesn't see what it stores, so these are stored as received.
            for chat in self._fresh:
                if (chat.receiver, chat.id) in marks:
                    self._first[chat.receiver, chat.id] = Marked(chat.sender)
            self._marks = sorted(marks - self._first.keys())

    @property
    def statement(self) -> str | None:
        """The smallest statement that does it; None if there is nothing to do."""
        if self._fresh:
            return STORE_AND_MARK if self._marks else STORE
        return MARK if self._marks else None

    @property
    def arguments(self) -> list[Argument]:
        """What :attr:`statement` takes."""
        arguments: list[Argument] = []
        if self._fresh:
            ids, senders, receivers, messages, times, _ = zip(
                *map(astuple, self._fresh), strict=True
            )
            arguments = [
                list(self._moves),
                as_list(map(str, self._moves.values())),
                receivers,
                ids,
                senders,
                as_list(map(str, self._backs)),
                as_array(messages),
                as_list(map(str, times)),
                as_list(self._received()),
            ]
        if self._marks:
            arguments += keys(self._marks)
        return arguments

    def _received(self) -> list[str]:
        if not self._first:
            return ["f"] * len(self._fresh)
        return ["t" if (chat.receiver, chat.id) in self._first else "f" for chat in self._fresh]

    def outcome(
        self,
        heads: str | None = None,
        senders: str | None = None,
        marked: str | None = None,
        known: str | None = None,
    ) -> Committed:
        """The outcome, from what the statement returned: see there."""
        return Committed(self._stored(heads), self._received_outcomes(senders, marked, known))

    def _stored(self, heads: str | None) -> list[Stored | IdTaken]:
        outcomes: list[Stored | IdTaken] = []
        if heads:
            head_of = dict(zip(self._moves, map(int, heads.split(",")), strict=True))
            outcomes += [
                Stored(chat, head_of[chat.receiver] - back)
                for chat, back in zip(self._fresh, self._backs, strict=True)
            ]
        for place, other in self._others.items():
            outcomes.insert(place, other)
        return outcomes

    def _received_outcomes(
        self, senders: str | None, marked: str | None, known: str | None
    ) -> list[Marked | None]:
        first = self._first
        if senders:
            # In C for the most part: this is done for every receipt.
            ids: list[Any] = marked.split(",") if marked else []
            chats = list(zip(ids[::2], ids[1::2], strict=True)) or self._marks
            each: list[Any] = senders.split(",")
            first.update(zip(chats, map(Marked, each), strict=True))
        again = dict.fromkeys(first, AGAIN)
        if known:
            again.update({self._marks[int(place) - 1]: AGAIN for place in known.split(",")})
        return [first.pop(key, None) or again.get(key) for key in self._asked]


def keys(chats: Iterable[Key]) -> list[Argument]:
    """The two lists by which statements look chats up; there must be some."""
    return list(zip(*chats, strict=True))


def as_list(items: Iterable[str]) -> str:
    """Numbers as the statements take them, or ids where the driver runs them."""
    return ",".join(items)


def as_array(items: Iterable[str]) -> str:
    """Any texts as the statements take them: the literal of an array."""
    quoted = [item.replace("\\", "\\\\").replace('"', '\\"') for item in items]
    return '{"' + '","'.join(quoted) + '"}' if quoted else "{}"
