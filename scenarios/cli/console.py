"""Where commands print for people."""

import io
from typing import Any

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

_ANY_WIDTH = 100_000


class Output(Console):
    """A console that is kind to pipes.

    Where there is no terminal, no line is wrapped, and none ends in spaces: a line can be searched,
    cut and compared. A closed pipe (`| head`) is an error like any other of the environment; rich
    itself would end the process with status 1, which is that of a failed release.
    """

    def print(self, *objects: Any, **options: Any) -> None:  # noqa: ANN401 - as rich has it
        """Print as rich does; without a terminal, without wrapping and padding."""
        kept = options.get("soft_wrap") or any(isinstance(one, Rule) for one in objects)
        if self.is_terminal or kept:
            super().print(*objects, **options)
            return
        out = io.StringIO()
        wide = Console(file=out, width=_ANY_WIDTH, color_system=None, force_terminal=False)
        wide.print(*objects, **options)
        for line in out.getvalue().splitlines():
            super().print(Text(line.rstrip()), soft_wrap=True)

    def on_broken_pipe(self) -> None:
        """Raise the error again, after nothing more is printed.

        Raises:
            BrokenPipeError: always.
        """
        self.quiet = True
        raise  # noqa: PLE0704 - rich calls this while it handles the error


def output(*, stderr: bool = False, highlight: bool = True) -> Output:
    """The console on standard output, or on standard error."""
    return Output(stderr=stderr, highlight=highlight)
