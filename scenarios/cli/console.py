"""Where commands print for people."""

from rich.console import Console


class Output(Console):
    """A console whose closed pipe (`| head`) is an error like any other of the environment.

    Rich itself would end the process with status 1, which is that of a failed release.
    """

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
