"""The end of a command that reached one verdict: print it, and write it for CI systems."""

import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from scenarios.cli.machine_words import machine_words
from scenarios.cli.program import program
from scenarios.reports.terminal import print_verdict
from scenarios.review.publishing import tell_github, write_junit
from scenarios.verdict import Verdict, encode


def conclude(
    console: Console,
    verdict: Verdict,
    folder: Path,
    *,
    as_json: bool,
    junit: Path | None,
    verbose: bool = False,
) -> int:
    """Print a verdict, write the files of CI systems, and return the exit status.

    Args:
        console: where the verdict is printed, unless standard output gets JSON.
        verdict: the verdict.
        folder: the run's folder.
        as_json: whether standard output gets the verdict as JSON.
        junit: the file for the JUnit XML report, if one is wanted.
        verbose: whether all numbers and all evidence are printed.
    """
    if as_json:
        sys.stdout.buffer.write(encode(verdict))
    else:
        print_verdict(console, verdict, str(folder), verbose=verbose, program=program())
        if text := machine_words(verdict, folder):
            console.print(Text(text, "yellow"), soft_wrap=True)
    write_junit(junit, verdict)
    tell_github(verdict, folder, console.file)
    return verdict.exit_status
