"""Structured concurrency that raises one readable error instead of an exception group."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from orchestrator.errors import OrchestratorError, RolloutFailed

T = TypeVar("T")


@contextmanager
def first_error() -> Iterator[None]:
    """Raise the first error of an exception group instead of the group."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from error.__cause__


async def all_or_first_error(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run all of them at the same time; the first error cancels the others and is raised."""
    with first_error():
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    return [task.result() for task in tasks]


async def each_to_its_end(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run all of them at the same time to their ends; then raise the first error, if any."""
    outcomes = await all_or_first_error(_outcome(one) for one in work)
    done: list[T] = []
    for result, error in outcomes:
        if error is not None:
            raise error
        done.extend(result)
    return done


@asynccontextmanager
async def deadline(seconds: float, what: str) -> AsyncIterator[None]:
    """Limit the time of the block.

    Raises:
        RolloutFailed: the time is over; the message begins with `what`, such as `not drained`.
    """
    timer = asyncio.timeout(seconds)
    try:
        async with timer:
            yield
    except TimeoutError:
        if not timer.expired():
            raise
        raise RolloutFailed(f"{what} within {seconds:g} s") from None


def now() -> float:
    """Return the event loop's time, in seconds."""
    return asyncio.get_running_loop().time()


async def _outcome(one: Coroutine[Any, Any, T]) -> tuple[list[T], OrchestratorError | None]:
    try:
        return [await one], None
    except OrchestratorError as error:
        return [], error
