"""Somebody has deleted rows of the store by hand: what is left is shown, and nobody spins."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from parley.chat.repair import Intervals
from parley.errors import StoreUnavailable

from . import BOB, PATIENCE, FaultyStore, Node, Screen, until

NEVER = 3600.0


@pytest.fixture
async def node(store: FaultyStore) -> AsyncIterator[Node]:
    node = Node(store, Intervals(connected=NEVER))
    yield node
    await asyncio.wait_for(node.delivery.shut_down(), PATIENCE)


def delete(folder: Path, *seqs: int) -> None:
    """Delete messages to Bob, and their entries."""
    with closing(sqlite3.connect(folder / "parley.db")) as db, db:
        for seq in seqs:
            db.execute("DELETE FROM inbox WHERE owner = ? AND seq = ?", (BOB, seq))
            db.execute("DELETE FROM chats WHERE receiver = ? AND seq = ?", (BOB, seq))


async def test_a_gap_in_the_store_is_passed_over(node: Node, tmp_path: Path) -> None:
    seen = await node.device(BOB)
    node.store.hold("entries")
    await node.send(BOB, 6, lost=[2, 3, 4, 5])
    delete(tmp_path, 2, 4)
    node.store.let_go("entries")
    await until(lambda: len(seen) == 4)
    assert seen == [1, 3, 5, 6]
    await node.send(BOB, 2)
    assert seen == [1, 3, 5, 6, 7, 8]
    assert node.store.calls["entries"] == 1


async def test_a_moved_device_is_not_waited_for_without_end(node: Node, tmp_path: Path) -> None:
    await node.device(BOB)
    await node.send(BOB, 2)
    delete(tmp_path, 1, 2)
    inbox = await node.delivery.open(BOB)
    with pytest.raises(StoreUnavailable):
        await asyncio.wait_for(node.delivery.resume(inbox, Screen(), 0), PATIENCE)
