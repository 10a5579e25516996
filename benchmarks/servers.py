"""How servers start and stop: `docs/servers.md`, measured anew by the probe itself.

    python -m benchmarks.servers                    # all of them: about twenty minutes
    python -m benchmarks.servers --only uvicorn     # those whose names begin so
    python -m benchmarks.servers --page             # the page anew, from the record
    python -m benchmarks.servers --check --repeat 3 --busy

It installs pinned packages from PyPI and npm in a temporary folder, starts each server about ten
times on loopback, and writes what it saw to `benchmarks/servers.json` and `docs/servers.md`. What
cannot be installed is left out by name. Every cell that differs from the last time is printed, and
every value that differs from what was seen by hand (`benchmarks/servers_by_hand.json`); exit
status 1 if there is one.

With `--check` nothing is written. `--busy` keeps all cores busy meanwhile, `--watch 20` watches
each stop for 20 s instead of 70.
"""

import argparse
import asyncio
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from benchmarks.server_page import PAGE, RECORD, Record, Wrapped, page, read_record
from benchmarks.server_reference import (
    chance,
    contradictions,
    count_cells,
    explanation,
    read_by_hand,
)
from benchmarks.server_subjects import (
    NODE_PACKAGES,
    PYTHON_PACKAGES,
    SUBJECTS,
    WRAPPERS,
    Subject,
)
from orchestrator.errors import OrchestratorError
from scenarios.exit_status import ExitStatus
from scenarios.probe.differences import differences
from scenarios.probe.probing import probe
from scenarios.probe.profile import Profile
from scenarios.probe.server import Target
from scenarios.probe.words import exit_text
from scenarios.recording.machine import parse_pressure

APPS = Path(__file__).with_name("server_apps")
WATCH_SECONDS = 70.0
IDLE_SECONDS = 155.0


class Place(msgspec.Struct, frozen=True):
    """Where the servers are installed.

    Attributes:
        folder: the temporary folder.
        bin: the programs of the Python environment.
        modules: Node's modules.
    """

    folder: Path
    bin: Path
    modules: Path

    @property
    def env(self) -> dict[str, str]:
        """What lets the applications find their libraries."""
        path = f"{self.bin}{os.pathsep}{os.environ.get('PATH', '')}"
        return {"PYTHONPATH": str(APPS), "NODE_PATH": str(self.modules), "PATH": path}

    def filled(self, word: str) -> str:
        """A word of a command; the probe fills in the rest."""
        return word.replace("{bin}", str(self.bin)).replace("{folder}", str(self.folder))


def install(
    folder: Path,
    python: str,
    python_packages: Sequence[str] = PYTHON_PACKAGES,
    node_packages: Sequence[str] = NODE_PACKAGES,
) -> tuple[Place, dict[str, str], dict[str, str]]:
    """Install everything; returns where, the versions, and what could not be installed."""
    folder.mkdir(parents=True, exist_ok=True)
    place = Place(folder, folder / "venv" / "bin", folder / "node_modules")
    missing: dict[str, str] = {}
    if place.bin.is_dir():
        write_wrappers(place)
        return place, _versions(place), missing
    pip = [str(place.bin / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([python, "-m", "venv", str(folder / "venv")], check=True)
    if (
        python_packages
        and subprocess.run([*pip, *python_packages], capture_output=True, check=False).returncode
    ):
        # One of them is not there for this machine: then one by one.
        for package in python_packages:
            if subprocess.run([*pip, package], capture_output=True, check=False).returncode:
                missing[bare_name(package)] = f"{package} cannot be installed"
    if shutil.which("npm") is None:
        missing |= {bare_name(package): "npm is not there" for package in node_packages}
    elif node_packages:
        npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder)]
        subprocess.run([*npm, *node_packages], check=True, capture_output=True)
    write_wrappers(place)
    return place, _versions(place), missing


def bare_name(package: str) -> str:
    """A package without its version and extras."""
    name = package.partition("==")[0].partition("[")[0]
    return name[0] + name[1:].partition("@")[0]


def _versions(place: Place) -> dict[str, str]:
    listed = subprocess.run(
        [str(place.bin / "python"), "-m", "pip", "list", "--format", "json"],
        capture_output=True,
        check=True,
    )
    found = {
        one["name"].lower(): one["version"]
        for one in msgspec.json.decode(listed.stdout, type=list[dict[str, str]])
    }
    for program, name in ((place.bin / "python", "python"), ("node", "node")):
        if shutil.which(program) is not None:
            said = subprocess.run(
                [program, "--version"], capture_output=True, text=True, check=True
            )
            found[name] = said.stdout.strip().removeprefix("Python ").removeprefix("v")
    for package in NODE_PACKAGES:
        about = place.modules / bare_name(package) / "package.json"
        if about.is_file():
            found[bare_name(package)] = msgspec.json.decode(about.read_bytes())["version"]
    return found


def write_wrappers(place: Place) -> None:
    """Write what the wrappers read: what each of them has to start."""
    start = f"node {APPS / 'node_http.cjs'} close"
    (place.folder / "package.json").write_text(f'{{"scripts": {{"start": "{start}"}}}}')
    server = place.filled("{bin}/uvicorn hello_asgi:app --port ")
    (place.folder / "Procfile").write_text(f"web: exec {server}$PORT\n")
    (place.folder / "supervisord.conf").write_text(
        f"[supervisord]\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile=%(ENV_HITLESS_PID)s\n"
        f"[program:web]\ncommand={server}%(ENV_PORT)s\n"
    )


async def measure(subject: Subject, place: Place, watch: float, idle: float) -> Profile:
    """Probe one server."""
    target = Target(
        command=tuple(place.filled(word) for word in subject.words.split()),
        env=place.env,
        cwd=APPS,
        start_seconds=60.0,
    )
    profile = await probe(target, subject.asked, watch_seconds=watch, idle_seconds=idle)
    # Where it was installed is of no interest, and differs each time.
    shown = tuple(word.replace("{bin}/", "") for word in subject.words.split())
    return msgspec.structs.replace(profile, command=shown)


async def measure_wrapper(words: Sequence[str], place: Place) -> Wrapped:
    """Probe a server behind a wrapper."""
    target = Target(
        command=tuple(place.filled(word) for word in words),
        env={**place.env, "HITLESS_PID": "{replica_dir}/pid"},
        cwd=place.folder if words[0] == "npm" else APPS,
        start_seconds=60.0,
    )
    profile = await probe(target, experiments=["in_flight"])
    seen, reach = profile.in_flight, profile.signalled
    if seen is None or reach is None:
        raise OrchestratorError(profile.why_left_out("in_flight"))
    return Wrapped(
        processes=reach.count,
        response=seen.fate if seen.ending is None else f"{seen.fate} ({seen.ending})",
        exit=exit_text(seen.exit),
        left=reach.left or 0,
        port="still serves" if reach.still_serves else "refuses",
        signal=reach.fate,
    )


class Measured:
    """What was measured so far; an interrupted measurement keeps it.

    Attributes:
        servers: the profile of each server.
        wrappers: what was seen of each wrapper.
        left_out: what could not be measured, and why.
    """

    def __init__(self) -> None:
        self.servers: dict[str, Profile] = {}
        self.wrappers: dict[str, Wrapped] = {}
        self.left_out: dict[str, str] = {}


async def measure_all(
    place: Place, missing: Mapping[str, str], asked: argparse.Namespace, found: Measured
) -> None:
    """Probe everything whose name begins so, a few at a time."""
    turn = asyncio.Semaphore(asked.jobs)
    idle = IDLE_SECONDS if asked.watch == WATCH_SECONDS else asked.watch

    async def one_server(subject: Subject) -> None:
        if subject.needs in missing:
            found.left_out[subject.name] = missing[subject.needs]
            return
        async with turn:
            try:
                profile = await measure(subject, place, asked.watch, idle)
                found.servers[subject.name] = profile
                print(f"{subject.name}: {profile.seconds:.0f} s", flush=True)
            except OrchestratorError as error:
                found.left_out[subject.name] = str(error)
                print(f"{subject.name}: left out: {error}", flush=True)

    async def one_wrapper(name: str, words: Sequence[str]) -> None:
        async with turn:
            try:
                found.wrappers[name] = await measure_wrapper(words, place)
                print(f"{name}: {found.wrappers[name].signal}", flush=True)
            except OrchestratorError as error:
                found.left_out[name] = str(error)
                print(f"{name}: left out: {error}", flush=True)

    async with asyncio.TaskGroup() as group:
        for subject in SUBJECTS:
            if subject.name.startswith(tuple(asked.only)):
                group.create_task(one_server(subject))
        for name, words in WRAPPERS.items():
            if name.startswith(tuple(asked.only)):
                group.create_task(one_wrapper(name, words))


def machine(versions: Mapping[str, str]) -> str:
    """What it is measured on."""
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {versions.get('python')}, Node {versions.get('node', '(none)')}"
    )


class Pressure:
    """For which share of the time since this was made somebody waited for a core."""

    def __init__(self) -> None:
        self._began, self._before = time.monotonic(), self._read()

    def share(self) -> float | None:
        """That share; None where the kernel does not tell (accounting/psi.rst)."""
        now = self._read()
        if now is None or self._before is None:
            return None
        return (now - self._before) / 1e6 / (time.monotonic() - self._began)

    @staticmethod
    def _read() -> int | None:
        file = Path("/proc/pressure/cpu")
        return parse_pressure(file.read_text()) if file.is_file() else None


@contextmanager
def busy_cores(wanted: bool) -> Iterator[None]:  # noqa: FBT001 - a flag of the command
    """Keep every core busy, as long as the block lasts."""
    spin = [sys.executable, "-c", "while True: pass"]
    count = (os.cpu_count() or 1) if wanted else 0
    busy = [subprocess.Popen(spin) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def report_differences(before: Record, servers: Mapping[str, Profile]) -> int:
    """Print what differs from the record and from what was seen by hand; returns how much does."""
    by_hand, changed, cells = read_by_hand(), 0, 0
    for name, profile in servers.items():
        cells += count_cells(by_hand.get(name, {}))
        known = before.servers.get(name)
        for one in differences(known, profile) if known is not None else ():
            changed += _told(name, one, chance(name, one.cell))
        for contradiction in contradictions(by_hand.get(name, {}), profile):
            changed += _told(name, contradiction, explanation(name, contradiction))
    # What has an explanation is printed, and is no difference.
    waits = [max(profile.core_wait.values(), default=0.0) for profile in servers.values()]
    print(
        f"{len(servers)} servers, {cells} values seen by hand, {changed} differences; a server "
        f"waited for a core for up to {max(waits, default=0.0):.1f} s"
    )
    return changed


def _told(server: str, difference: object, why: str | None) -> bool:
    """Print a difference; returns whether it has no explanation."""
    print(f"  {server}: {difference}{'' if why is None else f' ({why})'}")
    return why is None


def main() -> None:
    """Measure, say what differs from the last time, and write the record and the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", nargs="+", default=[""], help="those whose names begin so")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    parser.add_argument("--watch", type=float, default=WATCH_SECONDS, help="seconds from the stop")
    parser.add_argument("--folder", type=Path, help="where to install, and to find it again")
    parser.add_argument("--python", default=sys.executable, help="whose environment it is")
    parser.add_argument("--page", action="store_true", help="only write the page, from the record")
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    parser.add_argument("--repeat", type=int, default=1, help="how many times, with --check")
    parser.add_argument("--busy", action="store_true", help="keep all cores busy meanwhile")
    asked = parser.parse_args()
    before = read_record() or Record(measured="", machine="")
    if asked.page:
        PAGE.write_text(page(before), encoding="utf-8")
        return
    changed, interrupted = 0, False
    with tempfile.TemporaryDirectory(prefix="hitless-servers-", ignore_cleanup_errors=True) as name:
        place, versions, missing = install(asked.folder or Path(name), asked.python)
        for _ in range(asked.repeat if asked.check else 1):
            found, pressure = Measured(), Pressure()
            try:
                with busy_cores(asked.busy):
                    asyncio.run(measure_all(place, missing, asked, found))
            except KeyboardInterrupt:
                interrupted = True
                print("interrupted: what was measured by then is kept")
            share = pressure.share()
            waited = (
                "" if share is None else f"; somebody waited for a core {share:.0%} of the time"
            )
            print(f"{machine(versions)}{waited}")
            changed += report_differences(before, found.servers)
            if interrupted:
                break
    if not asked.check:
        # Others may have measured something else meanwhile.
        record = merged(read_record() or before, found, share)
        record = msgspec.structs.replace(record, machine=machine(versions), versions=versions)
        RECORD.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")
        PAGE.write_text(page(record), encoding="utf-8")
    sys.exit(ExitStatus.INTERRUPTED if interrupted else changed > 0)


def merged(before: Record, found: Measured, share: float | None = None) -> Record:
    """The record with what was measured now, and how busy the machine was."""
    every = {**before.servers, **found.servers}
    done = {**found.servers, **found.wrappers}
    still = {name: why for name, why in before.left_out.items() if name not in done}
    return msgspec.structs.replace(
        before,
        measured=datetime.now(UTC).date().isoformat(),
        servers={one.name: every[one.name] for one in SUBJECTS if one.name in every},
        busy={**before.busy, **({} if share is None else dict.fromkeys(found.servers, share))},
        wrappers={**before.wrappers, **found.wrappers},
        left_out={**still, **found.left_out},
    )


if __name__ == "__main__":
    main()
