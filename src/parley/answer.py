"""A result that is still to come, passed on without a turn of the event loop.

An asyncio future calls back in the loop's next turn, behind everything that is
ready by then, and a task takes a turn to begin.  Between a message, its commit
and its delivery that would be most of the time, and much of the work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any, Generic, TypeVar

T = TypeVar("T")
U = TypeVar("U")

_tasks: set[asyncio.Task[Any]] = set()
"""The event loop alone would let those that wait be collected."""


class Answer(Generic[T]):
    """A result or an exception, set once; one party waits for it, by a callback or ``await``.

    Whoever gives up waiting does not stop what is being done.
    """

    __slots__ = ("_callback", "_error", "_result", "come")

    _result: T

    def __init__(self) -> None:
        self.come = False
        """The result, or the exception, is there."""
        self._error: BaseException | None = None
        self._callback: Callable[[Answer[T]], object] | None = None

    def set(self, result: T) -> None:
        """Pass the result on."""
        self._result = result
        self._arrive()

    def fail(self, error: BaseException) -> None:
        """Pass an exception on instead."""
        self._error = error
        self._arrive()

    def then(self, callback: Callable[[Answer[T]], object]) -> None:
        """Have this called when it comes, at once if it has; it must not raise."""
        assert self._callback is None, "one party waits"
        self._callback = callback
        if self.come:
            callback(self)

    def map(self, change: Callable[[T], U]) -> Answer[U]:
        """The answer that is made from this one; an exception stays what it is."""
        changed: Answer[U] = Answer()
        self.then(partial(changed._change, change))
        return changed

    @property
    def error(self) -> BaseException | None:
        """The exception, if one has come."""
        return self._error

    def pass_to(self, other: Answer[T]) -> None:
        """Give ``other`` what has come."""
        if self._error is not None:
            other.fail(self._error)
        else:
            other.set(self._result)

    def result(self) -> T:
        """What has come; raises the exception if that is what came."""
        if self._error is not None:
            raise self._error
        return self._result

    def __await__(self) -> Generator[Any, None, T]:
        if not self.come:
            waiter = asyncio.get_running_loop().create_future()
            self.then(lambda _: None if waiter.done() else waiter.set_result(None))
            yield from waiter
        return self.result()

    def _arrive(self) -> None:
        assert not self.come, "an answer comes once"
        self.come = True
        if self._callback is not None:
            self._callback(self)

    def _change(self, change: Callable[[U], T], source: Answer[U]) -> None:
        try:
            result = change(source.result())
        except BaseException as error:
            self.fail(error)
        else:
            self.set(result)


def answer_of(work: Coroutine[Any, Any, T]) -> Answer[T]:
    """Do ``work`` in a task of its own."""
    answer: Answer[T] = Answer()

    def finish(task: asyncio.Task[T]) -> None:
        _tasks.discard(task)
        if task.cancelled():
            answer.fail(asyncio.CancelledError())
        elif (error := task.exception()) is not None:
            answer.fail(error)
        else:
            answer.set(task.result())

    task = asyncio.get_running_loop().create_task(work)
    _tasks.add(task)
    task.add_done_callback(finish)
    return answer
