"""`hitless probe`: how a server stops and starts, and what that means where it is deployed."""

import re
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from orchestrator.placeholders import PlaceholderError
from scenarios.cli.console import output
from scenarios.cli.files import check_file, check_program, write_file
from scenarios.cli.interrupts import run_interruptibly
from scenarios.cli.options import DatabaseOption, JsonOption
from scenarios.errors import UsageError, near
from scenarios.exit_status import ExitStatus
from scenarios.probe.discovery import Asked
from scenarios.probe.probing import WATCH_SECONDS, probe
from scenarios.probe.profile import Profile
from scenarios.probe.report import LONGEST_SECONDS, ProbeReport, judge
from scenarios.probe.screen import junit, markdown, print_report
from scenarios.probe.server import Target
from scenarios.probe.terms import PLATFORMS, ROUTERS, router_of, terms_with
from scenarios.runner.environment import environment
from scenarios.runner.probe import probe_version
from scenarios.scenario.reader import builtin_names, load

_STATUS = {
    "lossless": ExitStatus.PASS,
    "loses": ExitStatus.FAIL,
    "unknown": ExitStatus.INVALID,
}
_SIGNALS = ("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2")
_ROUTES = ", ".join(router.name for router in ROUTERS)

CommandArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="-- COMMAND... | SCENARIO",
        help="What starts the server, after `--`, with {host} and {port} in it; or a scenario.",
    ),
]
VersionOption = Annotated[
    str | None, typer.Option("--version", help="Which version of the scenario.")
]
GetOption = Annotated[str | None, typer.Option("--get", help="A path that answers quickly.")]
HealthOption = Annotated[str | None, typer.Option("--health", help="The health check's path.")]
SlowOption = Annotated[
    str | None, typer.Option("--slow", help="A path that answers slowly, such as '/s?t={seconds}'.")
]
UploadOption = Annotated[str | None, typer.Option("--upload", help="A path that reads a body.")]
StreamOption = Annotated[
    str | None,
    typer.Option(
        "--stream", help="A path that answers in pieces, such as '/n?n={chunks}'; 0: no end."
    ),
]
WebsocketOption = Annotated[
    str | None, typer.Option("--websocket", help="A path that becomes a WebSocket.")
]
PersonaOption = Annotated[
    str, typer.Option("--persona", help=f"Where it is deployed: {', '.join(PLATFORMS)}.")
]
BehindOption = Annotated[
    str | None, typer.Option("--behind", help=f"Behind which router: {_ROUTES}.")
]
PreStopOption = Annotated[
    float | None,
    typer.Option("--pre-stop", min=0, help="Seconds before the signal, as you set it."),
]
GraceOption = Annotated[
    float | None, typer.Option("--grace", min=0, help="Seconds until the kill, as you set it.")
]
LagOption = Annotated[
    float | None,
    typer.Option("--lag", min=0, help="Seconds until no router sends to it any more."),
]
LongestOption = Annotated[
    float, typer.Option("--longest", min=0, help="How long a request may take, in seconds.")
]
WatchOption = Annotated[
    float, typer.Option("--watch", min=3, max=600, help="Seconds to watch after the stop signal.")
]
SignalOption = Annotated[str, typer.Option("--signal", help="What asks the server to stop.")]
PortOption = Annotated[
    int | None,
    typer.Option(
        "--port", min=1, max=65535, help="The port that it always listens on; implies --serial."
    ),
]
SerialOption = Annotated[
    bool, typer.Option("--serial", help="One experiment after the other; takes minutes.")
]
StartOption = Annotated[
    float, typer.Option("--start-timeout", min=0.1, help="Seconds that a start may take.")
]
JunitOption = Annotated[Path | None, typer.Option("--junit", help="Write JUnit XML here.")]
MarkdownOption = Annotated[
    bool, typer.Option("--markdown", help="Print Markdown on standard output.")
]


def probe_command(  # noqa: PLR0917 - typer wants each flag as a parameter
    command: CommandArgument,
    version: VersionOption = None,
    get: GetOption = None,
    health: HealthOption = None,
    slow: SlowOption = None,
    upload: UploadOption = None,
    stream: StreamOption = None,
    websocket: WebsocketOption = None,
    persona: PersonaOption = "kubernetes",
    behind: BehindOption = None,
    pre_stop: PreStopOption = None,
    grace: GraceOption = None,
    lag: LagOption = None,
    longest: LongestOption = LONGEST_SECONDS,
    watch: WatchOption = WATCH_SECONDS,
    signal: SignalOption = "SIGTERM",
    start_timeout: StartOption = 30.0,
    port: PortOption = None,
    serial: SerialOption = False,
    database: DatabaseOption = None,
    junit_file: JunitOption = None,
    as_json: JsonOption = False,
    as_markdown: MarkdownOption = False,
) -> int:
    """Find out how a server starts and stops, and what a deployment of it would lose.

    It starts the command about ten times on free ports, each time with another request in flight,
    and sends it the stop signal. Paths that are not given are found by trying, or left out by name:
    a Python or Node server that it knows answers slow requests, uploads and streams of the probe's
    own beside your application. Nothing is installed and nothing is changed.

    Exit status 0 says that a rolling update on the platform loses nothing, with the platform's own
    settings or with those that --pre-stop, --grace and --lag say.
    """
    check_file("--junit", junit_file)
    terms = terms_with(persona, pre_stop=pre_stop, grace=grace, lag=lag)
    router = None if behind is None else router_of(behind)
    if signal not in _SIGNALS:
        raise UsageError(f"--signal {signal}: {near(signal, _SIGNALS)}")
    asked = Asked(
        get=_path("--get", get),
        health=_path("--health", health),
        slow=_path("--slow", slow),
        upload=_path("--upload", upload),
        stream=_path("--stream", stream),
        websocket=_path("--websocket", websocket),
    )
    progress = output(stderr=True, highlight=False)

    def tell(line: str) -> None:
        progress.print(line, style="dim", soft_wrap=True, markup=False)

    work: Callable[[], Awaitable[Profile]]
    if version is not None:
        if len(command) != 1:
            raise UsageError(
                "--version goes with one scenario, as in: hitless probe FILE --version b"
            )
        loaded = load(command[0])
        if version not in loaded.scenario.versions:
            raise UsageError(f"--version {version}: {near(version, loaded.scenario.versions)}")

        async def work() -> Profile:
            async with environment(database) as place:
                return await probe_version(
                    loaded, version, place, asked, watch_seconds=watch, tell=tell
                )

    else:
        if len(command) == 1 and (command[0].endswith(".toml") or command[0] in builtin_names()):
            raise UsageError(f"{command[0]} is a scenario: say which of its versions by --version")
        check_program(command)
        target = Target(
            command=tuple(command),
            stop_signal=signal,
            ready_path=asked.health or asked.get or "/",
            start_seconds=start_timeout,
            port=port,
        )

        async def work() -> Profile:
            return await probe(target, asked, watch_seconds=watch, serial=serial, tell=tell)

    try:
        profile = run_interruptibly(work())
    except PlaceholderError as error:
        raise UsageError(str(error)) from error
    report = judge(profile, terms, behind=router, longest_seconds=longest)
    _write(report, junit_file, as_json=as_json, as_markdown=as_markdown)
    return _STATUS[report.verdict]


def _write(
    report: ProbeReport, junit_file: Path | None, *, as_json: bool, as_markdown: bool
) -> None:
    if junit_file is not None:
        write_file("--junit", junit_file, junit(report))
    if as_json:
        text = msgspec.json.format(msgspec.json.encode(report), indent=2)
        sys.stdout.buffer.write(text + b"\n")
    elif as_markdown:
        sys.stdout.write(markdown(report))
    else:
        print_report(output(highlight=False), report)


def _path(flag: str, path: str | None) -> str | None:
    if path is not None and not re.fullmatch(r"/[!-~]*", path):
        raise UsageError(f"{flag} {path!r}: a path begins with / and has no spaces")
    return path
