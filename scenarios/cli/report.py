"""`hitless report`: the verdict of a run again."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from scenarios.cli.console import output
from scenarios.cli.files import check_file
from scenarios.cli.options import (
    JsonOption,
    JunitOption,
    VerboseOption,
)
from scenarios.cli.program import program
from scenarios.reports.terminal import print_verdict
from scenarios.review import review, write_reports
from scenarios.review.publishing import write_junit
from scenarios.verdict import encode


def report_command(
    folder: Annotated[Path, typer.Argument(help="The folder of a run.")],
    junit: JunitOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Compute the verdict of a run again from its evidence, and rewrite its reports."""
    check_file("--junit", junit)
    judgement = review(folder)
    write_reports(folder, judgement)
    verdict = judgement.verdict
    write_junit(junit, verdict)
    if as_json:
        sys.stdout.buffer.write(encode(verdict))
    else:
        print_verdict(output(), verdict, str(folder), verbose=verbose, program=program())
    return verdict.exit_status
