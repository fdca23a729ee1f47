"""What must hold, when all is whole again, of what was sent, acknowledged, stored and shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import NamedTuple, TypeAlias

from tests.cluster.conversation import Reader, until

from .crowd import Crowd, Writer


class Entry(NamedTuple):
    """One row of an inbox, with its chat, as the database has them."""

    seq: int
    id: str
    sender: str
    message: str


class Counts(NamedTuple):
    """How much of it there was."""

    sent: int
    acknowledged: int
    shown: int
    """Messages pushed to devices, each to several."""
    devices: int
    stayed: int
    """Devices that were never disconnected."""


Inboxes: TypeAlias = Mapping[str, Sequence[Entry]]
"""By owner; each in the order of ``seq``."""


def check_store(crowd: Crowd, inboxes: Inboxes) -> None:
    """Fail unless the store holds exactly what it must, in order."""
    for user, inbox in inboxes.items():
        assert [entry.seq for entry in inbox] == list(range(1, len(inbox) + 1)), user
    stored = [entry for inbox in inboxes.values() for entry in inbox]
    twice = [text for text, count in Counter(each.message for each in stored).items() if count > 1]
    assert not twice, f"stored more than once: {twice}"
    tried = {message.text for writer in crowd.writers for message in writer.tried}
    foreign = [entry.message for entry in stored if entry.message not in tried]
    assert not foreign, f"stored, and never sent: {foreign}"
    for writer in crowd.writers:
        _check_writer(writer, inboxes[writer.receiver])


async def check_devices(crowd: Crowd, inboxes: Inboxes) -> None:
    """Fail unless each device has been shown what it must, as soon as nothing is missing."""
    for reader in crowd.readers:
        inbox = inboxes[reader.device.user]
        await _complete(reader, len(inbox))
        assert reader.known().keys() == {entry.id for entry in inbox}
        _check_live(reader, inbox)


async def _complete(reader: Reader, count: int) -> None:
    """Wait until a device knows so many chats, and all that is on its way has come."""
    await until(lambda: len(reader.known()) >= count)
    await reader.device.settle()


def _check_writer(writer: Writer, inbox: Sequence[Entry]) -> None:
    """Each acknowledged message is stored, as it was acknowledged; and all are in order."""
    by_text = {entry.message: entry for entry in inbox}
    for chat in writer.acknowledged:
        assert chat["message"] in by_text, f"acknowledged, and not stored: {chat}"
        entry = by_text[chat["message"]]
        assert (entry.id, entry.sender) == (chat["id"], chat["sender"])
    seqs = [
        (message.connection, by_text[message.text].seq)
        for message in writer.tried
        if message.text in by_text
    ]
    if writer.in_order_throughout:
        assert len(writer.acknowledged) == len(writer.tried) == len(seqs)
        seqs = [(1, seq) for _, seq in seqs]
    for connection, group in groupby(seqs, key=lambda each: each[0]):
        order = [seq for _, seq in group]
        assert order == sorted(order), f"not in order, on connection {connection}: {order}"


def _check_live(reader: Reader, inbox: Sequence[Entry]) -> None:
    """What came live on a connection is a stretch of the inbox, each once; the last one ends it."""
    seqs = {entry.id: entry.seq for entry in inbox}
    texts = {entry.id: entry.message for entry in inbox}
    live = reader.device.live
    for connection in live:
        shown = [seqs[chat["id"]] for chat in connection]
        if shown:
            assert shown == list(range(shown[0], shown[0] + len(shown))), _around(shown)
        assert all(chat["message"] == texts[chat["id"]] for chat in connection)
    if reader.device.undisturbed:
        # It came before anything was sent.
        assert [chat["id"] for chat in live[0]] == [entry.id for entry in inbox]
    elif live[-1]:
        assert live[-1][-1]["id"] == inbox[-1].id


def _around(shown: Sequence[int]) -> str:
    odd = [
        (before, after)
        for before, after in zip(shown, shown[1:], strict=False)
        if after != before + 1
    ]
    return f"not once and in order: positions that follow each other are {odd[:10]}"


def count(crowd: Crowd) -> Counts:
    """Figures of the crowd, for the report."""
    return Counts(
        sent=sum(len(writer.tried) for writer in crowd.writers),
        acknowledged=sum(len(writer.acknowledged) for writer in crowd.writers),
        shown=sum(len(each) for reader in crowd.readers for each in reader.device.live),
        devices=len(crowd.readers),
        stayed=sum(reader.device.undisturbed for reader in crowd.readers),
    )
