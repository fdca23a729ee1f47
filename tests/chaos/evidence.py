"""What was sent, acknowledged, stored and shown, and what must hold of it in the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import NamedTuple, TypeAlias

from tests.e2e.clients import Chat


class Message(NamedTuple):
    """What somebody has tried to send."""

    text: str
    """No other message has it."""
    connection: int
    """Which of the sender's connections it was, from 1."""
    since: float = 0.0
    """When it was tried first, in the loop's time."""


@dataclass
class Record:
    """What one sender sent to one receiver."""

    sender: str
    receiver: str
    surely: bool
    """Each message was sent again until it was acknowledged, and the next one after that.  Else
    each was sent once: what wasn't acknowledged may be stored or not."""
    tried: list[Message] = field(default_factory=list)
    """The oldest first."""
    acknowledged: list[Chat] = field(default_factory=list)


class Seen(NamedTuple):
    """What one device was shown."""

    live: Sequence[Sequence[str]]
    """The ids of the chats that were pushed: a list for each of its connections."""
    known: set[str]
    """The ids of all chats that it was told of, live or in lists."""
    undisturbed: bool
    """It was connected before anything was sent, and has not been disconnected since."""


class Entry(NamedTuple):
    """One row of an inbox, with its chat, as the database has them."""

    seq: int
    id: str
    sender: str
    message: str


Inboxes: TypeAlias = Mapping[str, Sequence[Entry]]
"""By owner; each in the order of ``seq``."""


def check_store(records: Sequence[Record], inboxes: Inboxes) -> None:
    """Fail unless the inboxes hold what was acknowledged, once and in order, and nothing unsent."""
    for user, inbox in inboxes.items():
        assert [entry.seq for entry in inbox] == list(range(1, len(inbox) + 1)), (
            f"the inbox of {user} has gaps"
        )
    stored = [(user, entry) for user, inbox in inboxes.items() for entry in inbox]
    times = Counter(entry.message for _, entry in stored)
    twice = [text for text, count in times.items() if count > 1]
    assert not twice, f"stored more than once: {twice}"
    sent = {(each.receiver, each.sender, m.text) for each in records for m in each.tried}
    unsent = [entry for user, entry in stored if (user, entry.sender, entry.message) not in sent]
    assert not unsent, f"stored, and never sent: {unsent}"
    for record in records:
        _check_record(record, inboxes[record.receiver])


def check_device(seen: Seen, inbox: Sequence[Entry]) -> None:
    """Fail unless a device was shown its inbox: live each once and in order, and nothing else."""
    seqs = {entry.id: entry.seq for entry in inbox}
    assert seen.known == seqs.keys(), "it was told of other chats than there are"
    for ids in seen.live:
        shown = [seqs[each] for each in ids]
        odd = [(before, after) for before, after in pairwise(shown) if after != before + 1]
        assert not odd, f"not once and in order: these positions followed each other: {odd[:10]}"
    if seen.undisturbed:
        assert list(seen.live[0]) == [entry.id for entry in inbox], "not all of it was live"
    elif seen.live[-1]:
        assert seen.live[-1][-1] == inbox[-1].id, "the last ones weren't live"


def _check_record(record: Record, inbox: Sequence[Entry]) -> None:
    by_text = {entry.message: entry for entry in inbox}
    for chat in record.acknowledged:
        entry = by_text.get(chat["message"])
        assert entry is not None, f"acknowledged, and not stored: {chat}"
        assert (entry.id, entry.sender) == (chat["id"], chat["sender"]), "stored as another chat"
    if record.surely:
        assert len(record.acknowledged) == len(record.tried), "not all was acknowledged"
    stored = [message for message in record.tried if message.text in by_text]
    # Without waiting for outcomes, there is no order between one connection and the next.
    for _, group in groupby(stored, lambda message: not record.surely and message.connection):
        order = [by_text[message.text].seq for message in group]
        assert order == sorted(order), f"not in the order in which it was sent: {order}"
