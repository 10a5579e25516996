"""`hitless report`: the verdict of a run again."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from scenarios.cli.options import (
    JsonOption,
    JunitOption,
)
from scenarios.errors import UsageError
from scenarios.reports.terminal import print_verdict
from scenarios.review import review, write_reports
from scenarios.review.publishing import write_junit
from scenarios.verdict import encode


def report_command(
    folder: Annotated[Path, typer.Argument(help="The folder of a run.")],
    junit: JunitOption = None,
    as_json: JsonOption = False,
) -> int:
    """Compute the verdict of a run again from its evidence, and rewrite its reports."""
    try:
        judgement = review(folder)
        write_reports(folder, judgement)
    except OSError as error:
        raise UsageError(f"{error.filename or folder}: {error.strerror}") from error
    verdict = judgement.verdict
    write_junit(junit, verdict)
    if as_json:
        sys.stdout.buffer.write(encode(verdict))
    else:
        print_verdict(Console(), verdict, str(folder))
    return verdict.exit_status
