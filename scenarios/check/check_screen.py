"""The result of a check in a terminal."""

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from scenarios.check.check_report import CheckedSuggestion, CheckReport
from scenarios.check.half_way import HalfWay
from scenarios.check.lint import LintFinding
from scenarios.check.lock_result import BLOCKING, HeldLock
from scenarios.check.migration_findings import MigrationFinding
from scenarios.check.observed import CellResult, MigratorResult, RefusedStatement
from scenarios.check.safety import ANSWER_CHANGED, NO_BACKEND, WARM_DIFFERS, Hazard, Safety, WayBack

_MOST_HAZARDS = 6
_MOST_DIFFERENCES = 3
_GOOD, _BAD, _DIM = "green", "bold red", "dim"


def print_check(console: Console, report: CheckReport, *, at_rows: int | None = None) -> None:
    """Print a check: the verdict and its story, the matrix, the strategies, the ways back.

    Args:
        console: where.
        report: the result.
        at_rows: for how many rows the locks are extrapolated; None: they are not.
    """
    chosen = report.chosen
    style = "bold white on green" if report.passed else "bold white on red"
    console.print(
        Text.assemble(
            (f" {report.verdict.upper()} ", style),
            f"  {report.scenario} · {report.strategy}",
        )
    )
    for line in _summary(report, chosen):
        console.print(Text(f"  {line}"))
    if chosen.hazards:
        _print_story(console, chosen.hazards[0])
    for hazard in chosen.hazards[1:_MOST_HAZARDS]:
        _print_hazard(console, hazard)
    if len(chosen.hazards) > _MOST_HAZARDS:
        console.print(f"  … and {len(chosen.hazards) - _MOST_HAZARDS} more (--json has all)")
    console.print()
    console.print(_matrix(report))
    console.print(_old_and_new(report))
    console.print(_strategies(report))
    for name, order in report.safe_orders.items():
        console.print(Padding(Text(order_words(name, order)), (0, 0, 0, 2)))
    _print_ways_back(console, chosen.ways_back)
    _print_half_ways(console, report.half_way)
    _print_findings(console, report.findings)
    _print_migrators(console, report.observed.migrators)
    _print_locks(console, report.observed.locks, at_rows)
    _print_lint(console, report.lint)
    _print_notes(console, report)
    if report.suggestion is not None:
        _print_suggestion(console, report.suggestion, report.strategy)


def label_of(cell: CellResult | None) -> tuple[str, str]:
    """A cell in a word, and its style."""
    if cell is None:
        return "·", _DIM
    if cell.not_ready is not None:
        return "not ready", _BAD
    bad = [one for one in cell.endpoints if not one.ok]
    if not bad:
        return "ok", _GOOD
    causes = dict.fromkeys(short_cause(one.cause) for one in bad)
    some = any(one.failed < one.requests for one in bad)
    return ", ".join(causes) + (" at first" if some and cell.connections == "warm" and all(
        one.sqlstate == "0A000" for one in bad) else ""), _BAD  # fmt: skip


def order_words(strategy: str, order: Sequence[int]) -> str:
    """In which order of its steps a release would be safe."""
    steps = ", then ".join(f"step {number}" for number in order)
    return f"{strategy} would be safe in another order: {steps}"


def short_cause(cause: str) -> str:
    """A cause without its kind, where the rest says it all."""
    kind, _, rest = cause.partition(":")
    return rest if kind in ("sqlstate", "status") else cause


def _summary(report: CheckReport, chosen: Safety) -> Iterator[str]:
    if chosen.outcome != "completed":
        yield f"The release does not complete ({_ends(chosen)}): {chosen.reason}"
    if chosen.safe:
        yield (f"Nothing fails in the {chosen.states} states that the release passes through.")
    if chosen.outcome != report.expected:
        yield f"Expected was that it ends as {report.expected}."
    for one in chosen.untried:
        yield f"Not tried: {one}."


def _ends(safety: Safety) -> str:
    return safety.outcome.replace("_", " ")


def _print_story(console: Console, hazard: Hazard) -> None:
    """The shortest way to the first failure, step by step."""
    for step in hazard.path:
        console.print(Padding(Text(step), (0, 0, 0, 2)))
    console.print(Padding(_failure(hazard), (0, 0, 0, 2)))


def _print_hazard(console: Console, hazard: Hazard) -> None:
    """Another failure: only the last step before it."""
    text = Text(f"• {_where(hazard)}; ", _DIM)
    text.append_text(_failure(hazard))
    console.print(Padding(text, (0, 0, 0, 2)))


def _failure(hazard: Hazard) -> Text:
    serve = " and ".join(hazard.serving)
    text = Text()
    if serve:
        text.append(f"while {serve} serve{'s' if len(hazard.serving) == 1 else ''}, ")
    text.append(hazard.what, "red")
    if hazard.statement:
        text.append(f"\n    {hazard.statement}", _DIM)
    return text


def _matrix(report: CheckReport) -> Table:
    table = Table(box=None, pad_edge=False, title_justify="left", title="Versions on schemas")
    table.title_style = "bold"
    table.add_column("", no_wrap=True)
    table.add_column("", overflow="fold")
    for version in report.versions:
        table.add_column(version)
    for row in report.schemas:
        table.add_row(
            row.name,
            row.title,
            *(_both(report, row.schema, version) for version in report.versions),
        )
    return table


def _both(report: CheckReport, schema: tuple[str, ...], version: str) -> Text:
    """Warm and fresh in one cell; in two words only where they differ."""
    warm = report.observed.cell(schema, version, "warm")
    fresh = report.observed.cell(schema, version, "fresh")
    if warm is None or fresh is None or label_of(warm) == label_of(fresh):
        return Text(*label_of(warm or fresh))
    return Text.assemble("warm ", label_of(warm), ", fresh ", label_of(fresh))


def _old_and_new(report: CheckReport) -> Table:
    old, new, found = report.versions[0], report.versions[-1], report.old_and_new
    table = Table(box=None, pad_edge=False, title_justify="left", title="\nOld and new")
    table.title_style = "bold"
    for title in (
        f"warm {old} on the new schema",
        f"fresh {old} on the new schema",
        f"{new} on the old schema",
        f"{new} on the new schema",
    ):
        table.add_column(title)
    cells = (found.old_warm_on_new, found.old_fresh_on_new, found.new_on_old, found.new_on_new)
    table.add_row(*(Text(*label_of(one)) for one in cells))
    return table


def _strategies(report: CheckReport) -> Table:
    table = Table(box=None, pad_edge=False, title_justify="left", title="\nStrategies")
    table.title_style = "bold"
    for title in ("", "", "ends", "first failure"):
        table.add_column(title)
    for name, safety in report.strategies.items():
        first = safety.hazards[0] if safety.hazards else None
        table.add_row(
            name,
            Text("safe", _GOOD) if safety.safe else Text("unsafe", _BAD),
            _ends(safety),
            "" if first is None else f"{_where(first)}: {_what(first)}",
        )
    return table


def _where(hazard: Hazard) -> str:
    return hazard.path[-1] if hazard.path else "before the release"


def _what(hazard: Hazard) -> str:
    if hazard.cause in (NO_BACKEND, ANSWER_CHANGED, WARM_DIFFERS):
        return hazard.what
    return f"{hazard.version} {hazard.endpoint or ''} {short_cause(hazard.cause)}"


def _print_ways_back(console: Console, ways_back: Iterable[WayBack]) -> None:
    """For each version, until when it can return."""
    ways_back = list(ways_back_that_differ(ways_back))
    if not ways_back:
        return
    console.print()
    console.print("Ways back", style="bold")
    for one in ways_back:
        head = f"{one.moment}: {one.serving} → {one.to} "
        if one.possible:
            console.print(Padding(Text.assemble(head, ("possible", _GOOD)), (0, 0, 0, 2)))
        else:
            why = Text.assemble(head, ("impossible", _BAD), f": {one.why}")
            console.print(Padding(why, (0, 0, 0, 2)))


def _print_half_ways(console: Console, half_ways: Iterable[HalfWay]) -> None:
    """For each place where a migration can die: who still works, and whether it can be repeated."""
    half_ways = list(half_ways)
    if not half_ways:
        return
    console.print()
    console.print("If a migration dies half-way", style="bold")
    for one in half_ways:
        text = Text(f"{one.change} after {one.statements} of {one.of} statements: ")
        for number, cell in enumerate(one.cells):
            text.append(f"{', ' if number else ''}{cell.connections} {cell.version} ")
            text.append(*label_of(cell))
        if one.again is not None:
            text.append("; applied again: ")
            text.append(*((f"{one.again.failed}", _BAD) if one.again.failed else ("ok", _GOOD)))
        console.print(Padding(text, (0, 0, 0, 2)))


def ways_back_that_differ(ways_back: Iterable[WayBack]) -> Iterator[WayBack]:
    """Without those that are as at the moment before."""
    last: dict[str, tuple[bool, str | None]] = {}
    for one in ways_back:
        now = (one.possible, one.cause)
        if last.get(one.to) != now:
            last[one.to] = now
            yield one


def _print_migrators(console: Console, migrators: Iterable[MigratorResult]) -> None:
    """For each migration tool: three at once, and a run after a kill."""
    migrators = list(migrators)
    if not migrators:
        return
    console.print()
    console.print("Migration tools, compared with a single run", style="bold")
    for one in migrators:
        mark = ("ok", _GOOD) if one.ok else ("not ok", _BAD)
        console.print(Text.assemble(f"  step {one.step}: {one.tool}: ", mark))
        for line in migrator_lines(one):
            console.print(Text(f"    {line}"))


def migrator_lines(one: MigratorResult) -> Iterator[str]:
    """What became of a migration tool, in sentences."""
    if one.exit_alone != 0:
        yield f"a single run ends with {_exit(one.exit_alone)}: {one.said_alone}"
    elif not one.changed_something:
        yield "a single run ends with 0 and changes nothing at all"
    exits = ", ".join(_exit(code) for code in one.exits_at_once)
    yield f"three at once end with {exits}: {_differences(one.differences_at_once)}"
    yield _queue_line(one)
    if not one.killed:
        yield "it never waited for a lock, so it was not killed"
        return
    left = "; ".join(one.left_by_killed[:_MOST_DIFFERENCES])
    if left:
        yield f"after a kill, Postgres went on: {left}"
    again = f"a run after the kill ends with {_exit(one.exit_after_kill)}"
    said = f" ({one.said_after_kill})" if one.said_after_kill else ""
    yield f"{again}{said}: {_differences(one.differences_after_kill)}"


def _queue_line(one: MigratorResult) -> str:
    if one.queued_share is None:
        return "a reader of its tables does not hold it up"
    pause = ", so all requests wait behind it" if one.holds_up else ""
    return (
        f"while a reader held its tables, it stood in the queue for {one.queued_share:.0%} of the "
        f"time{pause}; then it ends with {_exit(one.exit_after_queue)}: "
        f"{_differences(one.differences_after_queue)}"
    )


def _exit(code: int | None) -> str:
    return "no end" if code is None else str(code)


def _differences(found: tuple[str, ...]) -> str:
    if not found:
        return "the same database"
    more = len(found) - _MOST_DIFFERENCES
    rest = f" and {more} more" if more > 0 else ""
    return "; ".join(found[:_MOST_DIFFERENCES]) + rest


def _print_locks(console: Console, locks: Iterable[HeldLock], at_rows: int | None) -> None:
    """The locks that hold up writes: on which table, for how long, with which statement."""
    locks = [one for one in locks if one.blocks]
    if not locks:
        return
    rows = locks[0].seconds[-1][0]
    console.print()
    console.print(f"Locks that hold up requests, with {rows:,} rows", style="bold")
    for one in locks:
        console.print(Padding(Text(lock_words(one, at_rows)), (0, 0, 0, 2)))
        console.print(Padding(Text(one.statement, _DIM), (0, 0, 0, 4)))


def lock_words(one: HeldLock, at_rows: int | None) -> str:
    """How long a lock is held, who waits for it, and how long it would be with so many rows."""
    whom = "reads and writes" if one.mode == BLOCKING[-1] else "writes"
    text = f"{one.change}: {one.mode} on {one.table} for {_time(one.seconds[-1][1])} ({whom})"
    if one.rewrites:
        text += ", and rewrites the table"
    if held_up := max((seconds for _, seconds in one.held_up), default=0.0):
        text += f"; a request waited for {_time(held_up)} behind it"
    if waited := max((seconds for _, seconds in one.waited), default=0.0):
        text += f"; it waited for {_time(waited)} itself"
    if at_rows is not None:
        text += f"; with {at_rows:,} rows {_about(*one.at(at_rows))}"
    return text


def _print_findings(console: Console, found: Iterable[MigrationFinding]) -> None:
    """What was observed of the migrations themselves, with the safe way of each."""
    found = list(found)
    if not found:
        return
    styles = {"error": _BAD, "warning": "yellow", "note": _DIM}
    console.print()
    console.print("Migrations, as observed on a copy", style="bold")
    for one in found:
        where = f"{one.file.rpartition('/')[2]}:{one.line} "
        text = Text.assemble(where, (one.rule, styles[one.level]), f": {one.observed}")
        console.print(Padding(text, (0, 0, 0, 2)))
        console.print(Padding(Text(f"safe: {one.recipe}", _DIM), (0, 0, 0, 4)))


def _print_suggestion(console: Console, found: CheckedSuggestion, strategy: str) -> None:
    """What was written, how it is used, and what a check of it says."""
    console.print()
    console.print("Suggestion", style="bold")
    for line in suggestion_lines(found, strategy):
        console.print(Padding(Text(line), (0, 0, 0, 2)))


def suggestion_lines(found: CheckedSuggestion, strategy: str) -> Iterator[str]:
    """What was written, how it is used, and what a check of it says, in sentences."""
    if found.migrations:
        yield f"{len(found.migrations)} migrations with their rollbacks are in {found.folder}"
        yield "steps = ["
        yield from (f"    {step}," for step in found.steps)
        yield "]"
        safe = ", ".join(found.safe) or "no strategy"
        yield f"checked: safe under {safe}"
        yield from (f"still fails under {strategy}: {one}" for one in found.failures)
        if not found.findings:
            yield "no hazard of its migrations was observed"
        for one in found.findings:
            yield f"still: {one.change} {one.rule}: {one.observed}"
    else:
        yield "nothing was written"
    yield from (f"no rule: {one}" for one in found.left)


def _print_lint(console: Console, findings: Iterable[LintFinding]) -> None:
    """What the linter says, and what the trials say to it."""
    findings = list(findings)
    if not findings:
        return
    styles = {"confirmed": _BAD, "refuted": _GOOD, "open": _DIM}
    console.print()
    console.print("squawk, held to what was observed", style="bold")
    for one in findings:
        head = f"{one.file.rpartition('/')[2]}:{one.line} {one.rule}: "
        why = f": {one.why}" if one.why else ""
        text = Text.assemble(head, (one.judged, styles[one.judged]), why)
        console.print(Padding(text, (0, 0, 0, 2)))


def _about(least: float, most: float) -> str:
    """An estimate with its error."""
    middle = (least + most) / 2
    error = round(100 * (most - least) / 2 / middle) if middle else 0
    return f"about {_time(middle)} ± {error} % ({_time(least)} to {_time(most)})"


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _print_notes(console: Console, report: CheckReport) -> None:
    """What was refused although all requests succeeded: it is healed, or it fails unseen."""
    found: dict[tuple[str, str, str], RefusedStatement] = {}
    for cell in report.observed.cells:
        if cell.ok:
            for one in cell.refused:
                on = f"after {cell.schema[-1]}" if cell.schema else "on the base schema"
                found.setdefault((cell.version, on, one.sqlstate), one)
    if not found:
        return
    console.print()
    console.print("Refused by the database, and seen by no request", style="bold")
    for (version, on, sqlstate), one in found.items():
        console.print(Text(f"  {version} {on}: {sqlstate} ({one.count} times) {one.message}"))
