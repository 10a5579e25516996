"""`hitless list`: the built-in scenarios."""

import sys
from collections.abc import Mapping

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scenarios.cli.options import (
    JsonOption,
)
from scenarios.scenario.experiment import STRATEGY_NAMES
from scenarios.scenario.reader import builtin_names, load


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One of the built-in scenarios.

    Attributes:
        name: what `hitless run` calls it.
        title: one line on what it shows.
        teaches: what a reader learns from it.
        fails_with: the strategies under which it must fail, each with the causes of which at least
            one must be found.
        outcome: how its release should end.
    """

    name: str
    title: str
    teaches: str
    fails_with: Mapping[str, tuple[str, ...]]
    outcome: str


def list_command(as_json: JsonOption = False) -> int:
    """List the built-in scenarios and what each of them shows."""
    scenarios = [load(name).scenario for name in builtin_names()]
    if as_json:
        rows = [
            Listed(
                name=scenario.name,
                title=scenario.title,
                teaches=scenario.teaches,
                fails_with=scenario.expect.fails_with,
                outcome=scenario.expect.outcome,
            )
            for scenario in scenarios
        ]
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(rows), indent=2) + b"\n")
        return 0
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 1, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for scenario in scenarios:
        table.add_row(
            Text(scenario.name),
            Text.assemble((scenario.title, "bold"), "\n", scenario.teaches),
        )
    console = Console()
    console.print(table)
    console.print(
        f"Strategies: {', '.join(STRATEGY_NAMES)}. "
        "Run one with: hitless run SCENARIO --strategy STRATEGY"
    )
    return 0
