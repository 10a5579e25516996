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
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.worker_rows import COMMANDS, PINNED, READY, ROWS, SCHEDULER_READY, SCHEDULERS, Row
from scenarios.verdict import decode
from scenarios.verdict.model.jobs import Jobs

APPS = Path(__file__).parent / "worker_apps"


def installed(system: str, folder: Path) -> Path:
    """Install a system in a folder, if it is not there; return the folder of its programs."""
    place = folder / system
    done = place / "installed"
    programs = place if system == "bullmq" else place / "bin"
    if not done.exists():
        _install(system, place)
        done.touch()
    if system == "bullmq":  # Node looks for modules beside the file that needs them
        shutil.copy(APPS / "bullmq_app.js", place)
    return programs


def _install(system: str, place: Path) -> None:
    if system == "bullmq":
        place.mkdir(parents=True, exist_ok=True)
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
    own = row.schedulers and row.system not in SCHEDULERS  # the workers are the schedulers
    cwd = programs if node else APPS
    broker = "redis://{redis_host}:{redis_port}/0"
    redis = ["redis-server", "--bind", "{host}", "--port", "{port}", "--dir", "{replica_dir}"]

    def words(command: Sequence[str]) -> list[str]:
        return [
            word.replace("{bin}", str(programs)).replace("{broker}", broker) for word in command
        ]

    baseline = 14.0 if row.fault else 2.0
    if row.schedulers or row.fault == "restart-in-minute":
        baseline = 70.0  # a minute of the clock begins in it
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
                    "command": words(COMMANDS[row.system]),
                    "ready_log": READY[row.system],
                    "termination_grace_seconds": row.grace,
                    "place": "after",
                    "strategy": "naive",
                    "replicas": 2 if own else 1,
                },
                *(
                    {
                        "name": "scheduler",
                        "command": words(SCHEDULERS[row.system]),
                        "ready_log": SCHEDULER_READY[row.system],
                        "strategy": "naive",
                        "replicas": 2,
                    }
                    for _ in range(row.schedulers and not own)
                ),
            ],
        },
        "versions": {"v1": {}, "v2": {}},
        "release": {"from": "v1", "steps": [{"deploy": "v2"}]},
        # The new web serves beside the old worker for a while, if that is what the row is about.
        "policy": {"replicas": 1, "min_ready_seconds": 3.0 if row.asks else 0.2},
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
    if row.asks:  # the second version's web asks while the first version's worker runs
        traffic["journeys"] = [  # type: ignore[index]
            {"name": f"ask {one['name']}", "steps": [_ask(one)]} for one in row.asks
        ]
    if row.fault is not None:
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
    if row.asks:
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
    return held(row, verdict.jobs), seen(verdict.jobs)


def held(row: Row, jobs: Jobs) -> bool:
    """Whether the jobs of a run are as they are known to be."""
    causes = {one.cause for one in jobs.causes} - set(row.also)
    if row.or_none:
        return bool(causes) and causes <= {*row.causes, *row.or_none}
    if not row.causes:
        return not causes and jobs.ended + jobs.later == jobs.asked and jobs.ended > 0
    return causes == set(row.causes)


def seen(jobs: Jobs) -> str:
    """What a run has shown of its jobs, in words."""
    said = ", ".join(f"{one.count} {one.cause}" for one in jobs.causes) or "each done once"
    said += f" ({jobs.ended} of {jobs.asked} done"
    if jobs.unfinished:
        said += f", {jobs.unfinished} unfinished"
    if jobs.later:
        said += f", {jobs.later} scheduled for later"
    stops = [one.seconds for one in jobs.stops if one.processes == "worker"]
    return said + (f", the worker stopped within {max(stops):.1f} s)" if stops else ")")


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
            as_known, said = ran(row, places[row.system], out)
            different += not as_known
            known = ", ".join(row.causes) or "each done once"
            sign = "as known" if as_known else "DIFFERS"
            print(f"{row.system} · {row.name} · known: {known} · seen: {said} · {sign}", flush=True)
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
