"""The counter counts what it says, the same every time."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator

import pytest

from parley.chat.ids import parse_uuid
from tests.performance.counting import Counter

UUID = "2F1C7A52-8a3e-4c8e-9b1d-0d9a4f6f2f10"


@pytest.fixture
def counter() -> Iterator[Counter]:
    with Counter() as counter:
        yield counter


async def test_twice_the_work_is_twice_the_count(counter: Counter) -> None:
    counter.start()
    parse_uuid(UUID)
    counter.stop()
    once = counter.instructions, counter.calls
    counter.start()
    parse_uuid(UUID)
    parse_uuid(UUID)
    counter.stop()
    assert min(once) > 0
    assert (counter.instructions, counter.calls) == (2 * once[0], 2 * once[1])


async def test_work_of_a_thread_counts(counter: Counter) -> None:
    def work() -> None:
        json.loads("[1]")

    counter.start()
    work()
    counter.stop()
    here = counter.instructions
    counter.start()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    counter.stop()
    assert counter.instructions > here > 0


async def test_tasks_count(counter: Counter) -> None:
    counter.start()
    await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0))
    counter.stop()
    assert counter.tasks == 2


async def test_nothing_counts_afterwards(counter: Counter) -> None:
    counter.start()
    json.loads("[1]")
    counter.stop()
    counted = counter.instructions, counter.calls, counter.tasks
    json.loads("[1]")
    await asyncio.gather(asyncio.sleep(0))
    assert (counter.instructions, counter.calls, counter.tasks) == counted
