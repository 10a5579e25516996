"""Write what the documentation takes from the program itself.

python docs/generate.py             # schemas and reference pages; a test holds them
python docs/generate.py RUN_FOLDER [OTHER_RUN]  # and the pictures, from recorded runs
"""

import io
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path

import msgspec
from rich.console import Console

from orchestrator.personas import PERSONAS, Persona, RequestHandling
from orchestrator.routers.capabilities import Capabilities
from orchestrator.routers.kubernetes_service import service_capabilities
from orchestrator.routers.registry import KINDS, capabilities_of
from orchestrator.termination import TerminationPolicy
from scenarios.check.hazard_rules import RULES
from scenarios.evidence.event import Event
from scenarios.evidence.progress import PlannedStep, ReplicaView, RunHeader
from scenarios.evidence.run_folder import RunFolder
from scenarios.evidence.tick import Tick
from scenarios.json_schema import documented
from scenarios.reports.live.dashboard import screen
from scenarios.reports.live.state import LiveState
from scenarios.reports.page.comparison import compare_report
from scenarios.reports.verdict_schema import verdict_schema
from scenarios.review import recall
from scenarios.scenario.spec import Scenario
from scenarios.verdict.timeline import Life, Timeline
from tests.support.browser import browser, chromium

DOCS = Path(__file__).parent
HEADER = "<!-- Written by docs/generate.py; change the program instead. -->\n"
HAZARDS = """\
# Hazards of migrations
[`hitless check`](../check.md#the-migrations-themselves) names these, and only where it has
observed them on a copy of the database. The tests have a migration for each, with the lock and the
error that Postgres shows, and a harmless twin on which a check is silent. "A version" is the one
that serves while the migration is applied.

| Hazard | Level | What happens | Safe way | Rules of squawk |
|---|---|---|---|---|
"""
INTRODUCTION = """\
A scenario is one TOML file. An unknown key is an error that names the file, the line and the most
similar known key. A key is required only if its default is *required*.
"""
PERSONAS_INTRODUCTION = """\
# How other platforms stop a replica
A *persona* sets `policy.termination` to what a platform does when nothing is configured: in which
order it tells the router and stops the replica, and how late the router hears of it. What each
setting means is in the [reference](reference/scenario.md#policytermination). Every value has its
source; a value can be changed like any other setting, for example with
`--set policy.termination.pre_stop_seconds=5`.

A persona also sets what the platform's router does with requests (`[balancer]`). `hitless`' own
balancer is kinder than a Kubernetes Service, an IPVS virtual IP or a network load balancer: it
sends a refused request to another backend, it learns from the first refusal, and it sends a POST on
a fresh connection. With a persona it does only what the platform's router does. A key that you set
yourself wins, in `[balancer]` or with `--set balancer.retry=true`. With
[another router](routers.md), that router's own behaviour is used instead.

```console soak
$ hitless run expand-contract --strategy rolling --persona kubernetes --counterfactual --no-live
kubernetes: order together, router told 0 to 1 s late, preStop 0 s; balancer: no retry…
…
Why         171  the replica was stopped without a drain  [lifecycle:undrained, likely]
…
confirmed: with a preStop of 1.4 s (advised 0.9 s and 0.5 s more), 0 requests
had the cause lifecycle:undrained; before, 171
$ echo $?
1
```
Without a preStop, this rolling update of the newsletter loses requests. Each has the cause
`lifecycle:undrained`, and the verdict says how late the requests were and which preStop covers them
all. `--counterfactual` repeats the run with that preStop. The first lines of a run, the verdict and
the report say which persona, order, lags and preStop were used.
"""
ABOUT_ROUTERS = """\
Each router declares this itself, and one suite of tests runs against all of them: what a router can
do must work, and what it cannot do must really be missing. How to use them is in
[routers.md](../routers.md).
"""
SIZES = ((80, 24), (160, 40))


def generated() -> Mapping[str, bytes]:
    """Each generated file of `docs/`, by its path there."""
    return {
        "verdict.schema.json": verdict_schema(),
        "reference/cli.md": command_line().encode(),
        "reference/scenario.md": scenario_file().encode(),
        "personas.md": personas().encode(),
        "reference/routers.md": routers().encode(),
        "reference/hazards.md": hazards().encode(),
    }


def _setting(persona: Persona, name: str) -> object:
    """A setting of how replicas leave, or of what the router does with requests."""
    where = persona.handling if hasattr(persona.handling, name) else persona.termination
    return getattr(where, name)


def personas() -> str:
    """The page of the personas: their settings, each with its source."""
    kinds = (TerminationPolicy, RequestHandling)
    settings = [one.name for kind in kinds for one in msgspec.structs.fields(kind)]
    lines = [HEADER, PERSONAS_INTRODUCTION, "| Setting | " + " | ".join(PERSONAS) + " |"]
    lines.append("|---" * (len(PERSONAS) + 1) + "|")
    for name in settings:
        values = (_value(_setting(one, name)) for one in PERSONAS.values())
        lines.append(f"| `{name}` | " + " | ".join(values) + " |")
    for one in PERSONAS.values():
        lines += ["", f"## `{one.name}`: {one.title}", one.summary, ""]
        lines += ["| Setting | Value | Because | Source |", "|---|---|---|---|"]
        for name in settings:
            source = one.sources[name]
            value = _value(_setting(one, name))
            lines.append(f"| `{name}` | {value} | {source.says} | <{source.url}> |")
        lines += ["", f"What it does not cover: {one.limits}"]
    return "\n".join(lines) + "\n"


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(f"{one:g}" for one in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def routers() -> str:
    """What each router can do, as it declares it itself."""
    words = {"all": "for all replicas at once", "replica": "for this replica", "nothing": "no"}
    cells: dict[object, str] = {True: "yes", False: "**no**", **words}
    _, said = documented(Capabilities.__doc__ or "")
    every = {kind: capabilities_of(kind) for kind in KINDS}
    columns = {**every, "a Service of Kubernetes": service_capabilities(probed=True)}
    lines = [
        f"{HEADER}# What each router can do\n",
        ABOUT_ROUTERS,
        f"| | {' | '.join(columns)} |",
        f"|---|{'---|' * len(columns)}",
    ]
    for name in Capabilities.__struct_fields__:
        values = [getattr(can, name) for can in columns.values()]
        row = [f"{one:g}" if isinstance(one, float) else cells[one] for one in values]
        lines.append(f"| {said[name].rstrip('.')} | {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def command_line() -> str:
    """The reference of the command line: what `--help` says."""
    from typer.main import get_command  # noqa: PLC0415 - the same

    from scenarios.cli.main import app, status  # noqa: PLC0415 - after COLUMNS is set

    names = getattr(get_command(app), "commands", {})
    pages = [("hitless", ["--help"]), *((f"hitless {name}", [name, "--help"]) for name in names)]
    parts = [f"{HEADER}# Command line\n"]
    for title, arguments in pages:
        text = io.StringIO()
        with redirect_stdout(text):
            status(arguments)
        parts.append(f"## `{title}`\n\n```text\n{text.getvalue().strip()}\n```\n")
    return "\n".join(parts)


def hazards() -> str:
    """The hazards of migrations that a check knows."""
    rows = "".join(
        f"| `{one.name}` | {one.level} | {one.title} | {one.recipe} | {', '.join(one.squawk)} |\n"
        for one in RULES.values()
    )
    return f"{HEADER}{HAZARDS}{rows}"


def scenario_file() -> str:
    """The reference of the scenario file: a table for each struct of it."""
    parts = [
        f"{HEADER}# Scenario file\n",
        INTRODUCTION,
    ]
    for struct, title in tables(Scenario):
        about, fields = documented(struct.__doc__ or "")
        parts.append(f"## {title}\n\n{about}\n")
        rows = ["| Key | Meaning | Default |", "|---|---|---|"]
        for field in msgspec.structs.fields(struct):
            text = fields.get(field.name, "").replace("|", "\\|")
            rows.append(f"| `{field.encode_name}` | {text} | {_default(field)} |")
        parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def tables(kind: type[msgspec.Struct]) -> Iterable[tuple[type[msgspec.Struct], str]]:
    """Each table of a TOML file with its headings, outer ones before inner ones."""
    headings: dict[type[msgspec.Struct], list[str]] = {}
    waiting: list[tuple[msgspec.inspect.Type, str, bool]] = [
        (msgspec.inspect.type_info(kind), "", False)
    ]
    while waiting:
        about, path, many = waiting.pop(0)
        if isinstance(about, msgspec.inspect.StructType):
            heading = f"`[[{path}]]`" if many else f"`[{path}]`"
            headings.setdefault(about.cls, []).append(heading if path else "The file")
            if len(headings[about.cls]) == 1:
                prefix = f"{path}." if path else ""
                waiting += [(f.type, f"{prefix}{f.encode_name}", False) for f in about.fields]
        elif isinstance(about, msgspec.inspect.UnionType):
            waiting += [(each, path, many) for each in about.types]
        elif isinstance(about, msgspec.inspect.DictType):
            waiting.append((about.value_type, f"{path}.NAME", False))
        elif isinstance(about, msgspec.inspect.VarTupleType | msgspec.inspect.ListType):
            waiting.append((about.item_type, path, True))
    return [(struct, " and ".join(names)) for struct, names in headings.items()]


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "*required*"
    value = field.default if field.default_factory is msgspec.NODEFAULT else None
    if value is None or value == () or isinstance(value, msgspec.Struct):
        return ""
    return f"`{msgspec.json.encode(value).decode()}`"


def pictures(folder: Path) -> None:
    """The dashboard at two sizes, and the report, of a recorded run."""
    run = RunFolder(folder)
    manifest = run.read_manifest()
    events, ticks = list(run.events.read()), list(run.ticks.read())
    moment = _moment(events)
    views = replicas_at(run, events, moment)
    header = RunHeader(
        scenario=manifest.scenario,
        strategy=manifest.strategy,
        seed=manifest.seed,
        replicas=manifest.replicas,
        rate=manifest.rate,
        steps=tuple(_steps(events)),
    )
    for width, height in SIZES:
        state = LiveState(header)
        for item in sorted((*events, *ticks), key=lambda one: one.at_ns):
            if item.at_ns > moment:
                break
            if isinstance(item, Tick):
                state.tick(item)
            else:
                state.event(item)
        for wait in run.lock_waits.read():
            if wait.end_ns <= moment:
                state.wait([wait])
        state.wait([])
        state.replicas = tuple(views)
        console = Console(
            record=True, width=width, height=height, force_terminal=True, file=io.StringIO()
        )
        keys = "p pause   r resume   P promote   a abort   q quit"
        for part in screen(state, width, height, keys):
            console.print(part)
        title = f"hitless run {manifest.scenario} --strategy {manifest.strategy}"
        svg = console.export_svg(title=title)
        svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # they are elsewhere
        (DOCS / "images" / f"dashboard-{width}.svg").write_text(svg)
    _photograph(run.report, "report", (1200, 1250))
    _photograph(run.report, "report-phone", (390, 844))


def _moment(events: Iterable[Event]) -> int:
    """Well into the last deployment: the second of its replicas is about to be ready."""
    waits = [e for e in events if e.verb == "wait_ready" and e.state == "completed"]
    return waits[-2].at_ns - 100_000_000


def _steps(events: Iterable[Event]) -> Iterable[PlannedStep]:
    migrating = False
    for event in events:
        if event.state != "started":
            continue
        if event.verb == "migrate" and not migrating:
            migrating = True
            folder = str(event.detail.get("migration")).partition(".")[0]
            yield PlannedStep(verb="migrate", text=f"migrate {folder}")
        elif event.verb == "deploy":
            migrating = False
            yield PlannedStep(verb="deploy", text=f"deploy {event.version}")


def replicas_at(run: RunFolder, events: list[Event], now: int) -> list[ReplicaView]:
    """The replicas as the balancer saw them at an instant."""
    past = Timeline(event for event in events if event.at_ns <= now)
    busy: dict[str, int] = {}
    for line in run.exchanges.read():
        if line.backend and line.at_ns <= now < line.at_ns + max(line.total_ns, 0):
            busy[line.backend] = busy.get(line.backend, 0) + 1
    return [
        ReplicaView(
            id=name,
            version=life.version or "?",
            state=_state(life),
            weight=float(life.attached_ns is not None and life.drain_started_ns is None),
            in_flight=busy.get(name, 0),
        )
        for name, life in past.lives.items()
        if life.ready_ns is not None and life.stopped_ns is None
    ]


def _state(life: Life) -> str:
    return "up" if life.drain_started_ns is None else "draining"


def compared(folders: Sequence[Path]) -> None:
    """The page of `hitless compare`, which shows what two plans of one release do to users."""
    runs = [recall(folder) for folder in folders]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "compare.html"
        path.write_text(compare_report(runs), encoding="utf-8")
        _photograph(path, "compare", (1200, 840))


def _photograph(report: Path, name: str, size: tuple[int, int]) -> None:
    program = chromium()
    if program is None:
        sys.exit("there is no chromium on this machine")
    with browser(program) as page:
        page.size(*size)
        page.media()
        page.open(report.resolve().as_uri())
        (DOCS / "images" / f"{name}.png").write_bytes(page.picture())


def main() -> None:
    """Write all of it."""
    os.environ["COLUMNS"] = "80"
    for name, data in generated().items():
        path = DOCS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    folders = [Path(name) for name in sys.argv[1:]]
    for folder in folders[:1]:
        pictures(folder)
    if len(folders) > 1:
        compared(folders)


if __name__ == "__main__":
    main()
