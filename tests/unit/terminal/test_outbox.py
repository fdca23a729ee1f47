from __future__ import annotations

import asyncio

from parley.terminal.outbox import Outbox


async def test_the_first_stays_until_it_is_done() -> None:
    outbox: Outbox[int] = Outbox()
    outbox.add(1)
    outbox.add(2)

    assert await outbox.first() == await outbox.first() == 1
    outbox.done()
    assert await outbox.first() == 2
    assert (list(outbox), len(outbox)) == ([2], 1)


async def test_waiting_for_something_and_for_nothing() -> None:
    outbox: Outbox[int] = Outbox()
    await outbox.empty()
    first = asyncio.create_task(outbox.first())
    await asyncio.sleep(0)
    assert not first.done()

    outbox.add(1)
    empty = asyncio.create_task(outbox.empty())
    assert await first == 1
    assert not empty.done()

    outbox.done()
    await empty
