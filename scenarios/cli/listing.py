"""`hitless list`: the built-in scenarios, or the personas."""

import sys
from collections.abc import Mapping
from typing import Annotated

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from orchestrator.personas import PERSONAS, RequestHandling
from orchestrator.termination import TerminationPolicy
from scenarios.cli.console import output
from scenarios.cli.options import JsonOption
from scenarios.cli.program import program
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


class ListedPersona(msgspec.Struct, frozen=True, kw_only=True):
    """One of the personas.

    Attributes:
        name: what `--persona` calls it.
        title: the platform.
        summary: what happens there when a replica leaves.
        termination: the values of `policy.termination`.
        handling: the values of `[balancer]`.
        limits: what of the platform they do not cover.
    """

    name: str
    title: str
    summary: str
    termination: TerminationPolicy
    handling: RequestHandling
    limits: str


def list_command(
    personas: Annotated[
        bool,
        typer.Option("--personas", help="List the platforms that `--persona` can imitate instead."),
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """List the built-in scenarios and what each of them shows."""
    if personas:
        return _list_personas(as_json=as_json)
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
    console = output()
    console.print(table)
    console.print(
        f"Strategies: {', '.join(STRATEGY_NAMES)}. "
        f"Run one with: {program()} run SCENARIO --strategy STRATEGY"
    )
    return 0


def _list_personas(*, as_json: bool) -> int:
    if as_json:
        rows = [
            ListedPersona(
                name=one.name,
                title=one.title,
                summary=one.summary,
                termination=one.termination,
                handling=one.handling,
                limits=one.limits,
            )
            for one in PERSONAS.values()
        ]
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(rows), indent=2) + b"\n")
        return 0
    console = output()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("persona", "order", "router told late", "preStop", "grace", "told of new", "idle"):
        table.add_column(name, style="bold" if name == "persona" else "", overflow="fold")
    for one in PERSONAS.values():
        how = one.termination
        table.add_row(
            one.name,
            how.order,
            _seconds(how.deregistration_lag_seconds),
            _seconds(how.pre_stop_seconds),
            _seconds(how.grace_seconds),
            how.registration,
            "closed" if how.close_idle else "kept",
        )
    console.print(table)
    console.print()
    console.print(_handling_table())
    console.print()
    for one in PERSONAS.values():
        console.print(Text.assemble((f"{one.name}: ", "bold"), one.summary))
    console.print(
        f"\nUse one with: {program()} run SCENARIO --persona NAME. The source of each value is in "
        "docs/personas.md.",
        highlight=False,
    )
    return 0


def _handling_table() -> Table:
    """What the router of each platform does with requests, which our balancer then does too."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in (
        "persona",
        "retries",
        "passive checks",
        "active checks",
        "POST on kept connection",
    ):
        table.add_column(name, style="bold" if name == "persona" else "", overflow="fold")
    for one in PERSONAS.values():
        how = one.handling
        does = (how.retry, how.passive_checks, how.active_checks, how.reuse_post)
        table.add_row(one.name, *("yes" if each else "no" for each in does))
    return table


def _seconds(value: float | tuple[float, float] | None) -> str:
    if value is None:
        return "as the version"
    if isinstance(value, tuple):
        return f"{value[0]:g} to {value[1]:g} s"
    return f"{value:g} s"
