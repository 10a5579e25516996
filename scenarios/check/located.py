"""All that a check has to say of single lines: for SARIF, and for annotations of a pull request."""

from collections.abc import Iterator

import msgspec

from scenarios.check.check_report import CheckReport
from scenarios.check.hazard_rules import Level
from scenarios.check.safety import Hazard


class LocatedResult(msgspec.Struct, frozen=True, kw_only=True):
    """Something about a line of a file.

    Attributes:
        rule: the name of the rule.
        title: what the rule is about.
        level: how bad it is.
        file: the file, relative to the repository, or a `file:` URI outside of it.
        line: the line, from 1 on.
        text: what was observed, and the safe way.
        recipe: the safe way; empty where there is none.
        about: what tells this result from others of its rule.
    """

    rule: str
    title: str
    level: Level
    file: str
    line: int
    text: str
    recipe: str
    about: str


def located_results(report: CheckReport) -> tuple[LocatedResult, ...]:
    """What fails under the chosen strategy, what was observed of the migrations, and the linter's.

    Args:
        report: the check.
    """
    return (*_hazards(report), *_findings(report), *_lint(report))


def _hazards(report: CheckReport) -> Iterator[LocatedResult]:
    """Failures of the release; those that a finding of a migration tells already are left out."""
    told = {(one.change, one.sqlstate) for one in report.findings if one.sqlstate is not None}
    for hazard in report.chosen.hazards:
        change = hazard.schema[-1] if hazard.schema else ""
        kind, _, code = hazard.cause.partition(":")
        if kind == "sqlstate" and (change, code) in told:
            continue
        step = hazard.path[-1].partition(":")[0] if hazard.path else ""
        # What the database refuses is a matter of the schema, all else of the step.
        names = (change, step) if kind == "sqlstate" else (step, change)
        at = next((report.locations[one] for one in (*names, "") if one in report.locations), None)
        if at is None:
            continue
        yield LocatedResult(
            rule=f"unsafe/{kind}",
            title=_KINDS.get(kind, "A version fails in a state that the release reaches."),
            level="error",
            file=_uri(at.file),
            line=at.line,
            text=f"Under {report.strategy}: {hazard.story}",
            recipe="",
            about=_about(hazard),
        )


def _findings(report: CheckReport) -> Iterator[LocatedResult]:
    for one in report.findings:
        yield LocatedResult(
            rule=one.rule,
            title=one.title,
            level=one.level,
            file=_uri(one.file),
            line=one.line,
            text=f"{one.title} Observed: {one.observed}. The safe way: {one.recipe}.",
            recipe=one.recipe,
            about=f"{one.change}/{one.sqlstate or ''}",
        )


def _lint(report: CheckReport) -> Iterator[LocatedResult]:
    levels: dict[str, Level] = {"confirmed": "warning", "open": "note"}
    for one in report.lint:
        if one.judged in levels:
            why = f": {one.why}" if one.why else ""
            yield LocatedResult(
                rule=f"squawk/{one.rule}",
                title=f"squawk: {one.rule}",
                level=levels[one.judged],
                file=_uri(one.file),
                line=one.line,
                text=f"{one.message} ({one.judged}{why})",
                recipe="",
                about=one.change,
            )


_KINDS = {
    "sqlstate": "The database refuses a statement of a version that serves.",
    "status": "A version that serves answers a request of another one with an error.",
    "no_backend": "There is a moment in which no version serves.",
    "not_ready": "A version that serves could not be started again.",
    "answer_changed": "A version answers otherwise than its clients know.",
    "warm_connections": "A version answers otherwise on connections from before a change.",
}


def _about(hazard: Hazard) -> str:
    return f"{hazard.version}/{hazard.endpoint}/{hazard.cause}"


def _uri(path: str) -> str:
    """A path within the repository as it is; another one as a URI."""
    return f"file://{path}" if path.startswith("/") else path
