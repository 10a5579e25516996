"""`hitless watch`: the evidence and the verdict around any deployment."""

import asyncio
import os
import re
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from orchestrator.kubernetes.target import ClusterTarget
from orchestrator.kubernetes.target import target_of as cluster_target_of
from scenarios.cli.conclusion import conclude
from scenarios.cli.files import check_file, check_program, new_folder
from scenarios.cli.interrupts import run_interruptibly
from scenarios.cli.options import (
    DatabaseLogOption,
    JsonOption,
    JunitOption,
    NoLiveOption,
    OutOption,
    VerboseOption,
    database_url,
)
from scenarios.cli.running import judged, passing_time, progress_console, view_of
from scenarios.cli.watch_input import check_host
from scenarios.errors import UsageError
from scenarios.evidence.manifest import Objectives
from scenarios.evidence.progress import PlannedStep, RunHeader
from scenarios.recording.compose.engine import ComposeProject
from scenarios.recording.service_logs.following import sources_of
from scenarios.runner.generators.in_cluster import GeneratorJobs
from scenarios.runner.service_logs import naming_themselves
from scenarios.runner.watch import (
    NOT_CHECKED,
    STRATEGY,
    Watch,
    WatchTarget,
    target_of,
    visits,
    watch,
    with_headers,
)
from scenarios.scenario.overrides import at_rate
from scenarios.scenario.reader import load
from scenarios.scenario.spec import PhasesSpec
from scenarios.traffic.errors import TrafficError
from scenarios.traffic.settings import MOST_PROCESSES, MOST_SECONDS, TlsSettings, TrafficSettings
from scenarios.traffic.wire.tls import tls_context
from scenarios.verdict import Judgement

_SEEDS = 1_000_000
_RATE = 20.0

UrlOption = Annotated[str, typer.Option(help="The URL that users request: https://host/path.")]
CommandArgument = Annotated[
    list[str] | None,
    typer.Argument(help="The deploy command, after `--`. Without it, watch until Ctrl-C."),
]
ScenarioOption = Annotated[
    str | None,
    typer.Option(help="Use the traffic, phases and objectives of this scenario."),
]
ExpectOption = Annotated[
    list[int] | None,
    typer.Option(
        min=100, max=599, help="An HTTP status that counts as success. May be repeated. [200]"
    ),
]
RateOption = Annotated[
    float | None, typer.Option(help="The number of user journeys that start per second.")
]
BaselineOption = Annotated[
    float | None,
    typer.Option(min=0, max=MOST_SECONDS, help="Seconds of traffic before the command."),
]
SettleOption = Annotated[
    float | None,
    typer.Option(min=0, max=MOST_SECONDS, help="Seconds of traffic after the command."),
]
SeedOption = Annotated[
    int | None,
    typer.Option(min=0, help="The seed of the random numbers. Default: a new one for each run."),
]


_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
CacertOption = Annotated[
    Path | None,
    typer.Option(help="A file of certificates to trust for https, instead of the system's."),
]
InsecureOption = Annotated[
    bool,
    typer.Option(
        "--insecure", help="Do not check the certificate of an https service. The verdict says so."
    ),
]
Http1Option = Annotated[
    bool,
    typer.Option("--http1", help="Speak HTTP/1.1 with an https service, even if it offers HTTP/2."),
]
WatchedDatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database",
        envvar="HITLESS_WATCHED_DATABASE",
        callback=database_url,
        help="The URL of the service's Postgres database: waits for locks, changes of the schema "
        "and, with --scenario, its [integrity] are then evidence.",
    ),
]
LogsOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[KIND:]FILE",
        help="A log of the service: an access or error log of nginx, HAProxy, Envoy, Traefik or "
        "Caddy, or the application's. It is recognised, or KIND names it (nginx, haproxy, envoy, "
        "traefik, caddy, app). FILE may be a pattern in quotes. May be repeated.",
    ),
]
ComposeOption = Annotated[
    str | None,
    typer.Option(
        metavar="PROJECT",
        help="The docker compose project of the service: starts, stops and exits of its containers "
        "are then evidence. DOCKER_HOST names the engine.",
    ),
]
ClusterOption = Annotated[
    str | None,
    typer.Option(
        metavar="[CONTEXT/]NAMESPACE[:deployment/NAME]",
        help="Also watch this namespace of a Kubernetes cluster: what its pods did is then "
        "evidence, and the run lasts until the rollout is complete. Needs hitless[kubernetes].",
    ),
]
GeneratorsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=MOST_PROCESSES,
        metavar="N",
        help="Send the traffic from N pods in the cluster of --cluster, each with a part of the "
        "users; --url is then requested from there. They are removed at the end.",
    ),
]
GeneratorImageOption = Annotated[
    str | None,
    typer.Option(
        metavar="IMAGE", help="The image of these pods: this version of hitless, with Python."
    ),
]
HeaderOption = Annotated[
    list[str] | None,
    typer.Option(
        "--header",
        metavar="NAME=VARIABLE",
        help="Send a header field with the value of an environment variable, which is not "
        "recorded. May be repeated.",
    ),
]
BearerOption = Annotated[
    str | None,
    typer.Option(
        metavar="VARIABLE",
        help="Send the bearer token in this environment variable, which is not recorded.",
    ),
]


def watch_command(  # noqa: PLR0917 - typer wants each flag as a parameter
    url: UrlOption,
    command: CommandArgument = None,
    scenario: ScenarioOption = None,
    expect: ExpectOption = None,
    rate: RateOption = None,
    baseline: BaselineOption = None,
    settle: SettleOption = None,
    seed: SeedOption = None,
    cluster: ClusterOption = None,
    generators: GeneratorsOption = None,
    generator_image: GeneratorImageOption = None,
    database: WatchedDatabaseOption = None,
    database_log: DatabaseLogOption = None,
    logs: LogsOption = None,
    compose: ComposeOption = None,
    cacert: CacertOption = None,
    insecure: InsecureOption = False,
    http1: Http1Option = False,
    header: HeaderOption = None,
    bearer: BearerOption = None,
    out: OutOption = Path("runs"),
    junit: JunitOption = None,
    as_json: JsonOption = False,
    no_live: NoLiveOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Send traffic to a URL while any command deploys, and judge the result.

    The command may be anything that deploys: a script, kubectl, kamal, docker compose. Its output
    goes to command.log in the run's folder. If the command fails, the verdict is fail. Here
    hitless controls only the traffic. It derives causes from the responses; with --logs, from what
    the service's proxies and its application log; and with --database and --database-log, from what
    it sees of the service's Postgres database. With --cluster it watches the pods of a Kubernetes
    namespace, and joins each failed request with what they did.
    """
    target = target_of(url)
    place = _cluster(cluster)
    pods = _generators(generators, generator_image, cluster)
    tls = _tls(target, cacert, insecure=insecure, http1=http1)
    traffic = TrafficSettings(rate=_RATE, journeys=visits(target.path, tuple(expect or (200,))))
    phases, objectives, integrity = PhasesSpec(), Objectives(), None
    if scenario is not None:
        if expect:
            raise UsageError("--expect cannot be combined with --scenario, whose steps define it")
        loaded = load(scenario)
        traffic = loaded.scenario.traffic
        phases, objectives = loaded.scenario.phases, loaded.scenario.objectives
        integrity = None if database is None else loaded.scenario.integrity
    if rate is not None:
        traffic = at_rate(traffic, rate)
    _check_database_log(database_log, database)
    sources = sources_of(logs or ())
    if sources:
        traffic = naming_themselves(traffic)
    traffic = with_headers(traffic, headers_from(header or (), bearer, os.environ))
    # A service that outlives the run must not meet the same users again.
    number = int(time.time() * 10) % _SEEDS if seed is None else seed
    about = Watch(
        name=f"watch {target.host}",
        target=target,
        command=tuple(command or ()),
        traffic=traffic,
        phases=PhasesSpec(
            baseline_seconds=phases.baseline_seconds if baseline is None else baseline,
            settle_seconds=phases.settle_seconds if settle is None else settle,
        ),
        objectives=objectives,
        seed=number,
        replay=_replay(
            command or (),
            url=url,
            scenario=scenario,
            expect=expect,
            rate=rate,
            baseline=baseline,
            settle=settle,
            seed=seed,
            cluster=cluster,
            generators=generators,
            generator_image=generator_image,
            **{} if database is None else {"database": "URL"},  # a URL may hold a password
            database_log=database_log,
            logs=logs,
            compose=compose,
            cacert=cacert,
            insecure=insecure or None,
            http1=http1 or None,
            header=header,
            bearer=bearer,
        ),
        tls=tls,
        database=database,
        database_log=database_log,
        integrity=integrity,
        logs=sources,
        compose=None if compose is None else ComposeProject(compose),
        cluster=place,
        generators=pods,
    )
    check_file("--junit", junit)
    check_program(about.command)
    if pods is None:
        check_host(target)
    folder = new_folder(out, about.name, STRATEGY)
    console = progress_console(as_json=as_json)
    if insecure:
        console.print(Text(f"warning: {NOT_CHECKED}", "yellow"))
    shown = RunHeader(
        scenario=about.name,
        strategy=STRATEGY,
        seed=number,
        replicas=1,
        rate=traffic.asked_rate,
        users=traffic.users,
        steps=(PlannedStep(verb="release", text=f"release {shlex.join(about.command)}"),)
        if about.command
        else (),
    )
    stop = asyncio.Event()

    async def work() -> Judgement:
        with view_of(console, shown, no_live=no_live) as view:
            async with passing_time(view):
                await watch(about, folder, view, stop)
                return await judged(folder, view)

    ended = run_interruptibly(work(), instead=None if about.command else stop.set)
    verdict = ended.verdict
    return conclude(console, verdict, folder, as_json=as_json, junit=junit, verbose=verbose)


def _check_database_log(path: Path | None, database: str | None) -> None:
    if path is None:
        return
    if database is None:
        raise UsageError("--database-log needs --database")
    if not path.exists():
        raise UsageError(f"--database-log {path}: there is no such file or folder")


def _cluster(text: str | None) -> ClusterTarget | None:
    """What `--cluster` names.

    Raises:
        UsageError: it has another form.
    """
    try:
        return None if text is None else cluster_target_of(text)
    except ValueError as error:
        raise UsageError(f"--cluster {text}: {error}") from error


def _generators(count: int | None, image: str | None, cluster: str | None) -> GeneratorJobs | None:
    """The load generators in the cluster; None if the load comes from this machine.

    Raises:
        UsageError: one of the flags needs another one.
    """
    if count is None:
        if image is not None:
            raise UsageError("--generator-image needs --generators, the number of pods")
        return None
    if cluster is None:
        raise UsageError("--generators needs --cluster, which says where the pods run")
    if image is None:
        raise UsageError(
            "--generators needs --generator-image, an image with this version of hitless; "
            "docs/kubernetes.md says how to make one"
        )
    return GeneratorJobs(count=count, image=image)


def _tls(
    target: WatchTarget, cacert: Path | None, *, insecure: bool, http1: bool
) -> TlsSettings | None:
    """How the traffic is encrypted; None for an `http://` URL.

    Raises:
        UsageError: flags that go together with https alone, or exclude each other.
    """
    if not target.secure:
        if cacert is not None or insecure or http1:
            raise UsageError("--cacert, --insecure and --http1 go with an https:// URL")
        return None
    if cacert is not None and insecure:
        raise UsageError(
            "--cacert cannot be combined with --insecure, which trusts any certificate"
        )
    if cacert is not None and not cacert.is_file():
        raise UsageError(f"--cacert {cacert}: there is no such file")
    settings = TlsSettings(
        server_name=target.host,
        ca_file=None if cacert is None else str(cacert),
        verify=not insecure,
        http2=not http1,
    )
    try:
        tls_context(settings)
    except TrafficError as error:
        raise UsageError(f"--cacert {error}; expected certificates in PEM") from error
    return settings


def headers_from(
    headers: Sequence[str], bearer: str | None, environ: Mapping[str, str]
) -> dict[str, str]:
    """PURE: the header fields that flags name, with their values from environment variables.

    Args:
        headers: each as `NAME=VARIABLE`.
        bearer: the variable with a bearer token (RFC 6750).
        environ: the environment.

    Raises:
        UsageError: a flag names no field, or a variable that is not set.
    """
    found = {}
    for text in headers:
        name, separator, variable = text.partition("=")
        if not (separator and _FIELD_NAME.fullmatch(name)):
            raise UsageError(f"--header {text}: expected NAME=VARIABLE, such as X-Api-Key=API_KEY")
        found[name] = _value_of(f"--header {text}", variable, environ)
    if bearer is not None:
        found["Authorization"] = f"Bearer {_value_of(f'--bearer {bearer}', bearer, environ)}"
    return found


def _value_of(flag: str, variable: str, environ: Mapping[str, str]) -> str:
    value = environ.get(variable)
    if not value:
        raise UsageError(f"{flag}: the environment variable {variable!r} is not set")
    if not value.isprintable() or "{" in value or not value.isascii():
        raise UsageError(f"{flag}: the value of {variable!r} cannot stand in a header field")
    return value


def _replay(command: Sequence[str], **flags: object) -> str:
    """The command that watches the same again."""
    words = ["hitless", "watch"]
    for name, given in flags.items():
        for value in given if isinstance(given, list) else [given]:
            if value is True:
                words.append(f"--{name.replace('_', '-')}")
            elif value is not None:
                text = f"{value:g}" if isinstance(value, float) else str(value)
                words += [f"--{name.replace('_', '-')}", text]
    return shlex.join([*words, "--", *command] if command else words)
