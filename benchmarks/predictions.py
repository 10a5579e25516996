"""Whether a run loses what the probe said: eight servers on three platforms.

    python -m benchmarks.predictions [--folder DIR] [--python PATH] [--only NAME]

The profile of each server is the one in `benchmarks/servers.json`. For each platform the probe says
what a rolling update loses there; then the update is made (`hitless run --persona …`), and what
failed is counted: quick requests, slow ones, and uploads. Where the platform's own settings lose
something and others do not, the update is made again with the settings that the probe advises.
Where no settings help since clients keep their connections, it is made with those that help behind
a router that chooses for each request, once without such a router and once with it. The table goes
to `docs/servers.md`. Exit status 1 if a run lost what was said to be saved, or saved what was said
to be lost.
"""

import argparse
import contextlib
import io
import json
import sys
import tempfile
from pathlib import Path

import msgspec

from benchmarks.server_page import PAGE, RECORD, Predicted, page, read_record
from benchmarks.server_subjects import SUBJECTS, Subject
from benchmarks.servers import APPS, Place, install
from scenarios.cli.main import status
from scenarios.evidence.run_folder import RunFolder
from scenarios.exit_status import ExitStatus
from scenarios.probe.meaning import predict, settings
from scenarios.probe.profile import Profile
from scenarios.probe.server import inside_environment
from scenarios.probe.terms import behind_router, terms_of, terms_with
from scenarios.verdict import decode

SERVERS = {
    "uvicorn (httptools)": 20.0,
    "gunicorn sync": 0.5,
    "gunicorn gthread": 4.0,
    "hypercorn asyncio": 20.0,
    "granian asgi": 20.0,
    "aiohttp run_app": 20.0,
    "waitress-serve": 4.0,
    "Node http + close()": 20.0,
}
"""How many slow requests a second each of them gets, and as many uploads.

What has a thread for each request, gets no more than its threads can take.
"""
PERSONAS = ("kubernetes", "ecs", "compose")
SLOW_SECONDS = 0.4
LONGEST_SECONDS = 0.5
RATE = 100.0
UPLOAD = "0123456789" * 2
SCENARIO = """
name = "predicted"

[application]
command = {command}
cwd = {cwd}
env = {env}
health_path = "/"

[versions]
a = {{}}
b = {{}}

[release]
from = "a"
steps = [{{ deploy = "b" }}]

[policy]
replicas = 2

[objectives]
schedule_lag_p99_seconds = 5
schedule_lag_max_seconds = 10

[phases]
baseline_seconds = 0.5
settle_seconds = 1

[traffic]
rate = {rate}

[[traffic.journeys]]
name = "look"
weight = {quick}
steps = [{{ path = "/" }}]

[[traffic.journeys]]
name = "wait"
weight = {slow}
steps = [{{ path = "/.hitless-probe/slow?seconds={seconds}" }}]

# A PUT, since our balancer sends no POST on a connection that may be closed at any moment.
[[traffic.journeys]]
name = "upload"
weight = {slow}
[[traffic.journeys.steps]]
path = "/.hitless-probe/upload"
method = "PUT"
body = "{body}"
upload_bytes_per_second = {speed}
timeout_seconds = 5
"""


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One run: what was said of it, and what it showed.

    Attributes:
        persona: the platform.
        pre_stop_seconds: the wait before the signal that was advised; None: as the platform comes.
        router: whether the router chooses a replica for each request, where the platform's own does
            it for each connection.
        lossless: whether the probe said that nothing is lost.
    """

    persona: str
    pre_stop_seconds: float | None = None
    router: bool = False
    lossless: bool


def cells(profile: Profile, persona: str) -> list[Cell]:
    """The runs on a platform: as it comes, and with the advised settings where that helps."""
    terms = terms_of(persona)
    now = predict(profile, terms, longest_seconds=LONGEST_SECONDS)
    found = [Cell(persona=persona, lossless=now.lossless)]
    advised = settings(profile, terms, longest_seconds=LONGEST_SECONDS)
    routers = [False]
    if advised.behind_router:
        advised = settings(profile, behind_router(terms), longest_seconds=LONGEST_SECONDS)
        routers = [False, True]
    if now.lossless or advised.impossible is not None or terms.pre_stop_setting is None:
        return found
    wait = advised.pre_stop_seconds or 0.0
    for router in routers:
        better = terms_with(persona, pre_stop=wait, grace=advised.grace_seconds)
        better = behind_router(better) if router else better
        then = predict(profile, better, longest_seconds=LONGEST_SECONDS)
        found.append(
            Cell(persona=persona, pre_stop_seconds=wait, router=router, lossless=then.lossless)
        )
    return found


def run(subject: Subject, place: Place, cell: Cell, folder: Path) -> tuple[int, int]:
    """Make the update; returns how many requests failed, and how many there were."""
    command = [place.filled(word) for word in subject.words.split()]
    variables = {**place.env, "HOST": "{host}", "PORT": "{port}"}
    # The paths that the probe itself asked for; every server in question answers them.
    variables |= inside_environment(variables)
    slow = SERVERS.get(subject.name, 4.0)
    env = ", ".join(f"{name} = {json.dumps(value)}" for name, value in variables.items())
    file = folder / "scenario.toml"
    file.write_text(
        SCENARIO.format(
            command=json.dumps(command),
            cwd=json.dumps(str(APPS)),
            env=f"{{ {env} }}",
            rate=RATE,
            quick=RATE - 2 * slow,
            slow=slow,
            seconds=SLOW_SECONDS,
            body=UPLOAD,
            speed=len(UPLOAD) / SLOW_SECONDS,
        )
    )
    words = ["run", str(file), "--strategy", "rolling", "--persona", cell.persona, "--no-live"]
    if cell.pre_stop_seconds is not None:
        words += ["--set", f"policy.termination.pre_stop_seconds={cell.pre_stop_seconds:g}"]
    if cell.router:
        words += ["--set", "policy.termination.close_idle=true"]
    if status([*words, "--out", str(folder / "runs")]) == ExitStatus.INTERRUPTED:
        raise KeyboardInterrupt
    (made,) = (folder / "runs").iterdir()
    requests = decode(RunFolder(made).verdict.read_bytes()).requests
    return requests.failed, requests.ok + requests.failed


def measure(subject: Subject, place: Place, cell: Cell) -> Predicted:
    """Make the update, and put it beside what was said."""
    with (
        tempfile.TemporaryDirectory(prefix="hitless-predicted-") as name,
        contextlib.redirect_stdout(io.StringIO()),
    ):
        failed, requests = run(subject, place, cell, Path(name))
    return Predicted(
        server=subject.name,
        persona=cell.persona,
        pre_stop_seconds=cell.pre_stop_seconds,
        router=cell.router,
        lossless=cell.lossless,
        failed=failed,
        requests=requests,
    )


def main() -> None:
    """Make all runs, print each, and write the record and the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--folder", type=Path, help="where to install, and to find it again")
    parser.add_argument("--python", default=sys.executable, help="whose environment it is")
    parser.add_argument("--only", nargs="+", default=[""], help="servers whose names begin so")
    asked = parser.parse_args()
    record = read_record()
    if record is None:
        parser.error(f"{RECORD} is not there: run python -m benchmarks.servers first")
    with tempfile.TemporaryDirectory(prefix="hitless-servers-", ignore_cleanup_errors=True) as name:
        place, _, _ = install(asked.folder or Path(name), asked.python)
        subjects = [
            one
            for one in SUBJECTS
            if one.name in SERVERS
            and one.name in record.servers
            and one.name.startswith(tuple(asked.only))
        ]
        found: list[Predicted] = []
        try:
            for subject in subjects:
                found += measure_server(subject, place, record.servers[subject.name])
        except KeyboardInterrupt:
            print("interrupted: the servers that were measured wholly by then are kept")
            sys.exit(ExitStatus.INTERRUPTED)
    wrong = [one for one in found if not one.right]
    print(f"{len(found) - len(wrong)} of {len(found)} runs showed what was predicted")
    sys.exit(bool(wrong))


def measure_server(subject: Subject, place: Place, profile: Profile) -> list[Predicted]:
    """Make all updates of one server, print each, and put them into the record and the page."""
    found = []
    for persona in PERSONAS:
        for cell in cells(profile, persona):
            one = measure(subject, place, cell)
            print(f"{one.server}, {one.terms}: {one.said}; {one.seen}", flush=True)
            found.append(one)
    # Others may have measured something else meanwhile.
    record = read_record()
    if record is not None:
        others = [one for one in record.predicted if one.server != subject.name]
        order = {server: number for number, server in enumerate(SERVERS)}
        every = sorted((*others, *found), key=lambda one: order[one.server])
        record = msgspec.structs.replace(record, predicted=tuple(every))
        RECORD.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")
        PAGE.write_text(page(record), encoding="utf-8")
    return found


if __name__ == "__main__":
    main()
