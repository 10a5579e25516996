"""Signals end a run in order: what was started is stopped, and what was recorded stays."""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from scenarios.errors import InterruptedRunError
from scenarios.exit_status import ExitStatus

T = TypeVar("T")


def run_interruptibly(
    work: Coroutine[Any, Any, T], *, instead: Callable[[], None] | None = None
) -> T:
    """Run the work. The first SIGINT or SIGTERM cancels it in order; a second one kills it.

    Args:
        work: what to run.
        instead: called on the first SIGINT instead of cancelling; for work that a user ends so.

    Raises:
        InterruptedRunError: a signal ended the work.
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
                # The run's guardian ends the processes that are still there.
                os._exit(ExitStatus.INTERRUPTED)
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
