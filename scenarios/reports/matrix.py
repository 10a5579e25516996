"""Several runs beside each other: the matrix of plans and strategies, and a comparison of a few."""

from collections.abc import Sequence

import msgspec
from rich import box
from rich.table import Table
from rich.text import Text

from scenarios.reports import cause_words, words
from scenarios.reports.markdown import escape
from scenarios.reports.terminal import COLOUR, badge
from scenarios.verdict.model import Verdict

OURS = "hitless"
"""The router that nobody has to name."""


class MatrixRow(msgspec.Struct, frozen=True, kw_only=True):
    """One cell of a matrix: a release plan under a strategy.

    Attributes:
        scenario: the plan.
        strategy: the strategy.
        verdict: `pass`, `fail`, `invalid`; `error` when there is no verdict; `not run` when its
            router cannot do what the scenario asks for.
        outcome: how the release ended.
        planned: planned requests.
        failed: failed ones.
        violations: of data integrity.
        cause: the id of the most frequent cause.
        cause_title: the same for people.
        downtime_seconds: how long requests failed at least, all windows together.
        peak_error_ratio: at the worst moment.
        release_seconds: how long the release took.
        folder: where the evidence is.
        error: why there is no verdict.
        persona: the platform whose way to stop replicas was used, if any.
        router: who sent the requests to the replicas.
        predicted: whether the run took place in virtual time.
        limits: what that router cannot do of what the strategy relies on, one sentence each.
    """

    scenario: str
    strategy: str
    verdict: str
    outcome: str = ""
    planned: int = 0
    failed: int = 0
    violations: int = 0
    cause: str | None = None
    cause_title: str | None = None
    downtime_seconds: float = 0.0
    peak_error_ratio: float = 0.0
    release_seconds: float | None = None
    folder: str | None = None
    error: str | None = None
    persona: str | None = None
    router: str = OURS
    limits: tuple[str, ...] = ()
    predicted: bool = False

    @property
    def how(self) -> str:
        """The strategy, the persona where there is one, and whether the result is predicted."""
        how = f"{self.strategy} on {self.persona}" if self.persona else self.strategy
        return f"{how} (predicted)" if self.predicted else how

    @property
    def where(self) -> str:
        """The same, and the router where it is not ours."""
        return self.how if self.router == OURS else f"{self.how} behind {self.router}"


def matrix_row(
    verdict: Verdict, folder: str | None = None, *, limits: tuple[str, ...] = ()
) -> MatrixRow:
    """The cell that a run fills."""
    cause = verdict.causes[0] if verdict.causes else None
    return MatrixRow(
        scenario=verdict.scenario,
        strategy=verdict.strategy,
        verdict=verdict.verdict,
        outcome=verdict.rollout.outcome,
        planned=verdict.requests.planned,
        failed=verdict.requests.failed,
        violations=verdict.integrity.violation_count,
        cause=cause.cause if cause else None,
        cause_title=cause.title if cause else None,
        downtime_seconds=sum(window.seconds_lower for window in verdict.downtime),
        peak_error_ratio=max((window.peak_error_ratio for window in verdict.downtime), default=0.0),
        release_seconds=verdict.rollout.seconds,
        folder=folder,
        persona=verdict.persona,
        router=verdict.router,
        limits=limits,
        predicted=verdict.predicted,
    )


COLUMNS = ("plan", "strategy", "verdict", "failed", "main cause", "downtime", "peak", "release")
NARROW = ("plan", "strategy", "router", "verdict")


def _cells(row: MatrixRow) -> tuple[str, ...]:
    if row.error is not None:
        return (row.scenario, row.how, row.verdict, "", words.clean(row.error), "", "", "")
    cause = row.cause or (f"{row.violations:,} data violations" if row.violations else "")
    return (
        words.clean(row.scenario),
        words.clean(row.how),
        row.verdict,
        f"{row.failed:,} of {row.planned:,}" if row.failed else "0",
        words.clean(cause),
        words.duration(row.downtime_seconds) if row.failed else "",
        words.share(row.peak_error_ratio) if row.failed else "",
        row.outcome.replace("_", " "),
    )


def matrix_table(rows: Sequence[MatrixRow]) -> Table:
    """The matrix as a rich table, with a rule between plans; readable at 80 columns.

    How each release ended is a column only if not all of them were completed; so is the router, if
    it is not ours everywhere.
    """
    columns = COLUMNS if any(row.outcome != "completed" for row in rows) else COLUMNS[:-1]
    routers = any(row.router != OURS for row in rows)
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    for name in (*columns[:2], *(("router",) if routers else ()), *columns[2:]):
        table.add_column(
            name,
            justify="right" if name in ("failed", "downtime", "peak") else "left",
            overflow="fold",
            no_wrap=name in NARROW,
        )
    for index, row in enumerate(rows):
        plan, strategy, verdict, *rest = _cells(row)[: len(columns)]
        first = index == 0 or rows[index - 1].scenario != row.scenario
        table.add_row(
            Text(plan if first else "", "bold"),
            Text(strategy),
            *((Text(row.router),) if routers else ()),
            Text(verdict.upper(), f"bold {COLOUR.get(row.verdict, 'magenta')}"),
            *(Text(cell) for cell in rest),
            end_section=index + 1 < len(rows) and rows[index + 1].scenario != row.scenario,
        )
    return table


def matrix_limits(rows: Sequence[MatrixRow]) -> list[str]:
    """What each router of a matrix cannot do of what was asked of it, a line for each gap."""
    return [f"{router}: {words}" for router, words in _gaps(rows)]


def matrix_markdown(rows: Sequence[MatrixRow]) -> str:
    """The matrix as a Markdown table; several routers stand beside each other, a column each."""
    if len({row.router for row in rows}) > 1:
        return _beside_each_other(rows)
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    for row in rows:
        plan, strategy, verdict, *rest = _cells(row)
        cells = (escape(plan), escape(strategy), f"**{verdict}**", *map(escape, rest))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _beside_each_other(rows: Sequence[MatrixRow]) -> str:
    """A line for each plan and strategy, a column for each router, and below what each cannot do.

    A number in brackets behind a verdict is that of a gap that the cell's strategy meets.
    """
    gaps = {gap: number for number, gap in enumerate(_gaps(rows), start=1)}
    routers = list(dict.fromkeys(row.router for row in rows))
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        notes = "".join(f" [{gaps[row.router, words]}]" for words in row.limits)
        cells.setdefault((row.scenario, row.how), {})[row.router] = _cell(row) + notes
    lines = [f"| plan | strategy | {' | '.join(routers)} |", f"|{'---|' * (len(routers) + 2)}"]
    for (plan, how), found in cells.items():
        said = (escape(plan), escape(how), *(found.get(router, "") for router in routers))
        lines.append(f"| {' | '.join(said)} |")
    if gaps:
        lines += ["", "What a router cannot do:", ""]
        lines += [f"- [{number}] {router}: {words}" for (router, words), number in gaps.items()]
    return "\n".join(lines) + "\n"


def _cell(row: MatrixRow) -> str:
    _, _, verdict, failed, cause, *_ = _cells(row)
    if row.error is not None:
        return f"**{verdict}**: {escape(cause)}"
    why = f", {failed}: {escape(cause)}" if row.verdict != "pass" else ""
    undone = row.outcome not in ("", "completed") and row.verdict != "pass"
    return f"**{verdict}**{why}" + (f", {row.outcome.replace('_', ' ')}" if undone else "")


def _gaps(rows: Sequence[MatrixRow]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((row.router, words) for row in rows for words in row.limits))


def comparison(verdicts: Sequence[Verdict]) -> Table:
    """Runs side by side, one a column: what each of them did to its users."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("")
    for verdict in verdicts:
        table.add_column(
            Text(f"{words.clean(verdict.scenario)}\n{words.clean(verdict.strategy)}", "bold"),
            overflow="fold",
        )
    table.add_row("verdict", *(badge(verdict.verdict) for verdict in verdicts))
    for name, show in FACTS:
        table.add_row(name, *(Text(show(verdict)) for verdict in verdicts))
    return table


def _failed(verdict: Verdict) -> str:
    sent = verdict.requests.ok + verdict.requests.failed
    return f"{verdict.requests.failed:,} of {sent:,}"


def _why(verdict: Verdict) -> str:
    if not verdict.causes:
        return words.MISSING
    return "\n".join(f"{cause.count:,} {cause_words.short(cause)}" for cause in verdict.causes[:2])


FACTS = (
    ("requests failed", _failed),
    ("main causes", _why),
    ("downtime", words.downtime_text),
    ("data", words.integrity_text),
    ("p50, p99", lambda v: f"{words.duration(v.latency.p50)}, {words.duration(v.latency.p99)}"),
    ("release", words.release_text),
)
