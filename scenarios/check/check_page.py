"""The result of a check as a page: one HTML file that opens anywhere, with no network, and prints.

First the verdict with the shortest way to the first failure, then the versions on the schemas, the
strategies, the ways back, and the migrations with their locks and the safe way of each.
"""

from collections.abc import Iterable, Sequence

from scenarios.check.check_report import CheckReport
from scenarios.check.check_screen import (
    label_of,
    lock_words,
    migrator_lines,
    order_words,
    short_cause,
    suggestion_lines,
    ways_back_that_differ,
)
from scenarios.check.migration_findings import MigrationFinding
from scenarios.check.observed import SchemaKey
from scenarios.check.safety import Hazard
from scenarios.reports.page.frame import bullets, page, table, to_copy
from scenarios.reports.page.markup import Html

_NOTHING = Html("")
_MARKS = {"error": "wrong", "warning": "doubt", "note": "soft"}


def check_page(report: CheckReport, *, at_rows: int | None = None) -> str:
    """The page of a check.

    Args:
        report: the result.
        at_rows: for how many rows the locks are extrapolated; None: they are not.
    """
    parts = (
        ("story", "Story", _story(report)),
        ("matrix", "Versions on schemas", _matrix(report)),
        ("strategies", "Strategies", _strategies(report)),
        ("back", "Ways back", _ways_back(report)),
        ("migrations", "Migrations", _migrations(report, at_rows)),
        ("suggestion", "Suggestion", _suggestion(report)),
        ("tools", "Migration tools", _tools(report)),
        ("lint", "Linter", _lint(report)),
    )
    shown = [(anchor, name, html) for anchor, name, html in parts if html]
    links = Html().join(
        Html('<a href="#part-{}">{}</a>').format(anchor, name) for anchor, name, _ in shown
    )
    sections = Html().join(
        Html('<div id="part-{}"><section><h2>{}</h2>{}</section></div>').format(anchor, name, html)
        for anchor, name, html in shown
    )
    command = f"hitless check {report.scenario} --strategy {report.strategy}"
    body = Html(
        '{}<nav aria-label="Parts of this page">{}</nav><main class="whole">{}{}</main>'
        "<footer>{}</footer>"
    ).format(_head(report), links, _facts(report), sections, to_copy("Check again:", command))
    title = f"{report.verdict.upper()}: {report.scenario} · {report.strategy}"
    return page(title, body)


def _head(report: CheckReport) -> Html:
    chosen = report.chosen
    sentences = []
    if chosen.hazards:
        sentences.append(f"{_capital(chosen.hazards[0].story)}.")
    elif chosen.safe:
        sentences.append(
            f"Nothing fails in the {chosen.states} states that the release passes through."
        )
    if chosen.outcome != "completed":
        sentences.append(f"The release ends as {_plain(chosen.outcome)}: {chosen.reason}.")
    if chosen.outcome != report.expected:
        sentences.append(f"Expected was that it ends as {_plain(report.expected)}.")
    sentences += [f"Not tried: {one}." for one in chosen.untried]
    return Html(
        '<header><h1><span class="badge {}">{}</span>{}</h1>{}'
        '<p class="soft">hitless check · {} trials, {} of them known from an earlier check</p>'
        "</header>"
    ).format(
        "pass" if report.passed else "fail",
        report.verdict.upper(),
        f"{report.scenario} · {report.strategy}",
        Html().join(Html('<p class="sentence">{}</p>').format(one) for one in sentences),
        report.trials,
        report.cached,
    )


def _facts(report: CheckReport) -> Html:
    safe = [name for name, one in report.strategies.items() if one.safe]
    serious = [one for one in report.findings if one.level != "note"]
    impossible = [one for one in report.chosen.ways_back if not one.possible]
    facts = (
        (
            "strategies that are safe",
            f"{len(safe)} of {len(report.strategies)}",
            ", ".join(safe) or "none",
            not safe,
        ),
        (
            "failures",
            str(len(report.chosen.hazards)),
            f"under {report.strategy}",
            bool(report.chosen.hazards),
        ),
        (
            "migrations",
            f"{len(serious)} hazards" if len(serious) != 1 else "1 hazard",
            "observed on a copy of the database",
            bool(serious),
        ),
        (
            "ways back",
            "all" if not impossible else "not all",
            f"impossible: {impossible[0].serving} → {impossible[0].to} {impossible[0].moment}"
            if impossible
            else "each version can return at each moment",
            bool(impossible),
        ),
    )
    cards = Html().join(
        Html('<div class="fact"><span>{}</span><b{}>{}</b><span>{}</span></div>').format(
            name, Html(" class=bad") if bad else "", value, text
        )
        for name, value, text, bad in facts
    )
    return Html('<section class="facts" aria-label="Key results">{}</section>').format(cards)


def _story(report: CheckReport) -> Html:
    hazards = report.chosen.hazards
    if not hazards:
        return _NOTHING
    first = hazards[0]
    steps = [*(first.path or ("before the release",)), _failure(first)]
    told = Html().join(Html("<li>{}</li>").format(one) for one in steps)
    statement = (
        Html('<p class="logs">{}</p>').format(first.statement) if first.statement else _NOTHING
    )
    rows = [
        (
            one.path[-1] if one.path else "before the release",
            " and ".join(one.serving) or "nobody",
            one.what,
            one.statement or "",
        )
        for one in hazards[1:]
    ]
    more = table(("after", "who serves", "what fails", "statement"), rows, "What else fails")
    return Html('<div class="first"><ol>{}</ol>{}</div>{}').format(told, statement, more)


def _failure(hazard: Hazard) -> Html:
    serve = " and ".join(hazard.serving)
    lead = f"while {serve} serve{'s' if len(hazard.serving) == 1 else ''}: " if serve else ""
    return Html('{}<strong class="wrong">{}</strong>').format(lead, hazard.what)


def _matrix(report: CheckReport) -> Html:
    rows = [
        (row.name, row.title, *(_cell(report, row.schema, one) for one in report.versions))
        for row in report.schemas
    ]
    old, new = report.versions[0], report.versions[-1]
    found = report.old_and_new
    four = (
        (f"warm {old} on the new schema", found.old_warm_on_new),
        (f"fresh {old} on the new schema", found.old_fresh_on_new),
        (f"{new} on the old schema", found.new_on_old),
        (f"{new} on the new schema", found.new_on_new),
    )
    beside = table(
        [name for name, _ in four], [[_word(*label_of(cell)) for _, cell in four]], "Old and new"
    )
    return Html('{}{}<p class="soft">· is a schema that the version never meets.</p>').format(
        table(("", "schema", *(f"version {one}" for one in report.versions)), rows, ""), beside
    )


def _cell(report: CheckReport, schema: SchemaKey, version: str) -> Html:
    warm = report.observed.cell(schema, version, "warm")
    fresh = report.observed.cell(schema, version, "fresh")
    if warm is None or fresh is None or label_of(warm) == label_of(fresh):
        return _word(*label_of(warm or fresh))
    return Html("<span>warm {}, fresh {}</span>").format(
        _word(*label_of(warm)), _word(*label_of(fresh))
    )


def _word(text: str, style: str) -> Html:
    kind = {"green": "good", "dim": "soft"}.get(style, "wrong")
    return Html('<span class="{}">{}</span>').format(kind, text)


def _strategies(report: CheckReport) -> Html:
    rows = []
    for name, one in report.strategies.items():
        first = one.hazards[0] if one.hazards else None
        why = ""
        if first is not None:
            at = first.path[-1] if first.path else "before the release"
            why = f"{at}: {first.version or 'nobody'} {first.endpoint or ''} "
            why += short_cause(first.cause)
        rows.append(
            (
                name,
                _word(*(("safe", "green") if one.safe else ("unsafe", "bold red"))),
                _plain(one.outcome),
                why,
            )
        )
    orders = [order_words(name, order) for name, order in report.safe_orders.items()]
    return Html("{}{}").format(
        table(("strategy", "", "ends", "first failure"), rows, ""),
        bullets(orders, "") if orders else "",
    )


def _ways_back(report: CheckReport) -> Html:
    rows = [
        (
            one.moment,
            f"{one.serving} → {one.to}",
            _word(*(("possible", "green") if one.possible else ("impossible", "bold red"))),
            one.why or "",
        )
        for one in ways_back_that_differ(report.chosen.ways_back)
    ]
    return table(("when", "way back", "", "why not"), rows, "")


def _migrations(report: CheckReport, at_rows: int | None) -> Html:
    rows = [
        (
            one.change,
            ", ".join(f"{mode} on {table_}" for table_, mode in _locks(report, one.change)),
            ", ".join(sorted({each.rewrites for each in one.statements if each.rewrites})),
            _word("fails", "red")
            if one.failed
            else _counted(find for find in report.findings if find.change == one.change),
        )
        for one in report.observed.effects
    ]
    locks = [lock_words(one, at_rows) for one in report.observed.locks if one.blocks]
    return Html("{}{}{}").format(
        table(("migration", "locks on live tables", "rewrites", "hazards"), rows, ""),
        Html().join(_advice(one) for one in report.findings),
        Html("<h3>How long locks are held</h3>{}").format(bullets(locks, "")) if locks else "",
    )


def _locks(report: CheckReport, change: str) -> Sequence[tuple[str, str]]:
    found: dict[str, str] = {}
    for one in report.observed.effects:
        for statement in one.statements if one.change == change else ():
            found |= dict(statement.locks)
    return sorted(found.items())


def _counted(found: Iterable[MigrationFinding]) -> Html:
    rules = list(dict.fromkeys((one.rule, _MARKS[one.level]) for one in found))
    told = Html(", ").join(
        Html('<span class="{}">{}</span>').format(mark, rule) for rule, mark in rules
    )
    return Html("<span>{}</span>").format(told)


def _advice(one: MigrationFinding) -> Html:
    return Html(
        '<div class="first advice"><p><strong class="{}">{}</strong> {}<br>'
        '<span class="mono">{}:{}</span></p><p>{}</p>{}<p class="safe">{}</p></div>'
    ).format(
        _MARKS[one.level],
        one.rule,
        one.title,
        one.file,
        one.line,
        f"{one.observed}.",
        Html('<p class="logs">{}</p>').format(one.statement) if one.statement else "",
        _capital(f"{one.recipe}."),
    )


def _suggestion(report: CheckReport) -> Html:
    if report.suggestion is None:
        return _NOTHING
    lines = "\n".join(suggestion_lines(report.suggestion, report.strategy))
    return Html('<pre class="logs">{}</pre>').format(lines)


def _tools(report: CheckReport) -> Html:
    return Html().join(
        Html("<h3>Step {}: {}: {}</h3>{}").format(
            one.step,
            one.tool,
            _word(*(("ok", "green") if one.ok else ("not ok", "red"))),
            bullets(list(migrator_lines(one)), ""),
        )
        for one in report.observed.migrators
    )


def _lint(report: CheckReport) -> Html:
    rows = [
        (f"{one.file.rpartition('/')[2]}:{one.line}", one.rule, one.judged, one.why)
        for one in report.lint
    ]
    return table(("where", "squawk's rule", "judged", "why"), rows, "")


def _plain(outcome: str) -> str:
    return outcome.replace("_", " ")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
