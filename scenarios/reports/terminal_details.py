"""The rest of a verdict in a terminal: every number, and what explains it (`--verbose`)."""

from collections import Counter
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from scenarios.reports import cause_words, jobs, service_words, words
from scenarios.verdict.model import (
    Cause,
    ControlComparison,
    Downtime,
    Jobs,
    Locks,
    ProbedVersion,
    ReplicaEnd,
    Verdict,
    Violation,
)

SHOWN_WINDOWS = 5
SHOWN_CAUSES = 6
SHOWN_VIOLATIONS = 5
SHOWN_BLOCKERS = 4


def details(verdict: Verdict) -> list[RenderableType]:
    """All numbers, and then what explains them, each part under its title."""
    parts: list[RenderableType] = [_title("Numbers"), _numbers(verdict)]
    for title, section in _sections(verdict):
        if section:
            parts += [Text(), _title(title), *section]
    return parts


def _sections(verdict: Verdict) -> Iterable[tuple[str, Sequence[RenderableType]]]:
    """What explains the numbers, each part under its title; empty parts are not shown."""
    yield "Downtime", [_windows(verdict.downtime)] if verdict.downtime else []
    yield "Why requests failed", _causes(verdict.causes)
    yield "Compared with the control run", _control(verdict.control)
    advice = (one.sentence for one in verdict.advice)
    yield "Settings that would have prevented failures", sentences(advice, "→ ", "")
    yield "Why requests were slow", _causes(verdict.slow_causes)
    yield "Locks", _locks(verdict.locks)
    saved = verdict.rescued.words
    yield "Saved by the balancer", [Text(f"  {saved}")] if saved else []
    yield "How replicas ended", _ways_out(verdict.replica_ends)
    for probed in verdict.probed:
        yield words.probed_title(probed), _probed(probed)
    yield "Jobs", _jobs(verdict.jobs)
    yield "Data", _violations(verdict)
    yield "What this run could not detect", sentences(verdict.limits, "· ", "dim")


def _title(text: str) -> Text:
    return Text(text, style="bold")


def sentences(told: Iterable[str], mark: str, style: str) -> list[RenderableType]:
    """Each sentence with a mark before it, indented also where it wraps."""
    lines: list[RenderableType] = []
    for sentence in told:
        grid = Table.grid(padding=0)
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        grid.add_row(Text(f"  {mark}", style), Text(words.clean(sentence), style))
        lines.append(grid)
    return lines


def _numbers(verdict: Verdict) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    failed = "red" if verdict.requests.failed else ""
    grid.add_row("Requests", Text(words.requests_text(verdict), failed))
    grid.add_row("Availability", Text(verdict.availability.text))
    grid.add_row("", Text(words.slots_text(verdict.availability)))
    if verdict.budget is not None:
        spent = "red" if (verdict.budget.spent or 0) > 1 else ""
        grid.add_row("Budget", Text(words.budget_text(verdict.budget), spent))
    if not verdict.downtime:
        grid.add_row("Downtime", Text(words.downtime_text(verdict)))
    if verdict.users.staying:
        grid.add_row("Users", Text(words.users_text(verdict.users)))
    grid.add_row("Latency", Text(words.latency_text(verdict.latency)))
    data = "red" if verdict.integrity.violation_count else ""
    grid.add_row("Data", Text(words.integrity_text(verdict), data))
    for number, one in enumerate(verdict.services):
        title = "" if number else "Services"
        grid.add_row(title, Text(words.clean(service_words.service_text(one))))
    for number, change in enumerate(verdict.cache):
        grid.add_row("" if number else "Cache", Text(words.clean(change.sentence)))
    if verdict.streams.words:
        grid.add_row("Streams", Text(verdict.streams.words))
    if verdict.jobs is not None:
        broken = "red" if verdict.jobs.broken else ""
        grid.add_row("Jobs", Text(words.clean(jobs.jobs_text(verdict.jobs)), broken))
    grid.add_row("Release", Text(words.release_text(verdict)))
    platform = words.platform_text(verdict)
    if platform:
        grid.add_row("Platform", Text(platform))
    if protocol := words.protocol_text(verdict):
        grid.add_row("Protocol", Text(protocol))
    grid.add_row("Harness", Text(words.harness_text(verdict)))
    return grid


def _windows(windows: tuple[Downtime, ...]) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=True, padding=(0, 1))
    for name in ("start", "lasted at least", "at most", "peak failure rate", "failed"):
        table.add_column(name, justify="right")
    shown = sorted(windows, key=lambda window: -window.seconds_lower)[:SHOWN_WINDOWS]
    for window in sorted(shown, key=lambda window: window.start):
        table.add_row(
            words.instant(window.start),
            words.duration(window.seconds_lower),
            "unknown" if window.seconds_upper is None else words.duration(window.seconds_upper),
            words.share(window.peak_error_ratio),
            f"{window.failed:,} of {window.requests:,}",
        )
    hidden = len(windows) - len(shown)
    if hidden > 0:
        return Group(table, Text(f"  and {hidden} shorter ones", "dim"))
    return table


def _causes(causes: tuple[Cause, ...]) -> list[RenderableType]:
    parts: list[RenderableType] = []
    for cause in causes[:SHOWN_CAUSES]:
        line = Text(cause_words.in_words(cause), "bold")
        sure = "" if cause.confidence == "certain" else f", {cause.confidence}"
        line.append(f"  [{words.clean(cause.cause)}{sure}]", "not bold dim")
        if cause.excused:
            line.append(f" ({cause_words.excused_text(cause)})", "not bold dim")
        grid = Table.grid(padding=0)
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        grid.add_row(Text(f"  {cause.count:>6,}  ", "bold red"), line)
        parts += [grid, Padding(Group(*_evidence(cause)), (0, 0, 0, 10))]
    if len(causes) > SHOWN_CAUSES:
        rest = sum(cause.count for cause in causes[SHOWN_CAUSES:])
        parts.append(Text(f"  {rest:>6,}  of {len(causes) - SHOWN_CAUSES} other causes", "dim"))
    return parts


def _evidence(cause: Cause) -> Iterable[Text]:
    evidence = cause.evidence
    if evidence.note:
        yield Text(words.clean(evidence.note))
    if evidence.replicas:
        counted = (
            words.counted(evidence.replicas) if evidence.requests else ", ".join(evidence.replicas)
        )
        yield _fact("replicas", words.clean(counted))
    if not evidence.requests:
        return  # it is why a replica did not start, and no request failed for it
    yield _fact("endpoints", words.counted(evidence.endpoints))
    yield _fact("during", words.counted(evidence.steps))
    if evidence.schemas:
        yield _fact("schema", words.counted(evidence.schemas))
    if evidence.contributing:
        yield _fact("possibly also", words.counted(evidence.contributing))
    yield _fact("time", f"{words.instant(evidence.first)} to {words.instant(evidence.last)}")
    yield _fact("examples", " ".join(words.clean(request) for request in evidence.requests[:3]))


def _fact(name: str, text: str) -> Text:
    return Text.assemble((f"{name}: ", "dim"), text)


def _control(control: ControlComparison | None) -> list[RenderableType]:
    """What is the release's own, and each kind of failure in both runs."""
    if control is None:
        return []
    parts = sentences(words.control_facts(control), "· ", "")
    rows = (*control.rows, *control.slow_rows)
    if rows:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
        for name in words.CONTROL:
            table.add_column(name, overflow="fold")
        for row in rows[:SHOWN_CAUSES]:
            cells = (words.clean(cell) for cell in words.control_row(row))
            table.add_row(*cells, style="red" if row.own else "")
        parts.append(table)
    if len(rows) > SHOWN_CAUSES:
        parts.append(Text(f"  and {len(rows) - SHOWN_CAUSES} more in verdict.json", "dim"))
    return parts


def _locks(locks: Locks) -> list[RenderableType]:
    parts: list[RenderableType] = []
    for blocker in locks.blockers[:SHOWN_BLOCKERS]:
        line = Text(f"  {blocker.requests:>6,}  ", "bold yellow")
        holder = words.clean(blocker.application or "a session")
        noun = "request" if blocker.requests == 1 else "requests"
        line.append(f"{noun} delayed by locks of {holder}", "bold")
        about = f" on {blocker.relation}" if blocker.relation else ""
        waits = "wait" if blocker.waits == 1 else "waits"
        facts = [
            _fact("during", words.clean(blocker.during)),
            Text(
                words.clean(
                    f"{blocker.waits:,} {waits} for {blocker.mode}{about}, "
                    f"up to {words.duration(blocker.seconds)}"
                )
            ),
        ]
        if blocker.queue and "head of the queue" in blocker.queue:
            facts.append(_fact("queue", words.clean(blocker.queue)))
        if blocker.query:
            state = f" ({blocker.state})" if blocker.state else ""
            facts.append(_fact("its query", words.clean(f"{blocker.query}{state}")))
        if blocker.examples:
            facts.append(_fact("examples", words.clean(" ".join(blocker.examples[:3]))))
        parts += [line, Padding(Group(*facts), (0, 0, 0, 10))]
    if locks.deadlocks:
        parts.append(Text(f"  {locks.deadlocks:>6,}  deadlocks (40P01)", "yellow"))
    if locks.gave_way:
        text = f"  {locks.gave_way:>6,}  migration attempts gave up waiting for a lock (55P03)"
        parts.append(Text(text, "yellow"))
    for rewrite in locks.rewrites:
        text = f"          {rewrite.table} was rewritten during {rewrite.during}"
        parts.append(Text(words.clean(text), "yellow"))
    for index in locks.invalid_indexes:
        parts.append(Text(words.clean(f"          the index {index} was left invalid"), "yellow"))
    return parts


def _ways_out(replica_ends: Sequence[ReplicaEnd]) -> list[RenderableType]:
    """Those that stopped as they were asked as one number, and each of the others in a row."""
    others = [one for one in replica_ends if one.way != "stopped"]
    orderly = len(replica_ends) - len(others)
    parts: list[RenderableType] = []
    if orderly:
        parts.append(Text(f"  {orderly:>6,}  stopped as asked"))
    if others:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
        for name in words.WAY_OUT:
            table.add_column(name)
        for one in others:
            style = "red" if one.broken else "yellow"
            table.add_row(*(words.clean(cell) for cell in words.way_out(one)), style=style)
        parts.append(table)
    return parts


def _jobs(found: Jobs | None) -> list[RenderableType]:
    """Each cause with its jobs and what helps, and the longest stops."""
    if found is None:
        return []
    parts: list[RenderableType] = []
    for cause in found.causes:
        grid = Table.grid(padding=0)
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        line = Text(words.clean(cause.title), "bold")
        line.append(f"  [{words.clean(cause.cause)}]", "not bold dim")
        if cause.accepted:
            line.append(" (accepted)", "not bold dim")
        style = "yellow" if cause.accepted else "bold red"
        grid.add_row(Text(f"  {cause.count:>6,}  ", style), line)
        told = [Text(words.clean(line)) for line in jobs.cause_lines(cause)]
        parts += [grid, Padding(Group(*told), (0, 0, 0, 10))]
    return [*parts, *sentences(map(jobs.stop_sentence, found.stops), "· ", "")]


def _probed(probed: ProbedVersion) -> list[RenderableType]:
    """What was predicted, and then what was seen."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for title, text in probed.findings.items():
        grid.add_row(f"  {title}", Text(words.clean(text)))
    return [*sentences(words.predicted(probed), "• ", ""), grid]


def _violations(verdict: Verdict) -> list[RenderableType]:
    integrity = verdict.integrity
    parts: list[RenderableType] = [
        Text.assemble(
            (f"  {invariant.violations:>6,}  ", "bold red"),
            (invariant.invariant, "bold"),
            f"  violated: {invariant.title}",
        )
        for invariant in integrity.invariants
        if invariant.violations
    ]
    for violation in _first_of_each(integrity.violations):
        asked = f" ({' '.join(violation.requests[:3])})" if violation.requests else ""
        text = f"{violation.subject}: expected {violation.expected}, found {violation.found}{asked}"
        parts.append(Padding(Text(words.clean(text)), (0, 0, 0, 10)))
    for said in integrity.logged:
        text = f"not from a failed request: {said}"
        parts.append(Padding(Text(words.clean(text)), (0, 0, 0, 10)))
    return parts


def _first_of_each(violations: tuple[Violation, ...]) -> Iterable[Violation]:
    """A few violations, in turn from each invariant, so that none of them is left out."""
    seen: Counter[str] = Counter()
    ranked = []
    for index, violation in enumerate(violations):
        ranked.append((seen[violation.invariant], index, violation))
        seen[violation.invariant] += 1
    chosen = sorted(ranked, key=lambda item: item[:2])[: max(SHOWN_VIOLATIONS, len(seen))]
    return [violation for _, _, violation in sorted(chosen, key=lambda item: item[1])]
