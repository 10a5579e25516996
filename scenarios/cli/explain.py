"""`hitless explain`: one request's story, from all evidence of its run."""

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scenarios.cli.console import output
from scenarios.cli.options import JsonOption
from scenarios.reports import words
from scenarios.reports.story import facts
from scenarios.review import explain
from scenarios.verdict.story import Story


def explain_command(
    folder: Annotated[Path, typer.Argument(help="The folder of a run.")],
    request_id: Annotated[
        str, typer.Argument(help="The id of a request, such as an example in the verdict.")
    ],
    as_json: JsonOption = False,
) -> int:
    """Show what the run recorded about one request.

    The story combines the records of the client, the balancer, the replica, the database and the
    rollout, in order of time.
    """
    story = explain(folder, request_id)
    if as_json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(story), indent=2) + b"\n")
    else:
        _show(output(), story)
    return 0


def _show(console: Console, story: Story) -> None:
    console.print(Text(words.clean(f"{story.request_id}  {story.summary}"), "bold"))
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in facts(story):
        grid.add_row(name, Text(words.clean(text)))
    console.print(grid)
    console.print()
    moments = Table.grid(padding=(0, 2, 0, 0))
    moments.add_column(justify="right", no_wrap=True, style="dim")
    moments.add_column(no_wrap=True, style="bold")
    moments.add_column(overflow="fold")
    for moment in story.moments:
        when = "" if moment.at is None else f"{moment.at:+.4f} s"
        moments.add_row(when, words.clean(moment.source), Text(words.clean(moment.text)))
    console.print(moments)
