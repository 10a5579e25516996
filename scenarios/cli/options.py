"""The arguments and flags that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from scenarios.cli.help import complete_scenario, complete_strategy
from scenarios.scenario.experiment import STRATEGY_NAMES

ScenarioArgument = Annotated[
    str,
    typer.Argument(
        help="A built-in scenario (see `hitless list`), or the path of a file.",
        autocompletion=complete_scenario,
    ),
]
StrategyOption = Annotated[
    str,
    typer.Option(help=f"One of: {', '.join(STRATEGY_NAMES)}.", autocompletion=complete_strategy),
]
ReplicasOption = Annotated[
    int | None, typer.Option(min=1, max=1000, help="How many replicas serve.")
]
RateOption = Annotated[float | None, typer.Option(help="Arrivals a second.")]
RowsOption = Annotated[
    int | None, typer.Option(min=0, help="Rows that are in the database before the run.")
]
SeedOption = Annotated[int, typer.Option(min=0, help="The seed of all randomness.")]
BaselineOption = Annotated[
    float | None, typer.Option(min=0, help="Seconds of traffic before the release.")
]
SettleOption = Annotated[
    float | None, typer.Option(min=0, help="Seconds of traffic after the release.")
]
DatabaseOption = Annotated[
    str | None,
    typer.Option(
        envvar="HITLESS_DATABASE",
        help="The URL of a Postgres server to use instead of an embedded one.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any setting of the scenario, such as policy.max_surge=25%; may be repeated.",
    ),
]
RepeatOption = Annotated[
    int, typer.Option(min=1, help="So many releases in a row, always forward, under one traffic.")
]
KeepOption = Annotated[
    bool,
    typer.Option(
        "--keep", help="If this is killed (`kill -9`), leave the fleet to `hitless ctl RUN`."
    ),
]
HoldOption = Annotated[
    bool,
    typer.Option(
        "--hold", help="After the release, let the traffic go on until `hitless ctl RUN finish`."
    ),
]
RunsOption = Annotated[
    int,
    typer.Option(min=1, help="Run it so often, with a seed each, and bound how often it fails."),
]
CounterfactualOption = Annotated[
    bool,
    typer.Option(
        "--counterfactual",
        help="Run it once more with the suspected mechanism changed, and say whether it was that.",
    ),
]
FaultOption = Annotated[
    list[str] | None,
    typer.Option(
        "--fault",
        metavar="KIND[:SECONDS][@AFTER]",
        help="Something that goes wrong during the rollout, such as kill, freeze:3, block:2, "
        "restart-postgres or crash-postgres; may be repeated.",
    ),
]
OutOption = Annotated[Path, typer.Option(help="Where the folders of runs go.")]
JunitOption = Annotated[
    Path | None, typer.Option("--junit", help="Write JUnit XML here too, besides the run's folder.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
NoLiveOption = Annotated[bool, typer.Option("--no-live", help="Plain lines, no dashboard.")]
