"""The verdict as Markdown, such as a GitHub step summary.

A step summary over 1,024 KiB is refused as a whole, so the text is cut before that.
"""

from collections.abc import Iterable, Sequence

from scenarios.reports import cause_words, jobs, service_words, words
from scenarios.reports.sentence import beside, summary_of
from scenarios.verdict.model import Cause, ControlComparison, ControlRow, Verdict

LIMIT_BYTES = 1_000_000
SHOWN_CAUSES = 10
SHOWN_VIOLATIONS = 10
SIGN = {"pass": "✅", "fail": "❌", "invalid": "⚠️"}
SPECIAL = "\\`*_[]<>#!|~$"


def summary(verdict: Verdict, folder: str | None = None) -> str:
    """The verdict, its causal sentence, the numbers, the causes, the data, and what was not seen.

    Args:
        verdict: what.
        folder: where the evidence is, such as the name of a CI artifact.
    """
    told = summary_of(verdict)
    run = " · ".join(escape(one) for one in words.run_name(verdict))
    lines = [
        f"## {SIGN[verdict.verdict]} {verdict.verdict.upper()}: {run}",
        "",
        f"**{escape(told.sentence)}**",
        "",
        *([escape(told.safe_way), ""] if told.safe_way else []),
        *_bullets((*beside(verdict, told), *verdict.doubts)),
        *_table(("", ""), _numbers(verdict)),
        *_causes("Why requests failed", "failed", verdict.causes),
        *_control(verdict.control),
        *_advice(verdict),
        *_causes("Why requests were slow", "slow", verdict.slow_causes),
        *_rescued(verdict),
        *_ways_out(verdict),
        *_probed(verdict),
        *_jobs(verdict),
        *_services(verdict),
        *_cache(verdict),
        *_pooler(verdict),
        *_violations(verdict),
        "### What this run could not detect",
        "",
        *_bullets(verdict.limits),
        f"Run again: {code(verdict.replay)}",
    ]
    if folder is not None:
        lines += ["", f"Evidence: {code(folder)}"]
    return _cut("\n".join(lines) + "\n")


def _bullets(sentences: Sequence[str]) -> list[str]:
    """A list, and the empty line behind it; nothing if there is nothing to list."""
    return [*(f"- {escape(one)}" for one in sentences), ""] if sentences else []


def escape(text: object) -> str:
    """Text from outside without any effect on Markdown or HTML."""
    plain = words.clean(text)
    return "".join(f"\\{letter}" if letter in SPECIAL else letter for letter in plain)


def code(text: str) -> str:
    """Text from outside as inline code, fenced by more backticks than it holds in a row."""
    plain = words.clean(text)
    fence = "`"
    while fence in plain:
        fence += "`"
    pad = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{fence}{pad}{plain}{pad}{fence}"


def _numbers(verdict: Verdict) -> Iterable[tuple[str, str]]:
    yield "Requests", escape(words.requests_text(verdict))
    yield "Availability", escape(verdict.availability.text)
    yield "Downtime", escape(words.downtime_text(verdict))
    if verdict.users.staying:
        yield "Users", escape(words.users_text(verdict.users))
    if verdict.streams.words:
        yield "Streams", escape(verdict.streams.words)
    yield "Latency", escape(words.latency_text(verdict.latency))
    yield "Data", escape(words.integrity_text(verdict))
    if verdict.budget is not None:
        yield "Budget", escape(words.budget_text(verdict.budget))
    if platform := words.platform_text(verdict):
        yield "Platform", escape(platform)
    if protocol := words.protocol_text(verdict):
        yield "Protocol", escape(protocol)
    yield "Release", escape(words.release_text(verdict))


def _causes(title: str, what: str, causes: Sequence[Cause]) -> list[str]:
    if not causes:
        return []
    head = (what, "cause", "versions", "endpoints", "during", "example")
    return [f"### {title}", "", *_table(head, [_cause(cause) for cause in causes[:SHOWN_CAUSES]])]


def _cause(cause: Cause) -> tuple[str, ...]:
    evidence = cause.evidence
    return (
        f"{cause.count:,}",
        escape(cause_words.line_of(cause))
        + (f" ({escape(cause_words.excused_text(cause))})" if cause.excused else ""),
        escape(words.counted(evidence.versions)),
        escape(words.counted(evidence.endpoints)),
        escape(words.counted(evidence.steps)),
        escape(" ".join(evidence.requests[:1])),
    )


def _control(control: ControlComparison | None) -> list[str]:
    if control is None:
        return []
    lines = [f"- {escape(fact)}" for fact in words.control_facts(control)]
    rows = [tuple(map(escape, words.control_row(row))) for row in _control_rows(control)]
    shown = _table(words.CONTROL, rows) if rows else []
    return ["### Compared with the control run", "", *lines, "", *shown]


def _control_rows(control: ControlComparison) -> Sequence[ControlRow]:
    return (*control.rows, *control.slow_rows)[:SHOWN_CAUSES]


def _rescued(verdict: Verdict) -> list[str]:
    said = verdict.rescued.words
    return ["### Saved by the balancer", "", f"- {escape(said)}", ""] if said else []


def _ways_out(verdict: Verdict) -> list[str]:
    if not verdict.replica_ends:
        return []
    shown, more = words.shown_ends(verdict)
    rows = (tuple(map(escape, words.way_out(one))) for one in shown)
    rest = [f"{more:,} more replicas are in `verdict.json`.", ""] if more else []
    return ["### How replicas ended", "", *_table(words.WAY_OUT, rows), *rest]


def _probed(verdict: Verdict) -> list[str]:
    lines = []
    for one in verdict.probed:
        rows = [tuple(map(escape, row)) for row in one.findings.items()]
        lines += [f"### {escape(words.probed_title(one))}", ""]
        lines += [f"- {escape(sentence)}" for sentence in words.predicted(one)]
        lines += ["", *_table(("question", "seen"), rows)]
    return lines


def _advice(verdict: Verdict) -> list[str]:
    if not verdict.advice:
        return []
    lines = (f"- {escape(one.sentence)}" for one in verdict.advice)
    return ["### Settings that would have prevented failures", "", *lines, ""]


def _jobs(verdict: Verdict) -> list[str]:
    found = verdict.jobs
    if found is None:
        return []
    lines = ["### Jobs", "", escape(jobs.jobs_text(found)), ""]
    if found.causes:
        rows = [tuple(map(escape, jobs.cause_row(one))) for one in found.causes[:SHOWN_CAUSES]]
        lines += _table(jobs.CAUSES, rows)
    if found.stops:
        lines += _table(jobs.STOPS, [tuple(map(escape, jobs.stop_row(one))) for one in found.stops])
    return lines


def _services(verdict: Verdict) -> list[str]:
    if not verdict.services:
        return []
    rows = [tuple(map(escape, service_words.service_row(one))) for one in verdict.services]
    return ["### Services", "", *_table(service_words.SERVICES, rows)]


def _pooler(verdict: Verdict) -> list[str]:
    if not verdict.pooler:
        return []
    return ["### Pooler", "", *(f"- {escape(one.sentence)}" for one in verdict.pooler), ""]


def _cache(verdict: Verdict) -> list[str]:
    if not verdict.cache:
        return []
    return ["### Cache", "", *(f"- {escape(one.sentence)}" for one in verdict.cache), ""]


def _violations(verdict: Verdict) -> list[str]:
    shown = verdict.integrity.violations[:SHOWN_VIOLATIONS]
    if not shown:
        return []
    rows = [
        (
            escape(violation.invariant),
            escape(violation.subject),
            escape(violation.expected),
            escape(violation.found),
            escape(" ".join(violation.requests[:3])),
        )
        for violation in shown
    ]
    head = ("invariant", "subject", "expected", "found", "requests")
    more = verdict.integrity.violation_count - len(shown)
    rest = [f"and {more:,} more", ""] if more else []
    return ["### Data", "", *_table(head, rows), *rest]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
    ]


def _cut(text: str) -> str:
    data = text.encode()
    if len(data) <= LIMIT_BYTES:
        return text
    return (
        data[:LIMIT_BYTES].decode(errors="ignore") + "\n\n(truncated; report.html has the rest)\n"
    )
