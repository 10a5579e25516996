"""The arguments and flags that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.database_url import is_database_url, redacted
from orchestrator.personas import PERSONAS
from scenarios.cli.help import complete_persona, complete_scenario, complete_strategy
from scenarios.scenario.experiment import STRATEGY_NAMES
from scenarios.scenario.overrides import USUAL_STRATEGY
from scenarios.scenario.platform_spec import DEPLOYMENT
from scenarios.traffic.settings import MOST_SECONDS


def database_url(url: str | None) -> str | None:
    """The URL of a database, if it is one.

    Raises:
        typer.BadParameter: it is none.
    """
    if url is not None and not is_database_url(url):
        raise typer.BadParameter(
            f"not a database URL: {redacted(url)}; it should look like "
            "postgresql://user:password@host:5432/database"
        )
    return url


ScenarioArgument = Annotated[
    str,
    typer.Argument(
        help="A built-in scenario (see `hitless list`), or the path of a scenario file.",
        autocompletion=complete_scenario,
    ),
]
StrategyOption = Annotated[
    str,
    typer.Option(
        help=f"The rollout strategy: {', '.join(STRATEGY_NAMES)}.",
        autocompletion=complete_strategy,
    ),
]
RunStrategyOption = Annotated[
    str | None,
    typer.Option(
        help=f"The rollout strategy: {', '.join(STRATEGY_NAMES)}; on a Kubernetes cluster also "
        f"{DEPLOYMENT}. Default: {USUAL_STRATEGY}, or platform.strategy of the scenario.",
        autocompletion=complete_strategy,
    ),
]
ContextOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="For scenarios on Kubernetes: the context of the kubeconfig. Default: the current "
        "one, if its cluster runs on this machine.",
    ),
]
PersonaOption = Annotated[
    str | None,
    typer.Option(
        help="Start and stop replicas with the defaults of this platform: "
        f"{', '.join(PERSONAS)}. See `hitless list --personas`.",
        autocompletion=complete_persona,
    ),
]
PersonasOption = Annotated[
    list[str] | None,
    typer.Option(
        "--persona",
        help=f"Run everything as on this platform: {', '.join(PERSONAS)}. May be repeated.",
        autocompletion=complete_persona,
    ),
]
StrategiesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--strategy",
        help=f"Run everything under this strategy: {', '.join(STRATEGY_NAMES)}. May be repeated. "
        "Default: all.",
        autocompletion=complete_strategy,
    ),
]
RoutersOption = Annotated[
    list[str] | None,
    typer.Option(
        "--router",
        metavar="KIND",
        help="Run everything behind this router: hitless, haproxy, envoy, nginx, traefik or caddy. "
        "May be repeated. Default: the router of each scenario.",
    ),
]
ReplicasOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=1_000_000,
        help="The number of replicas: at most 1,000, and more only with --platform simulated.",
    ),
]
RateOption = Annotated[float | None, typer.Option(help="The number of user arrivals per second.")]
AutoRateOption = Annotated[
    str | None,
    typer.Option(
        "--rate",
        metavar="NUMBER|auto",
        help="The number of user arrivals per second. With `auto`, hitless first measures what "
        "this machine carries. Default: the scenario's rate, or auto if it says none.",
    ),
]
DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Check the scenario, start the old version, request each journey once, and stop "
        "there: nothing is deployed.",
    ),
]
RowsOption = Annotated[
    int | None,
    typer.Option(
        min=0, max=1_000_000_000, help="The number of rows in the database before the run."
    ),
]
SeedOption = Annotated[int, typer.Option(min=0, help="The seed of the random numbers.")]
BaselineOption = Annotated[
    float | None,
    typer.Option(min=0, max=MOST_SECONDS, help="Seconds of traffic before the release."),
]
SettleOption = Annotated[
    float | None,
    typer.Option(min=0, max=MOST_SECONDS, help="Seconds of traffic after the release."),
]
DatabaseOption = Annotated[
    str | None,
    typer.Option(
        envvar="HITLESS_DATABASE",
        callback=database_url,
        help="The URL of a Postgres server to use instead of the embedded one.",
    ),
]
DatabaseLogOption = Annotated[
    Path | None,
    typer.Option(
        "--database-log",
        envvar="HITLESS_DATABASE_LOG",
        metavar="PATH",
        help="With --database: the server's log on this machine, a file or its folder, as jsonlog "
        "or csvlog. It says which SQLSTATEs the application got.",
    ),
]
RouterOption = Annotated[
    str | None,
    typer.Option(
        "--router",
        metavar="KIND",
        help="The router that sends requests to the replicas: hitless, haproxy, envoy, nginx, "
        "traefik or caddy. It replaces router.kind of the scenario.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change any setting of the scenario, such as policy.max_surge=25%. May be repeated.",
    ),
]
RepeatOption = Annotated[
    int,
    typer.Option(
        min=1,
        max=1000,
        help="Deploy this many releases one after another in one run, under continuous traffic.",
    ),
]
KeepOption = Annotated[
    bool,
    typer.Option(
        "--keep",
        help="If hitless is killed (`kill -9`), keep the replicas running, so that "
        "`hitless ctl RUN` can take over.",
    ),
]
HoldOption = Annotated[
    bool,
    typer.Option(
        "--hold",
        help="After the release, continue the traffic until `hitless ctl RUN finish`.",
    ),
]
RunsOption = Annotated[
    int,
    typer.Option(
        min=1,
        max=10_000,
        help="Repeat the experiment N times with different seeds and bound its failure rate.",
        metavar="N",
    ),
]
CounterfactualOption = Annotated[
    bool,
    typer.Option(
        "--counterfactual",
        help="Repeat the run without the suspected cause, and report whether the failures stop.",
    ),
]
ControlOption = Annotated[
    bool,
    typer.Option(
        "--control",
        help="First deploy the old version again under the same traffic. Failures that are as "
        "frequent there do not count against the release.",
    ),
]
FaultOption = Annotated[
    list[str] | None,
    typer.Option(
        "--fault",
        metavar="KIND[:SECONDS][@AFTER]",
        help="Inject a fault during the rollout, such as kill, freeze:3, block:2, "
        "restart-postgres or crash-postgres. May be repeated.",
    ),
]
PlatformOption = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="local: real processes. simulated: a model of them in virtual time, which predicts "
        "the verdict in seconds, also for thousands of replicas.",
    ),
]
OutOption = Annotated[
    Path, typer.Option(help="The folder in which each run creates a folder of its own.")
]
JunitOption = Annotated[
    Path | None,
    typer.Option("--junit", help="Also write the JUnit XML report to this file."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
VerboseOption = Annotated[
    bool, typer.Option("--verbose", "-v", help="Print all numbers and all evidence of the verdict.")
]
NoLiveOption = Annotated[
    bool, typer.Option("--no-live", help="Print plain lines instead of the live dashboard.")
]
