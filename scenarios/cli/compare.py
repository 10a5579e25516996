"""`hitless compare`: runs side by side."""

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from scenarios.cli.console import output
from scenarios.cli.files import check_file, write_file
from scenarios.cli.options import JsonOption
from scenarios.errors import UsageError
from scenarios.reports.matrix import comparison
from scenarios.reports.page.comparison import compare_report
from scenarios.review import recall
from scenarios.verdict import Verdict


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One of the runs that are compared.

    Attributes:
        folder: where its evidence is.
        verdict: what it means.
    """

    folder: str
    verdict: Verdict


def compare_command(
    folders: Annotated[list[Path], typer.Argument(help="The folders of two or more runs.")],
    html: Annotated[
        Path | None, typer.Option("--html", help="Also write the comparison as an HTML page.")
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Compare two or more runs side by side."""
    if len(folders) < 2:  # noqa: PLR2004 - fewer cannot be compared
        raise UsageError("hitless compare: expected the folders of two runs or more")
    check_file("--html", html)
    runs = [recall(folder) for folder in folders]
    if html is not None:
        write_file("--html", html, compare_report(runs))
    if as_json:
        rows = [Side(folder=run.folder, verdict=run.verdict) for run in runs]
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(rows), indent=2) + b"\n")
    else:
        output().print(comparison([run.verdict for run in runs]))
    return 0
