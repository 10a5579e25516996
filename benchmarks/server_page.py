"""What was measured of servers, as a record, and as the page `docs/servers.md`."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from statistics import median

import msgspec

from benchmarks.server_reference import (
    contradictions,
    count_cells,
    explanation,
    read_by_hand,
)
from benchmarks.server_subjects import SUBJECTS
from scenarios.probe.differences import differences
from scenarios.probe.profile import Profile
from scenarios.probe.words import TITLES, rows

RECORD = Path(__file__).with_name("servers.json")
PAGE = Path(__file__).parents[1] / "docs" / "servers.md"

INTRODUCTION = """
Whether a deployment drops something is decided by what one server process does between the stop
signal and its end. This page is what [`hitless probe`](own-app.md#how-your-server-stops) saw of
servers as they come, on raw sockets on loopback. Measured {measured} on {machine}.
{busy}{waits}

Each cell is an experiment on a process of its own. `@` is seconds after SIGTERM; `exit -15` is an
end by SIGTERM itself, which a shell shows as 143; FIN is an orderly end of a connection, RST a
reset. A GET is in flight when the signal comes half way through a handler of five seconds; an
upload has sent half its body; the stream is ten pieces in five seconds; the *own limit* is what
becomes of a handler of a minute. Exit times vary by a second from run to run.

Behind a router that takes a replica out and waits before it is stopped, none of this shows. Where
the signal comes first, or at the same time, as on most platforms, these rows decide what users see.
"""
WRAPPERS_TEXT = """
## Wrappers
The signal goes to the process that was started. uvicorn is behind it, or Node's server with
`close()` where `npm` is. Those that still serve afterwards never heard of the stop: in a container,
they are killed with everything that is in flight.
"""

BY_HAND_TEXT = """
## Beside what was seen by hand
{servers} of these servers were looked at once without the probe, with plain sockets, on a busy
machine (`benchmarks/servers_by_hand.json`). Times may differ by two seconds: a second for each of
the two. Of {count} values {differ}
"""
GENERATIONS_TEXT = """
## Between two generations
What an older version did, and what the version in the table does instead
(`python -m benchmarks.server_generations PACKAGE==VERSION`). What is not listed is the same.
"""
PREDICTED_TEXT = """
## Whether a run shows what the probe says
From these rows the probe says what a rolling update loses on a platform. Each row below is such an
update, made by `hitless run --persona`: two replicas under 100 requests a second, made by
`python -m benchmarks.predictions`. A part of the requests takes 0.4 s, a part sends its body for as
long. Behind kube-proxy, requests go on coming on kept connections until the server closes them,
whatever the preStop: a server that cuts something at SIGTERM is saved only behind a router that
chooses a replica for each request.
"""


class Wrapped(msgspec.Struct, frozen=True):
    """What a wrapper does with the stop signal.

    Attributes:
        processes: how many there are.
        response: what became of the request in flight.
        exit: how the process that was started ended.
        left: how many processes it left behind.
        port: what its port does then.
        signal: which process the signal reaches.
    """

    processes: int
    response: str
    exit: str
    left: int
    port: str
    signal: str


class Predicted(msgspec.Struct, frozen=True, kw_only=True):
    """A rolling update of a server on a platform: what the probe said, and what a run showed.

    Attributes:
        server: which.
        persona: the platform.
        pre_stop_seconds: the wait before the signal that was advised; None: as the platform comes.
        router: whether the router chooses a replica for each request, where the platform's own does
            it for each connection.
        lossless: whether the probe said that nothing is lost.
        failed: how many requests failed.
        requests: how many there were.
    """

    server: str
    persona: str
    pre_stop_seconds: float | None = None
    router: bool = False
    lossless: bool
    failed: int
    requests: int

    @property
    def right(self) -> bool:
        """Whether the run showed what was said."""
        return self.requests > 0 and self.lossless == (self.failed == 0)

    @property
    def terms(self) -> str:
        """On what terms it was."""
        if self.pre_stop_seconds is None:
            return self.persona
        behind = " behind a router for each request" if self.router else ""
        return f"{self.persona}{behind}, preStop {self.pre_stop_seconds:g} s"

    @property
    def said(self) -> str:
        """What the probe said."""
        return "loses nothing" if self.lossless else "loses requests"

    @property
    def seen(self) -> str:
        """What the run showed."""
        text = f"{self.failed:,} of {self.requests:,} failed"
        return text if self.right else f"{text}, against the prediction"


class Generations(msgspec.Struct, frozen=True, kw_only=True):
    """What changed between two versions of a server.

    Attributes:
        package: the distribution or package.
        before: the older version.
        after: the version that the table is about.
        servers: what was seen of each server in its older version.
        left_out: the servers that the older version has not, and why.
    """

    package: str
    before: str
    after: str
    servers: Mapping[str, Profile]
    left_out: Mapping[str, str] = msgspec.field(default_factory=dict)

    def changed(self, now: Mapping[str, Profile]) -> dict[str, tuple[str, ...]]:
        """By server, a line for each cell that differs from what is seen now."""
        found = {
            name: tuple(str(one) for one in differences(older, now[name]))
            for name, older in self.servers.items()
            if name in now
        }
        missing = {
            name: (f"the older version is left out: {why}",) for name, why in self.left_out.items()
        }
        return found | missing


class Record(msgspec.Struct, frozen=True):
    """What was measured.

    Attributes:
        measured: the day.
        machine: what it was measured on.
        versions: what was installed.
        servers: what was seen of each server.
        busy: by server, during which share of its sitting somebody waited for a core.
        wrappers: what was seen of each wrapper.
        left_out: what could not be measured, and why.
        predicted: what runs showed of what the probe predicts.
        generations: what changed since older versions.
    """

    measured: str
    machine: str
    versions: Mapping[str, str] = msgspec.field(default_factory=dict)
    servers: Mapping[str, Profile] = msgspec.field(default_factory=dict)
    busy: Mapping[str, float] = msgspec.field(default_factory=dict)
    wrappers: Mapping[str, Wrapped] = msgspec.field(default_factory=dict)
    left_out: Mapping[str, str] = msgspec.field(default_factory=dict)
    predicted: tuple[Predicted, ...] = ()
    generations: tuple[Generations, ...] = ()


def read_record(path: Path = RECORD) -> Record | None:
    """What was measured the last time."""
    return msgspec.json.decode(path.read_bytes(), type=Record) if path.is_file() else None


def page(record: Record) -> str:
    """The page of the documentation."""
    lines = [
        "<!-- Written by python -m benchmarks.servers; `make servers` does it anew. -->",
        "# How servers start and stop",
        INTRODUCTION.format(
            measured=record.measured,
            machine=record.machine,
            busy=_busy(record.busy),
            waits=_waits(record.servers),
        ),
        "## What stands out",
        *(f"- **{what}**: {', '.join(names)}." for what, names in _groups(record) if names),
        "",
        "## Server by server",
        *_table(record),
        WRAPPERS_TEXT,
        "| Started | Signal | Processes | Request in flight | Exit | Left | Port then |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, one in record.wrappers.items():
        shown = f"`{_cell(name)}`", one.signal, one.processes, one.response, one.exit, one.left
        lines.append(f"| {' | '.join(str(cell) for cell in shown)} | {one.port} |")
    lines += _by_hand(record)
    if record.predicted:
        lines += [PREDICTED_TEXT, "| Server | Platform | The probe says | The run shows |"]
        lines += ["|---|---|---|---|"]
        lines += [
            f"| {one.server} | {one.terms} | {one.said} | {one.seen} |" for one in record.predicted
        ]
    if record.generations:
        lines.append(GENERATIONS_TEXT)
        lines += [line for one in record.generations for line in _generations(one, record)]
    if record.left_out:
        lines += ["", "## Left out", ""]
        lines += [f"- {name}: {why}" for name, why in record.left_out.items()]
    return "\n".join(lines) + "\n"


def _busy(shares: Mapping[str, float]) -> str:
    """How busy the machine was."""
    if not shares:
        return ""
    least, most = min(shares.values()), max(shares.values())
    share = f"{most:.0%}" if round(least, 2) == round(most, 2) else f"{least:.0%} to {most:.0%}"
    return f"Meanwhile somebody waited for a core during {share} of the time.\n"


def _waits(servers: Mapping[str, Profile]) -> str:
    """How long the machine let servers wait."""
    longest = [max(one.core_wait.values()) for one in servers.values() if one.core_wait]
    if not longest:
        return ""
    return (
        "In each experiment the kernel counts how long the server waited for a core: half of the "
        f"servers never waited longer than {median(longest):.1f} s, and none longer than "
        f"{max(longest):.1f} s."
    )


def _by_hand(record: Record) -> Iterable[str]:
    """What the probe says beside what was seen without it."""
    seen = {name: cells for name, cells in read_by_hand().items() if name in record.servers}
    differing = [
        f"- {name}: {one} ({explanation(name, one) or 'not explained'})"
        for name, cells in seen.items()
        for one in contradictions(cells, record.servers[name])
    ]
    count = sum(count_cells(cells) for cells in seen.values())
    yield BY_HAND_TEXT.format(
        servers=len(seen),
        count=count,
        differ=f"{len(differing)} differ:" if differing else "none differs.",
    )
    yield from differing


def _generations(one: Generations, record: Record) -> Iterable[str]:
    for server, lines in one.changed(record.servers).items():
        yield f"- **{server}, {one.before} -> {one.after}**{'' if lines else ': no difference'}"
        yield from (f"    - {line}" for line in lines)


def _table(record: Record) -> Iterable[str]:
    names = [name for name in TITLES if name not in ("startup", "signalled")]
    yield f"| Server | {' | '.join(TITLES[name] for name in names)} |"
    yield "|---|" + "---|" * len(names)
    for subject in SUBJECTS:
        profile = record.servers.get(subject.name)
        if profile is None:
            continue
        version = record.versions.get(subject.needs or "node", "")
        seen = {name: text for name, _, text in rows(profile)}
        cells = [_cell(seen.get(name, "none here")) for name in names]
        yield f"| {subject.name} {version} | {' | '.join(cells)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _groups(record: Record) -> Iterable[tuple[str, list[str]]]:
    """What servers have in common that hurts, and which they are."""

    def those(fact: Callable[[Profile], bool]) -> list[str]:
        return [name for name, profile in record.servers.items() if fact(profile)]

    yield "Cut a request in flight at SIGTERM", those(_cuts)
    yield "Lose an upload that is half there", those(_loses_upload)
    yield "Go on accepting connections that they will not serve", those(_deaf_port)
    yield "Drop who waits in the accept queue for a busy worker", those(_drops_queue)
    yield "Are not gone a minute after SIGTERM even when idle", those(_stays)
    yield "Hold an open WebSocket until they are killed", those(_holds_websocket)
    yield "End with status 0 although they cut something", those(_hides)


def _cuts(profile: Profile) -> bool:
    return profile.in_flight is not None and profile.in_flight.fate != "delivered"


def _loses_upload(profile: Profile) -> bool:
    return profile.upload is not None and profile.upload.fate in ("cut", "silent")


def _deaf_port(profile: Profile) -> bool:
    late = profile.new_connections
    return late is not None and any(one.fate in ("reset", "silent") for one in late.tries)


def _drops_queue(profile: Profile) -> bool:
    queue = profile.queue
    dropped = 0 if queue is None else queue.reset + queue.closed + queue.silent
    # A server that cuts everything has no queue worth the name.
    return dropped > 0 and not _cuts(profile)


def _stays(profile: Profile) -> bool:
    return profile.idle is not None and profile.idle.exit.status is None


def _holds_websocket(profile: Profile) -> bool:
    return profile.websocket is not None and profile.websocket.fate == "open"


def _hides(profile: Profile) -> bool:
    return profile.exit_is_honest is False
