"""What changed between two versions of a server: a diff of how it stops, for people.

    python -m benchmarks.server_generations gunicorn==23.0.0 [--python PATH] [--watch 35]

It installs the older version of the one package (`name==version` from PyPI, `name@version` from
npm) and what its servers need besides, measures the servers that are made of it, and prints each
cell in which they differ from `benchmarks/servers.json`. The list goes to that record and to
`docs/servers.md`.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.server_page import PAGE, RECORD, Generations, page, read_record
from benchmarks.server_subjects import BESIDE, NODE_PACKAGES, PYTHON_PACKAGES, SUBJECTS, Subject
from benchmarks.servers import Place, bare_name, install, measure
from orchestrator.errors import OrchestratorError
from scenarios.probe.profile import Profile

WATCH_SECONDS = 35.0
JOBS = 2


def replaced(packages: tuple[str, ...], older: str) -> tuple[str, ...]:
    """The packages, with the older version in the place of the one that is measured.

    The extras of the package stay: `uvicorn[standard]==0.54.0` becomes `uvicorn[standard]==0.30.0`.
    """
    found = []
    for package in packages:
        same = bare_name(package) == bare_name(older)
        mark = "==" if "==" in package else "@"
        name, version = package.rpartition(mark)[0], older.rpartition(mark)[2]
        found.append(f"{name}{mark}{version}" if same and mark in older[1:] else package)
    return tuple(found)


def needed(packages: tuple[str, ...], name: str) -> tuple[str, ...]:
    """Those of the packages that the servers made of one of them need."""
    names = {name, *BESIDE.get(name, ())}
    return tuple(package for package in packages if bare_name(package) in names)


async def measure_all(
    subjects: Sequence[Subject], place: Place, watch: float
) -> dict[str, Profile | OrchestratorError]:
    """The profile of each server, or why it has none."""
    found: dict[str, Profile | OrchestratorError] = {}
    turn = asyncio.Semaphore(JOBS)

    async def one(subject: Subject) -> None:
        async with turn:
            try:
                found[subject.name] = await measure(subject, place, watch, watch)
            except OrchestratorError as error:
                found[subject.name] = error

    async with asyncio.TaskGroup() as group:
        for subject in subjects:
            group.create_task(one(subject))
    return {subject.name: found[subject.name] for subject in subjects}


def main() -> None:
    """Measure the older version, print what differs, and write the record and the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("older", help="such as gunicorn==23.0.0 or express@4.21.2")
    parser.add_argument("--python", default=sys.executable, help="whose environment it is")
    parser.add_argument("--watch", type=float, default=WATCH_SECONDS, help="seconds from the stop")
    asked = parser.parse_args()
    name, record = bare_name(asked.older), read_record()
    subjects = [one for one in SUBJECTS if one.needs == name]
    if record is None or not subjects:
        known = sorted({one.needs for one in SUBJECTS if one.needs is not None})
        parser.error(f"{asked.older}: what is measured is made of {', '.join(known)}")
    python = replaced(PYTHON_PACKAGES, asked.older)
    node = replaced(NODE_PACKAGES, asked.older)
    if (python, node) == (PYTHON_PACKAGES, NODE_PACKAGES):
        parser.error(f"{asked.older}: say name==version, or name@version for npm")
    with tempfile.TemporaryDirectory(prefix="hitless-servers-", ignore_cleanup_errors=True) as path:
        packages = needed(python, name), needed(node, name)
        place, versions, missing = install(Path(path), asked.python, *packages)
        if name in missing:
            parser.error(missing[name])
        profiles = asyncio.run(measure_all(subjects, place, asked.watch))
    one = Generations(
        package=name,
        before=versions[name],
        after=record.versions[name],
        servers={n: found for n, found in profiles.items() if isinstance(found, Profile)},
        left_out={
            server: str(why).replace(f"{place.bin}/", "")
            for server, why in profiles.items()
            if not isinstance(why, Profile)
        },
    )
    for server, lines in one.changed(record.servers).items():
        for line in lines or ("the same",):
            print(f"{server}: {line}", flush=True)
    record = read_record() or record
    others = [other for other in record.generations if other.package != name]
    record = msgspec.structs.replace(record, generations=(*others, one))
    RECORD.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")
    PAGE.write_text(page(record), encoding="utf-8")


if __name__ == "__main__":
    main()
