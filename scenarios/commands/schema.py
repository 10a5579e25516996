"""`hitless schema`: the published formats."""

import sys
from typing import Annotated

import typer

from scenarios.mistakes import near
from scenarios.overrides import UsageError
from scenarios.schemas import scenario_schema, verdict_schema

SCHEMAS = {"scenario": scenario_schema, "verdict": verdict_schema}


def schema_command(
    of: Annotated[str, typer.Argument(help=f"One of: {', '.join(SCHEMAS)}.")] = "scenario",
) -> int:
    """Print the JSON Schema of a scenario file, or of verdict.json.

    An editor that is given it completes and checks what is written; with Taplo or Even Better TOML:
    put `#:schema ./scenario.schema.json` into the first line of a scenario file.
    """
    if of not in SCHEMAS:
        raise UsageError(f"there is no schema of {of!r}; {near(of, SCHEMAS)}")
    sys.stdout.buffer.write(SCHEMAS[of]())
    return 0
