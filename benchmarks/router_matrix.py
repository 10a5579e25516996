"""Every release plan under every strategy behind every router, as the table in docs/routers.md.

Each router runs the sixteen cells of `hitless matrix`, and `expand-contract` under rolling on each
persona, all of them small. What came out is kept in `router_matrix.json`, router by router, and the
table in `docs/routers.md` is written from it.

    python -m benchmarks.router_matrix --out DIR [--only haproxy,envoy] [--read]

A router takes about four minutes. `--read` runs nothing, but reads what is in DIR already. Exit
status 1 if a cell is not as its scenario declares.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.recorded import HITLESS
from orchestrator.personas import PERSONAS
from orchestrator.routers.capabilities import Kind
from orchestrator.routers.registry import KINDS, capabilities_of
from scenarios.cli.matrix import PLANS, Cell, limits_of
from scenarios.cli.questions.expectation import surprise
from scenarios.evidence.run_folder import RunFolder
from scenarios.reports.matrix import matrix_markdown, matrix_row
from scenarios.scenario.experiment import STRATEGY_NAMES
from scenarios.scenario.reader import load
from scenarios.verdict import Verdict, decode

RECORD = Path(__file__).with_name("router_matrix.json")
PAGE = Path(__file__).parents[1] / "docs" / "routers.md"
BEGIN, END = "<!-- Written by benchmarks/router_matrix.py: begin -->", "<!-- end -->"
SMALL = (
    *("--replicas", "2", "--rate", "60", "--existing-rows", "2000"),
    *("--baseline", "1", "--settle", "0.5"),
    # At this rate a small share brings no sample, however long one waits for it.
    *("--set", "policy.analysis.patience_seconds=0.5"),
    # Traefik is believed only after an interval and a timeout of its checks; nginx has no checks.
    *(
        "--set",
        "balancer.health_interval_seconds=0.4",
        "--set",
        "balancer.health_timeout_seconds=0.4",
    ),
    *("--set", "policy.drain_timeout_seconds=5"),
)
ABOUT = "measured.json"


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What one router did.

    Attributes:
        version: what it calls itself.
        measured: on which day.
        load: the least and the most load average while it was measured.
        plans: the cells of all plans and strategies.
        personas: those of `expand-contract` under rolling, a persona each.
    """

    version: str
    measured: str
    load: tuple[float, float]
    plans: tuple[Cell, ...]
    personas: tuple[Cell, ...]


def read_record() -> dict[str, Measured]:
    """What was measured, by router."""
    if not RECORD.exists():
        return {}
    return msgspec.json.decode(RECORD.read_bytes(), type=dict[str, Measured])


def run(kind: str, folder: Path) -> None:
    """Run everything behind one router; the runs' folders are below `plans` and `personas`.

    Raises:
        SystemExit: it cannot be run.
    """
    personas = [word for name in PERSONAS for word in ("--persona", name)]
    loads = [os.getloadavg()[0]]
    for part, options in (
        ("plans", ()),
        ("personas", ("expand-contract", "--strategy", "rolling", *personas)),
    ):
        command = [*HITLESS, "matrix", *options, *SMALL]
        ended = subprocess.run(
            [*command, "--router", kind, "--json", "--out", str(folder / part)],
            stdout=subprocess.DEVNULL,
            check=False,
        )
        if ended.returncode not in (0, 1, 3):  # 3: a cell is invalid, which the table then says
            raise SystemExit(f"the matrix behind {kind} was not run (status {ended.returncode})")
        loads.append(os.getloadavg()[0])
    about = _About(time.strftime("%Y-%m-%d"), (min(loads), max(loads)))
    (folder / ABOUT).write_bytes(msgspec.json.encode(about))


def read(folder: Path) -> Measured:
    """What was measured behind one router, from the folders of its runs."""
    about = msgspec.json.decode((folder / ABOUT).read_bytes(), type=_About)
    parts = {
        part: sorted(map(cell_of, (folder / part).iterdir()), key=_place)
        for part in ("plans", "personas")
    }
    first = next((folder / "plans").iterdir())
    return Measured(
        version=RunFolder(first).read_manifest().router_version or folder.name,
        measured=about.day,
        load=(round(about.load[0], 1), round(about.load[1], 1)),
        plans=tuple(parts["plans"]),
        personas=tuple(parts["personas"]),
    )


def _place(cell: Cell) -> tuple[int, int, int]:
    row, personas = cell.row, (None, *PERSONAS)
    return (
        PLANS.index(row.scenario),
        STRATEGY_NAMES.index(row.strategy),
        personas.index(row.persona),
    )


class _About(msgspec.Struct, frozen=True):
    day: str
    load: tuple[float, float]


def cell_of(folder: Path) -> Cell:
    """The cell that a finished run fills."""
    verdict = decode((folder / "verdict.json").read_bytes())
    can = capabilities_of(msgspec.convert(verdict.router, Kind))
    return Cell(
        row=matrix_row(
            verdict, limits=limits_of(can, verdict.strategy, close_idle=closes_idle(verdict))
        ),
        surprise=surprise(load(verdict.scenario).scenario.expect, verdict),
    )


def closes_idle(verdict: Verdict) -> bool:
    """Whether the run asked its router to stop using idle connections to leaving replicas."""
    return verdict.persona is None or PERSONAS[verdict.persona].termination.close_idle


def tables(record: dict[str, Measured]) -> str:
    """The part of the page: two tables, and how they were measured."""
    known = [record[kind] for kind in KINDS if kind in record]
    plans = sorted((cell for one in known for cell in one.plans), key=_place)
    personas = sorted((cell for one in known for cell in one.personas), key=_place)
    lines = [BEGIN, matrix_markdown([cell.row for cell in plans])]
    lines += [
        "`expand-contract` under rolling, as replicas leave on each [persona](personas.md):\n",
        matrix_markdown([cell.row for cell in personas]),
    ]
    lines.append("Measured by `python -m benchmarks.router_matrix`, with a load average of:\n")
    lines += [
        f"- {one.version}: {one.load[0]:g} to {one.load[1]:g} ({one.measured})" for one in known
    ]
    surprises = [
        f"- {one.version}, {cell.row.scenario} under {cell.row.how}: {cell.surprise}"
        for one in known
        for cell in (*one.plans, *one.personas)
        if cell.surprise is not None
    ]
    if surprises:
        lines += ["\nNot as the scenario declares:\n", *surprises]
    return "\n".join([*lines, END])


def page(record: dict[str, Measured], text: str) -> str:
    """The page with its tables."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + tables(record) + after


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", default=",".join(KINDS), help="some of the routers")
    parser.add_argument("--out", type=Path, required=True, help="where the runs' folders go")
    parser.add_argument("--read", action="store_true", help="only read what is there")
    given = parser.parse_args(arguments)
    record = read_record()
    surprises = 0
    for kind in given.only.split(","):
        if not given.read:
            run(kind, given.out / kind)
        record[kind] = one = read(given.out / kind)
        surprises += sum(cell.surprise is not None for cell in (*one.plans, *one.personas))
    ordered = {kind: record[kind] for kind in KINDS if kind in record}
    RECORD.write_bytes(msgspec.json.format(msgspec.json.encode(ordered), indent=1) + b"\n")
    PAGE.write_text(page(record, PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
