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
from scenarios.cli.files import check_file, write_file
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
            check_file(flag, path)

    def write(self, report: CheckReport) -> None:
        """Print the result, and write the files.

        Raises:
            UsageError: a path cannot be that of a file.
            StorageError: the machine refuses a file.
        """
        for flag, path, made in self._files():
            write_file(flag, path, made(report))
        if self.json:
            encoded = msgspec.json.format(msgspec.json.encode(report), indent=2)
            sys.stdout.buffer.write(encoded + b"\n")
        else:
            print_check(output(highlight=False), report, at_rows=self.at_rows)
        annotate(check_annotations(report), sys.stderr if self.json else sys.stdout)

    def _files(self) -> list[tuple[str, Path, Callable[[CheckReport], bytes]]]:
        files: tuple[tuple[str, Path | None, Callable[[CheckReport], bytes]], ...] = (
            ("--junit", self.junit, check_junit),
            ("--sarif", self.sarif, lambda one: check_sarif(one, version("hitless"))),
            ("--html", self.html, lambda one: check_page(one, at_rows=self.at_rows).encode()),
        )
        return [(flag, path, made) for flag, path, made in files if path is not None]
