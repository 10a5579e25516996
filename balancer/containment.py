"""What keeps an unexpected error in one task from ending the balancer."""

import logging
from collections.abc import Awaitable, Callable

_log = logging.getLogger("balancer")


async def contained(what: str, work: Callable[[], Awaitable[None]]) -> None:
    """Do `work`; log an unexpected error with its traceback instead of raising it.

    All tasks of the balancer belong to one task group, which would end with the first error.

    Args:
        what: the name of the work, for the log.
        work: called for what to await. Its cancellation passes.
    """
    try:
        await work()
    except Exception:  # noqa: BLE001 - logged; it must not end the rest
        _log.exception("%s failed unexpectedly; the balancer goes on without it", what)
