"""What is shown while nothing else moves: what is done, and for how long."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

_PER_SECOND = 8
_SILENT_SECONDS = 5.0
"""After so long without a line, a pipe gets the next text, too."""


class _Line:
    """A spinner, what is done, and the seconds since it began."""

    def __init__(self) -> None:
        self._spinner = Spinner("dots")
        self._text = ""
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        if text.partition(":")[0] != self._text.partition(":")[0]:
            self._began = time.monotonic()
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        seconds = time.monotonic() - self._began
        self._spinner.update(text=Text.assemble(self._text, (f"  {seconds:.0f} s", "dim")))
        yield from self._spinner.__rich_console__(console, options)


@contextmanager
def waiting(
    console: Console, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[str], None]]:
    """Show what is said to the yielded function: one moving line in a terminal.

    Elsewhere each text is a line, except for its part behind a colon, which changes often: that
    part is printed only after some seconds without a line.
    """
    if console.is_terminal and not console.is_dumb_terminal:
        line = _Line()
        with Live(line, console=console, refresh_per_second=_PER_SECOND, transient=True):
            yield line.say
        return
    last, said_at = "", clock()

    def say(text: str) -> None:
        nonlocal last, said_at
        what = text.partition(":")[0]
        long_ago = clock() - said_at >= _SILENT_SECONDS
        if what != last or long_ago:
            console.print(Text(what if what != last else text), soft_wrap=True)
            said_at = clock()
        last = what

    yield say
