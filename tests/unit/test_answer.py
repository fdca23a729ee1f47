"""Answers: passed on at once, to the one who waits."""

from __future__ import annotations

import asyncio

import pytest

from parley.answer import Answer, answer_of


def listened(answer: Answer[int]) -> list[int | str]:
    """What the one who waits gets."""
    heard: list[int | str] = []

    def hear(answer: Answer[int]) -> None:
        try:
            heard.append(answer.result())
        except ValueError as error:
            heard.append(str(error))

    answer.then(hear)
    return heard


def test_it_is_passed_on_at_once() -> None:
    answer: Answer[int] = Answer()
    heard = listened(answer)
    assert heard == []
    answer.set(1)
    assert heard == [1]


def test_who_comes_later_hears_of_it_too() -> None:
    answer: Answer[int] = Answer()
    answer.fail(ValueError("no"))
    assert listened(answer) == ["no"]


def test_it_comes_once_and_one_waits() -> None:
    answer: Answer[int] = Answer()
    listened(answer)
    with pytest.raises(AssertionError):
        listened(answer)
    answer.set(1)
    with pytest.raises(AssertionError):
        answer.set(2)


def test_one_is_made_from_another() -> None:
    answer: Answer[str] = Answer()
    heard = listened(answer.map(int))
    answer.set("7")
    assert heard == [7]


@pytest.mark.parametrize("fails_first", [True, False])
def test_one_that_is_made_from_another_may_fail(fails_first: bool) -> None:
    answer: Answer[str] = Answer()
    heard = listened(answer.map(int))
    if fails_first:
        answer.fail(ValueError("no"))
        assert heard == ["no"]
    else:
        answer.set("seven")
        assert heard == ["invalid literal for int() with base 10: 'seven'"]


def test_what_has_come_can_be_passed_to_another() -> None:
    first: Answer[int] = Answer()
    failed: Answer[int] = Answer()
    second: Answer[int] = Answer()
    third: Answer[int] = Answer()
    first.set(1)
    first.pass_to(second)
    failed.fail(ValueError("no"))
    failed.pass_to(third)
    assert (listened(second), listened(third)) == ([1], ["no"])


async def test_it_can_be_awaited() -> None:
    answer: Answer[int] = Answer()
    asyncio.get_running_loop().call_soon(answer.set, 1)
    assert await answer == 1
    assert answer.result() == 1
    failed: Answer[int] = Answer()
    failed.fail(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        await failed


async def test_who_gives_up_does_not_disturb_it() -> None:
    answer: Answer[int] = Answer()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(answer, 0.001)
    answer.set(1)
    assert answer.result() == 1


async def test_of_work_in_a_task() -> None:
    async def half(number: int) -> int:
        await asyncio.sleep(0)
        if number % 2:
            raise ValueError("odd")
        return number // 2

    assert await answer_of(half(4)) == 2
    with pytest.raises(ValueError, match="odd"):
        await answer_of(half(3))


async def test_of_work_that_is_cancelled() -> None:
    async def end() -> None:
        raise asyncio.CancelledError

    answer = answer_of(end())
    with pytest.raises(asyncio.CancelledError):
        await answer
