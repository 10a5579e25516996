"""The clock of everything that a rollout records, in real time and in virtual time."""

import asyncio
import time

from orchestrator.virtual_time import VirtualTimeLoop


def monotonic_ns() -> int:
    """Integer nanoseconds: the virtual time where a `VirtualTimeLoop` runs, else the machine's."""
    loop = asyncio._get_running_loop()  # noqa: SLF001 - documented; the public one raises
    if isinstance(loop, VirtualTimeLoop):
        return loop.time_ns()
    return time.monotonic_ns()
