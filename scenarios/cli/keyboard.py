"""Keys that act at once, while a run has a terminal."""

import asyncio
import os
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple


class Key(NamedTuple):
    """What a key does.

    Attributes:
        word: for the people who look at the keys that there are.
        act: called when it is pressed.
    """

    word: str
    act: Callable[[], None]


def can_hear(descriptor: int | None = None) -> bool:
    """Whether standard input is a terminal that is ours to read."""
    try:
        descriptor = sys.stdin.fileno() if descriptor is None else descriptor
        return os.isatty(descriptor) and os.tcgetpgrp(descriptor) == os.getpgrp()
    except (OSError, ValueError, AttributeError):
        return False


@contextmanager
def listening(keys: Mapping[str, Key], descriptor: int | None = None) -> Iterator[None]:
    """Act on keys as long as the block lasts; the terminal is then as it was before.

    Ctrl-C stays what it is. Needs a running event loop.
    """
    descriptor = sys.stdin.fileno() if descriptor is None else descriptor
    loop = asyncio.get_running_loop()

    def read() -> None:
        pressed = os.read(descriptor, 64)
        if not pressed:  # the terminal has gone
            loop.remove_reader(descriptor)
        for letter in pressed.decode(errors="ignore"):
            if letter in keys:
                keys[letter].act()

    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor, termios.TCSADRAIN)
    loop.add_reader(descriptor, read)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
