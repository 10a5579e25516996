"""The first signal ends a run in order; the second one ends the program at once."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

PROGRAM = """
import asyncio, sys
from scenarios.cli.interrupts import run_interruptibly
from scenarios.errors import InterruptedRunError

async def work():
    print("begun", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        print("ending", flush=True)
        if "slow" in sys.argv:
            await asyncio.Event().wait()
        print("ended", flush=True)

instead = (lambda: print("instead", flush=True)) if "instead" in sys.argv else None
try:
    run_interruptibly(work(), instead=instead)
except InterruptedRunError as error:
    print(error, flush=True)
    sys.exit(17)
"""


@contextmanager
def working(*words: str) -> Iterator[tuple[subprocess.Popen[str], Iterator[str]]]:
    """The program at work, and its lines from then on."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = (line.strip() for line in process.stdout)
        assert next(lines) == "begun"
        try:
            yield process, lines
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_ends_in_order(number: signal.Signals) -> None:
    """What was started is stopped, and the error names the signal."""
    with working() as (process, lines):
        process.send_signal(number)
        assert list(lines) == [
            *("ending", "ended"),
            f"interrupted by {number.name}; everything that was started has ended",
        ]
        assert process.wait() == 17


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_ends_at_once(number: signal.Signals) -> None:
    """Whoever cannot wait for an orderly end sends a second signal: the exit status is 130."""
    with working("slow") as (process, lines):
        process.send_signal(signal.SIGINT)
        assert next(lines) == "ending"
        process.send_signal(number)
        assert process.wait() == 130
        assert list(lines) == []


def test_ctrl_c_may_be_how_the_work_ends() -> None:
    """The first Ctrl-C asks the work to end by itself, the next one interrupts it."""
    with working("instead") as (process, lines):
        process.send_signal(signal.SIGINT)
        assert next(lines) == "instead"
        process.send_signal(signal.SIGINT)
        assert next(lines) == "ending"
        assert process.wait() == 17


def test_sigterm_is_no_ctrl_c() -> None:
    """SIGTERM interrupts also work that ends on Ctrl-C."""
    with working("instead") as (process, lines):
        process.send_signal(signal.SIGTERM)
        assert next(lines) == "ending"
        assert process.wait() == 17
