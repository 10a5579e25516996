"""Signals end a run in order: what was started is stopped, and what was recorded stays."""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

EXIT_STATUS = 130

T = TypeVar("T")


class InterruptedRunError(Exception):
    """A signal ended the work, and everything that was started has ended."""


def run_interruptibly(
    work: Coroutine[Any, Any, T], *, instead: Callable[[], None] | None = None
) -> T:
    """Run it; the first SIGINT or SIGTERM cancels it in order, a second one ends it at once.

    Args:
        work: what to run.
        instead: what the first SIGINT does instead: it is how the work is meant to end.

    Raises:
        InterruptedRunError: a signal ended it.
    """

    async def supervised() -> T:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(work)
        signals: list[int] = []
        orderly = [] if instead is None else [instead]

        def interrupt(number: int) -> None:
            if orderly and number == signal.SIGINT:
                orderly.pop()()
                return
            if signals:
                # The guardian of the run ends what we do not get to any more.
                os._exit(EXIT_STATUS)
            signals.append(number)
            task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, interrupt, number)
        try:
            return await task
        except asyncio.CancelledError as error:
            if signals:
                raise InterruptedRunError(
                    f"interrupted by {signal.Signals(signals[0]).name}; "
                    "everything that was started has ended"
                ) from error
            raise

    return asyncio.run(supervised())
