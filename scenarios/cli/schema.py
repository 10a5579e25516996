"""`hitless schema`: the published formats."""

import sys
from collections.abc import Callable, Mapping
from typing import Annotated

import typer

from scenarios.cli.compare import Side
from scenarios.cli.listing import Listed
from scenarios.cli.matrix import Cell
from scenarios.errors import UsageError, near
from scenarios.json_schema import described, encode
from scenarios.reports.verdict_schema import verdict_schema
from scenarios.scenario.file_schema import scenario_schema
from scenarios.verdict.story import Story

SCHEMAS: Mapping[str, Callable[[], bytes]] = {
    "scenario": scenario_schema,
    "verdict": verdict_schema,
    "list": lambda: encode(described(list[Listed], "hitless list --json")),
    "matrix": lambda: encode(described(list[Cell], "hitless matrix --json")),
    "compare": lambda: encode(described(list[Side], "hitless compare --json")),
    "explain": lambda: encode(described(Story, "hitless explain --json")),
}


def schema_command(
    of: Annotated[str, typer.Argument(help=f"The format: {', '.join(SCHEMAS)}.")] = "scenario",
) -> int:
    """Print the JSON Schema of a scenario file, or of a command's JSON output.

    `run --json` and `report --json` print one verdict; `demo --json` prints a list of verdicts.

    With the schema of a scenario file, an editor can complete and check the file. For Taplo or
    Even Better TOML, put `#:schema ./scenario.schema.json` into the first line of the file.
    """
    if of not in SCHEMAS:
        raise UsageError(f"there is no schema for {of!r}; {near(of, SCHEMAS)}")
    sys.stdout.buffer.write(SCHEMAS[of]())
    return 0
