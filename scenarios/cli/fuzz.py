"""`hitless fuzz`: search for schedules in which a rollout breaks a promise."""

import shlex
import sys
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from orchestrator.errors import OrchestratorError
from orchestrator.simulated.search.invariants import Violation
from orchestrator.simulated.search.schedule import Schedule, draw
from orchestrator.simulated.search.shrinking import shrink
from orchestrator.simulated.search.trial import violations_of
from scenarios.cli.console import output
from scenarios.cli.files import check_folder, read_file, write_file
from scenarios.cli.options import JsonOption
from scenarios.cli.program import as_typed
from scenarios.errors import StorageError, UsageError
from scenarios.exit_status import ExitStatus
from scenarios.reports import words
from scenarios.traffic.settings import MOST_SECONDS


class FoundSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule that breaks an invariant.

    Attributes:
        seed: the seed that it was drawn from.
        invariant: what does not hold.
        violation: what was seen in the smallest schedule.
        schedule: the smallest schedule.
        replay: the command that repeats it.
    """

    seed: int
    invariant: str
    violation: str
    schedule: Schedule
    replay: str


def fuzz_command(  # noqa: PLR0917 - typer wants each flag as a parameter
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Try so many seeds. Default: 1000.", metavar="N")
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=MOST_SECONDS,
            help="Stop after so many seconds instead of a number of seeds.",
        ),
    ] = None,
    first: Annotated[int, typer.Option("--seed", min=0, help="The first seed.")] = 0,
    replay: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Carry out the schedule in this file instead."),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="The folder for the smallest schedule of a violation.")
    ] = Path("runs"),
    as_json: JsonOption = False,
) -> int:
    """Carry out random simulated rollouts, and check what must hold in each of them.

    Each seed gives a plan, a strategy, a policy, timings and faults. The first schedule that breaks
    an invariant is made as small as possible, written to a file, and shown with the command that
    repeats it. The exit status is then 1.
    """
    console = output(stderr=as_json)
    if seconds is not None and seeds is not None:
        raise UsageError("--seconds cannot be combined with --seeds")
    if replay is not None:
        return _replayed(replay, console)
    check_folder("--out", out)
    most = None if seconds is not None else seeds or 1000
    found, tried = _search(first, most, seconds)
    if found is None:
        if as_json:
            _print_json({"seeds": tried, "first": first, "found": None})
        console.print(f"No invariant was broken in {tried:,} schedules, from seed {first} on.")
        return ExitStatus.PASS
    seed, violation = found
    console.print(Text(f"seed {seed}: {violation}", "red"))
    console.print("Looking for the smallest schedule that breaks the same invariant…")
    smallest = _smallest(seed, violation, out)
    if as_json:
        _print_json({"seeds": tried, "first": first, "found": smallest})
    _show(console, smallest)
    return ExitStatus.FAIL


def _search(
    first: int, most: int | None, seconds: float | None
) -> tuple[tuple[int, Violation] | None, int]:
    """The first seed that breaks something, if one does; and how many were tried."""
    ends = None if seconds is None else time.monotonic() + seconds
    seed = first
    while (most is None or seed < first + most) and (ends is None or time.monotonic() < ends):
        broken = violations_of(draw(seed))
        seed += 1
        if broken:
            return (seed - 1, broken[0]), seed - first
    return None, seed - first


def _smallest(seed: int, violation: Violation, out: Path) -> FoundSchedule:
    name = violation.invariant

    def breaks(schedule: Schedule) -> bool:
        return any(one.invariant == name for one in violations_of(schedule))

    schedule = shrink(draw(seed), breaks)
    seen = next(one for one in violations_of(schedule) if one.invariant == name)
    file = out / f"fuzz-{seed}.json"
    text = msgspec.json.encode(_without_defaults(schedule))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"--out {out}: {error.strerror}") from error
    write_file("--out", file, msgspec.json.format(text, indent=2) + b"\n")
    return FoundSchedule(
        seed=seed,
        invariant=name,
        violation=str(seen),
        schedule=schedule,
        replay=shlex.join(["hitless", "fuzz", "--replay", str(file)]),
    )


def _replayed(file: Path, console: Console) -> int:
    try:
        schedule = msgspec.json.decode(read_file("--replay", file), type=Schedule)
    except (msgspec.DecodeError, OrchestratorError) as error:
        raise UsageError(f"--replay {file}: {error}") from error
    broken = violations_of(schedule)
    for violation in broken:
        console.print(Text(words.clean(str(violation)), "red"))
    if not broken:
        console.print("No invariant is broken in this schedule.")
    return ExitStatus.FAIL if broken else ExitStatus.PASS


def _show(console: Console, found: FoundSchedule) -> None:
    console.print(Text(words.clean(found.violation), "bold red"))
    console.print("The smallest schedule differs from the defaults in:")
    text = msgspec.json.format(msgspec.json.encode(_without_defaults(found.schedule)), indent=2)
    console.print(Text(words.clean_lines(text.decode())), soft_wrap=True)
    console.print(Text(f"Run again: {as_typed(found.replay)}"), soft_wrap=True)


def _without_defaults(schedule: Schedule) -> object:
    """The keys of a schedule that differ from the defaults."""
    return _differing(msgspec.to_builtins(schedule), msgspec.to_builtins(Schedule())) or {}


def _differing(value: object, plain: object) -> object:
    if isinstance(value, dict) and isinstance(plain, dict):
        parts = {key: _differing(part, plain.get(key)) for key, part in value.items()}
        return {key: part for key, part in parts.items() if part is not None} or None
    return None if value == plain else value


def _print_json(document: object) -> None:
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
