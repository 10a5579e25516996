"""Where the result of a check goes: the terminal, files, and GitHub."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from scenarios.check.check_annotations import check_annotations
from scenarios.check.check_junit import check_junit
from scenarios.check.check_page import check_page
from scenarios.check.check_report import CheckReport
from scenarios.check.check_sarif import check_sarif
from scenarios.check.check_screen import print_check
from scenarios.cli.console import output
from scenarios.errors import UsageError
from scenarios.reports.terminal import draw_unwrapped
from scenarios.review.publishing import annotate

SarifOption = Annotated[
    Path | None,
    typer.Option("--sarif", help="Also write what was found as SARIF 2.1.0 to this file."),
]
HtmlOption = Annotated[
    Path | None, typer.Option("--html", help="Also write the result as an HTML page to this file.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOutputs:
    """Where the result of a check goes.

    Attributes:
        junit: a file for JUnit XML.
        sarif: a file for SARIF.
        html: a file for a page.
        json: whether standard output gets JSON.
        at_rows: for how many rows the locks are extrapolated.
    """

    junit: Path | None = None
    sarif: Path | None = None
    html: Path | None = None
    json: bool = False
    at_rows: int | None = None

    def check(self) -> None:
        """See that the files can be written.

        Raises:
            UsageError: one is a folder, or its folder does not exist.
        """
        for flag, path, _ in self._files():
            if path.is_dir():
                raise UsageError(f"{flag} {path}: this is a folder; expected the path of a file")
            if not path.parent.is_dir():
                raise UsageError(f"{flag} {path}: there is no folder {path.parent}")

    def write(self, report: CheckReport) -> None:
        """Print the result, and write the files.

        Raises:
            UsageError: a file cannot be written.
        """
        for flag, path, made in self._files():
            try:
                path.write_bytes(made(report))
            except OSError as error:
                raise UsageError(f"{flag} {path}: {error.strerror}") from error
        if self.json:
            encoded = msgspec.json.format(msgspec.json.encode(report), indent=2)
            sys.stdout.buffer.write(encoded + b"\n")
        else:
            self._print(report)
        annotate(check_annotations(report), sys.stderr if self.json else sys.stdout)

    def _files(self) -> list[tuple[str, Path, Callable[[CheckReport], bytes]]]:
        files: tuple[tuple[str, Path | None, Callable[[CheckReport], bytes]], ...] = (
            ("--junit", self.junit, check_junit),
            ("--sarif", self.sarif, lambda one: check_sarif(one, version("hitless"))),
            ("--html", self.html, lambda one: check_page(one, at_rows=self.at_rows).encode()),
        )
        return [(flag, path, made) for flag, path, made in files if path is not None]

    def _print(self, report: CheckReport) -> None:
        console = output(highlight=False)
        if console.is_terminal:
            print_check(console, report, at_rows=self.at_rows)
        else:
            draw_unwrapped(console, lambda wide: print_check(wide, report, at_rows=self.at_rows))
