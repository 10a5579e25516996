"""What is shown while nothing else moves: what is done, and for how long."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

_PER_SECOND = 8


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
def waiting(console: Console) -> Iterator[Callable[[str], None]]:
    """Show what is said to the yielded function: one moving line in a terminal.

    Elsewhere each text is a line, except for its part behind a colon, which changes often.
    """
    if console.is_terminal and not console.is_dumb_terminal:
        line = _Line()
        with Live(line, console=console, refresh_per_second=_PER_SECOND, transient=True):
            yield line.say
        return
    last = ""

    def say(text: str) -> None:
        nonlocal last
        what = text.partition(":")[0]
        if what != last:
            console.print(Text(what), soft_wrap=True)
        last = what

    yield say
