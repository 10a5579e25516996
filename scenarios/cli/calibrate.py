"""`hitless calibrate`: fit a simulation to a real run, and compare the two."""

import json
import shlex
import sys
import tempfile
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scenarios.cli.console import output
from scenarios.cli.files import check_file, write_file
from scenarios.cli.options import JsonOption
from scenarios.errors import EvidenceError
from scenarios.evidence.progress import Silence
from scenarios.evidence.run_folder import RunFolder
from scenarios.reports import words
from scenarios.review import recall, review
from scenarios.scenario.overrides import Changes
from scenarios.simulation.calibration import Calibration, calibrate, document
from scenarios.simulation.run import SimulatedExperiment
from scenarios.verdict import Verdict


def calibrate_command(
    run: Annotated[Path, typer.Argument(help="The folder of a real run.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a scenario file that extends the scenario."),
    ] = None,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Simulate the same run, and compare it with the real one."),
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Fit the times of a simulated run to the evidence of a real run.

    It measures how long replicas take to start, to work on requests and to stop, how long
    migrations and mails take, and which locks migrations hold. It prints the table `[simulation]`
    for the scenario file.
    """
    console = output(stderr=as_json)
    check_file("--out", out)
    found = calibrate(run)
    table = document(found)
    replay = _Replay.of(run)
    if out is not None:
        _write(out, replay.scenario, table)
    if as_json:
        text = msgspec.json.encode({"simulation": table, "calibration": found})
        sys.stdout.buffer.write(msgspec.json.format(text, indent=2) + b"\n")
    else:
        console.print(Text(toml(table)), soft_wrap=True)
        _explain(console, found)
    if compare:
        console.print(_comparison(recall(run).verdict, predict(run, found)))
    return 0


class _Replay(msgspec.Struct, frozen=True):
    """What a run was asked to do.

    Attributes:
        scenario: the name or the path of its scenario.
        strategy: its strategy.
        seed: its seed.
        changes: what flags have changed.
    """

    scenario: str
    strategy: str
    seed: int
    changes: Changes

    @classmethod
    def of(cls, folder: Path) -> "_Replay":
        """Read it from the command that repeats the run.

        Raises:
            EvidenceError: the run has no such command, such as one of `hitless watch`.
        """
        replay = RunFolder(folder).read_manifest().replay
        given = shlex.split(replay)
        if given[:2] != ["hitless", "run"] or len(given) < _LEAST_WORDS:
            raise EvidenceError(f"{folder}: not a run of `hitless run`, so it has no scenario")
        found: dict[str, list[str]] = {}
        for name, value in pairwise(given[3:]):
            if name.startswith("--"):
                found.setdefault(name, []).append(value)

        def number(name: str) -> float | None:
            return float(found[name][0]) if name in found else None

        manifest = RunFolder(folder).read_manifest()
        if found.get("--rate") == ["auto"]:
            found["--rate"] = [str(manifest.rate)]
        replicas = number("--replicas")
        changes = Changes(
            platform="simulated",
            replicas=None if replicas is None else int(replicas),
            rate=number("--rate"),
            baseline=number("--baseline"),
            settle=number("--settle"),
            settings=tuple(found.get("--set", ())),
            faults=tuple(found.get("--fault", ())),
            persona=found.get("--persona", [None])[0],
        )
        strategy, seed = found["--strategy"][0], int(found["--seed"][0])
        return cls(given[2], strategy, seed, changes)


_LEAST_WORDS = 3


def predict(run: Path, found: Calibration, seed: int | None = None) -> Verdict:
    """Simulate what a real run has done, with the times that were fitted to it.

    Args:
        run: the folder of the real run.
        found: what was fitted to it.
        seed: of the simulated run; absent: that of the real one.

    Raises:
        ScenarioError: it cannot be simulated.
    """
    replay = _Replay.of(run)
    with tempfile.TemporaryDirectory(prefix="hitless-predicted-") as name:
        file = Path(name) / "calibrated.toml"
        _write(file, replay.scenario, document(found))
        number = replay.seed if seed is None else seed
        experiment = replay.changes.experiment(str(file), replay.strategy, number)
        folder = Path(name) / "run"
        folder.mkdir()
        SimulatedExperiment(experiment, folder, Silence()).run()
        return review(folder).verdict


def _write(file: Path, scenario: str, table: Mapping[str, object]) -> None:
    base = str(Path(scenario).resolve()) if scenario.endswith(".toml") else scenario
    head = f"extends = {json.dumps(base)}\nname = {json.dumps(Path(scenario).stem)}\n\n"
    write_file("--out", file, head + toml(table))


def toml(table: Mapping[str, object]) -> str:
    """The table `simulation` as the text of a scenario file."""
    lines: list[str] = []
    _lines(("simulation",), table, lines)
    return "\n".join(lines) + "\n"


def _lines(keys: tuple[str, ...], table: Mapping[str, object], lines: list[str]) -> None:
    name = ".".join(key if key.isidentifier() else json.dumps(key) for key in keys)
    values = {key: value for key, value in table.items() if not _is_table(value)}
    if values:
        lines += ["", f"[{name}]"] if lines else [f"[{name}]"]
        lines += [f"{key} = {_value(value)}" for key, value in values.items()]
    for key, value in table.items():
        if isinstance(value, Mapping) and _is_table(value):
            _lines((*keys, key), value, lines)
        elif isinstance(value, list):
            for one in value:
                lines += ["", f"[[{name}.{key}]]"]
                lines += [f"{inner} = {_value(part)}" for inner, part in one.items()]


def _is_table(value: object) -> bool:
    """Whether a value has lines of its own; a distribution has not."""
    if isinstance(value, Mapping):
        return "samples" not in value
    return isinstance(value, list)


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        samples = ", ".join(f"{one:g}" for one in value["samples"])
        return f"{{ samples = [{samples}] }}"
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)


def _explain(console: Console, found: Calibration) -> None:
    for fit in found.fits:
        name = ".".join(("simulation", *fit.key))
        console.print(
            Text(f"{name}: median {words.duration(fit.median)} of {fit.measured:,}", "dim")
        )
    if found.deregistration_lag_seconds is not None:
        least, most = map(words.duration, found.deregistration_lag_seconds)
        console.print(
            Text(
                "policy.termination.deregistration_lag_seconds: the router was told after "
                f"{least} to {most}",
                "dim",
            )
        )
    if found.drain_seconds:
        console.print(Text(f"drains took up to {words.duration(max(found.drain_seconds))}", "dim"))


def _comparison(measured: Verdict, predicted: Verdict) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("", "measured", "predicted"):
        table.add_column(name)
    rows = (
        ("verdict", measured.verdict, predicted.verdict),
        *(
            (title, text(measured), text(predicted))
            for title, text in (
                ("release", lambda one: one.rollout.outcome.replace("_", " ")),
                ("took", lambda one: words.duration(one.rollout.seconds)),
                ("failed", lambda one: f"{one.requests.failed:,} of {one.requests.planned:,}"),
                ("causes", lambda one: ", ".join(f"{c.cause} ({c.count:,})" for c in one.causes)),
                ("p50", lambda one: words.duration(one.latency.p50)),
                ("p99", lambda one: words.duration(one.latency.p99)),
            )
        ),
    )
    for row in rows:
        table.add_row(*map(words.clean, row))
    return table
