"""What queue systems do with their jobs when a deployment stops them: each row is a run of hitless.

    python -m benchmarks.workers [SYSTEM…] [--row NAME] [--out DIR] [--folder DIR]

Each run deploys one system with its defaults, plants jobs, makes one fault while a job is under
way, and compares the causes that the verdict names with those that are known of that system. It
needs `redis-server`, and `npm` for BullMQ. Each system is installed in a folder of its own, in a
pinned version. The exit status is 1 if a row differs.
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scenarios.verdict import decode

APPS = Path(__file__).parent / "worker_apps"
PINNED: Mapping[str, tuple[str, ...]] = {
    "celery": ("celery[redis]==5.7.0",),
    "rq": ("rq==3.0.0",),
    "huey": ("huey==3.5.4", "redis==8.1.0"),
    "bullmq": ("bullmq@6.7.0", "ioredis@5"),
}
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "celery": (
        *("{python}", "-m", "celery", "--app", "celery_app", "worker", "--concurrency", "1"),
        *("--hostname", "{replica_id}", "--without-gossip", "--without-mingle"),
        *("--loglevel", "INFO"),
    ),
    "rq": ("{bin}/rq", "worker", "--url", "{broker}", "--name", "{replica_id}"),
    "huey": ("{bin}/huey_consumer", "huey_app.huey"),
    "bullmq": ("node", "bullmq_app.js", "worker"),
}
READY: Mapping[str, str] = {
    "celery": r" ready\.$",
    "rq": "Listening on",
    "huey": "Huey consumer started|\\+ huey_app",
    "bullmq": "^ready",
}
LONG = {"name": "job", "seconds": 4}
MANY = {"name": "job", "seconds": 0.2, "count": 8, "key": "numbered"}


@dataclass(frozen=True, slots=True)
class Row:
    """One run, and what is known of it.

    Attributes:
        system: the queue system.
        name: what happens to it.
        fault: the fault; None: the release itself is what happens.
        causes: the causes that the verdict must name; empty: none.
        or_none: causes that it may name beside them.
        jobs: what is planted before the first user arrives.
        env: environment variables of the application.
        place: when the workers are deployed.
        seconds: of the fault.
    """

    system: str
    name: str
    fault: str | None
    causes: tuple[str, ...]
    or_none: tuple[str, ...] = ()
    jobs: tuple[Mapping[str, object], ...] = (LONG,)
    env: Mapping[str, str] = field(default_factory=dict)
    place: str = "after"
    seconds: float = 2.0


ROWS = (
    Row("celery", "TERM to the parent", "term", ()),
    Row("celery", "TERM to all its processes", "term-group", ("job:lost",)),
    Row("celery", "TERM twice", "term-twice", ()),
    Row("celery", "KILL", "kill-all", ("job:lost", "job:hidden"), jobs=(LONG, MANY)),
    Row("celery", "fetched, not begun", "term", ("job:reordered",), jobs=(LONG, MANY)),
    Row(
        *("celery", "a new argument and an unknown name", None, ("job:not_understood_by:v1",)),
        jobs=(),
        env={"NEW": "1"},
    ),
    Row("celery", "the broker is away for 5 s", "restart", (), seconds=5.0),
    Row("rq", "TERM to the parent", "term", ()),
    Row("rq", "TERM to all its processes", "term-group", ()),
    Row("rq", "TERM twice", "term-twice", ("job:dropped_after_1_stop",), ("job:cut", "job:lost")),
    Row("rq", "KILL", "kill-all", ("job:cut",), jobs=(LONG, MANY)),
    Row("rq", "a new argument", None, ("job:not_understood_by:v1",), jobs=(), env={"NEW": "1"}),
    Row(
        *("rq", "the broker is away for 5 s while a job ends", "restart", ("job:will_repeat",)),
        seconds=5.0,
    ),
    Row("huey", "TERM to the parent", "term", ("job:lost",)),
    Row("huey", "TERM to all its processes", "term-group", ("job:lost",)),
    Row("huey", "KILL", "kill-all", ("job:lost",)),
    Row("huey", "the broker is away for 5 s", "restart", (), seconds=5.0),
    Row(
        *("huey", "stop and start within a minute", "restart-in-minute", ("job:cron_twice",)),
        jobs=(),
        env={"CRON": "1"},
    ),
    Row("bullmq", "TERM without close()", "term", ("job:cut",)),
    Row("bullmq", "TERM with close()", "term", (), env={"CLOSES": "1"}),
    Row("bullmq", "KILL", "kill-all", ("job:cut",)),
    Row("bullmq", "the broker is away for 5 s", "restart", (), seconds=5.0),
)


def installed(system: str, folder: Path) -> Path:
    """Install a system in a folder, if it is not there; return the folder of its programs."""
    place = folder / system
    done = place / "installed"
    programs = place if system == "bullmq" else place / "bin"
    if not done.exists():
        _install(system, place)
        done.touch()
    return programs


def _install(system: str, place: Path) -> None:
    if system == "bullmq":
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(APPS / "bullmq_app.js", place)
        words = ["npm", "install", "--silent", "--no-fund", "--no-audit", *PINNED[system]]
        subprocess.run(words, cwd=place, check=True, stdout=subprocess.DEVNULL)
        return
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    words = [str(place / "bin/python"), "-m", "pip", "install", "--quiet"]
    words += ["--disable-pip-version-check", *PINNED[system]]
    subprocess.run(words, check=True, stderr=subprocess.DEVNULL)


def scenario(row: Row, programs: Path, folder: Path) -> Path:
    """Write the scenario of a row."""
    node = row.system == "bullmq"
    cwd = programs if node else APPS
    broker = "redis://{redis_host}:{redis_port}/0"
    redis = ["redis-server", "--bind", "{host}", "--port", "{port}", "--dir", "{replica_dir}"]
    worker = [
        word.replace("{bin}", str(programs)).replace("{broker}", broker)
        for word in COMMANDS[row.system]
    ]
    baseline = 14.0 if row.fault else 2.0
    if row.fault == "restart-in-minute":
        baseline = 70.0
    document: dict[str, object] = {
        "name": "workers",
        "application": {
            "command": ["node", "bullmq_app.js", "web", "{port}"]
            if node
            else ["{python}", "web.py", "{port}"],
            "cwd": str(cwd),
            "env": {"BROKER_URL": broker, "SYSTEM": row.system, **row.env},
            "processes": [
                {
                    "name": "redis",
                    # A stop saves what is in memory, as with Debian's configuration.
                    "command": [*redis, "--save", "3600 1"],
                    "shared": True,
                    "listens": True,
                },
                {
                    "name": "worker",
                    "command": worker,
                    "ready_log": READY[row.system],
                    "termination_grace_seconds": 20,
                    "place": row.place,
                    "strategy": "naive",
                },
            ],
        },
        "versions": {"v1": {}, "v2": {}},
        "release": {"from": "v1", "steps": [{"deploy": "v2"}]},
        # The new web serves beside the old worker for a while, if that is what the row is about.
        "policy": {"replicas": 1, "min_ready_seconds": 0.2 if row.fault else 3.0},
        "traffic": {
            "rate": 4,
            "set_up": [_ask(one) for one in row.jobs],
            "journeys": [{"name": "health", "weight": 9, "steps": [{"path": "/"}]}],
        },
        "jobs": {
            "store": ["node", "bullmq_app.js", "store"]
            if node
            else ["{python}", f"{row.system}_store.py"],
            "system": row.system,
            "settle_timeout_seconds": _patience(row),
        },
        "objectives": {"schedule_lag_p99_seconds": 2, "schedule_lag_max_seconds": 5},
        "phases": {"baseline_seconds": baseline, "settle_seconds": 1},
    }
    application, traffic = document["application"], document["traffic"]
    if not node:
        application["python"] = str(programs / "python")  # type: ignore[index]
    if row.fault is None:  # the second version's web asks while the first version's worker runs
        asks = [{"name": "job", "language": "en"}, {"name": "only_new"}]
        traffic["journeys"] = [  # type: ignore[index]
            {"name": f"ask {one['name']}", "steps": [_ask({"seconds": 0.05, **one})]}
            for one in (asks if row.system == "celery" else asks[:1])
        ]
        application["env"]["ASKS"] = "1"  # type: ignore[index]
    else:
        fault: dict[str, object] = {
            "do": row.fault,
            "phase": "baseline",
            "process": "redis" if row.fault == "restart" else "worker",
            "seconds": row.seconds,
            "after_seconds": 0,
        }
        if row.fault != "restart-in-minute":
            fault["when"] = "job-begun"
        document["faults"] = [fault]
    path = folder / "scenario.toml"
    path.write_text("".join(_toml(document)), encoding="utf-8")
    return path


def _patience(row: Row) -> int:
    """How long the run waits for its jobs: as long as a held job needs, or a slow machine."""
    if row.fault is None:
        return 60
    return 45 if row.system == "bullmq" and row.causes else 12


def _ask(job: Mapping[str, object]) -> dict[str, object]:
    return {"method": "POST", "path": "/jobs", "json": dict(job), "expect": [202]}


def _toml(document: Mapping[str, object]) -> list[str]:
    """The document as TOML: a value of JSON is one of TOML, but for objects."""
    return [f"{key} = {_value(value)}\n" for key, value in document.items()]


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        inner = ", ".join(f"{json.dumps(key)} = {_value(part)}" for key, part in value.items())
        return f"{{ {inner} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value)


def ran(row: Row, programs: Path, out: Path) -> tuple[bool, str]:
    """Run a row; return whether it is as known, and what was seen."""
    out.mkdir(parents=True, exist_ok=True)
    path = scenario(row, programs, out)
    words = [sys.executable, "-m", "hitless", "run", str(path), "--no-live", "--out", str(out)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    verdicts = sorted(out.glob("*/verdict.json"))
    if not verdicts:
        return False, f"no verdict: {done.stderr.strip().splitlines()[-1:]}"
    verdict = decode(verdicts[-1].read_bytes())
    if verdict.jobs is None:
        return False, "no jobs"
    counts = {one.cause: one.count for one in verdict.jobs.causes}
    seen = ", ".join(f"{count} {cause}" for cause, count in counts.items()) or "each done once"
    seen += f" ({verdict.jobs.ended} of {verdict.jobs.asked} done"
    seen += f", {verdict.jobs.unfinished} unfinished)" if verdict.jobs.unfinished else ")"
    allowed = {*row.causes, *row.or_none}
    held = set(counts) <= allowed and (
        bool(set(counts) & allowed) if row.or_none else set(row.causes) <= set(counts)
    )
    return held, seen


def main() -> int:
    """Run the rows that were asked for."""
    # Whoever ends this ends the run that is under way, whose guardian ends the rest.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("systems", nargs="*", default=[])
    parser.add_argument("--row", default="", help="only rows whose name has this text")
    parser.add_argument("--out", type=Path, help="where the runs are kept")
    parser.add_argument("--folder", type=Path, help="where the systems are installed, and stay")
    asked = parser.parse_args()
    rows = [
        row
        for row in ROWS
        if (not asked.systems or row.system in asked.systems) and asked.row in row.name
    ]
    different = 0
    with tempfile.TemporaryDirectory(prefix="workers-") as name:
        folder = Path(name)
        places: dict[str, Path] = {}
        for number, row in enumerate(rows):
            if row.system not in places:
                places[row.system] = installed(row.system, asked.folder or folder)
            out = (asked.out or folder / "runs") / f"{row.system}-{number}"
            held, seen = ran(row, places[row.system], out)
            different += not held
            known = ", ".join(row.causes) or "each done once"
            sign = "as known" if held else "DIFFERS"
            print(f"{row.system} · {row.name} · known: {known} · seen: {seen} · {sign}", flush=True)
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
