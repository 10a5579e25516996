"""The verdict as GitHub Actions shows it: annotations beside the log.

A step may have ten annotations of a kind, so that is how many there are; the step summary
(`scenarios.reports.markdown`) has the rest.
"""

from collections.abc import Iterable

from scenarios.reports import words
from scenarios.verdict.model import Verdict

MOST = 10


def annotations(verdict: Verdict) -> list[str]:
    """Workflow commands: an error for each reason and cause of a fail, else warnings."""
    run = ", ".join(words.run_name(verdict)[: 3 if verdict.predicted else 2])
    if verdict.verdict == "pass":
        return [annotation("warning", f"hitless doubts: {run}", text) for text in verdict.doubts]
    kind = "error" if verdict.verdict == "fail" else "warning"
    title = f"hitless {verdict.verdict}: {run}"
    return [annotation(kind, title, text) for text in _sentences(verdict)][:MOST]


def _sentences(verdict: Verdict) -> Iterable[str]:
    yield from verdict.reasons
    for cause in verdict.causes:
        evidence = cause.evidence
        yield (
            f"{cause.count:,} {words.cause_line(cause)}; endpoints: "
            f"{words.counted(evidence.endpoints, 2)}; during {words.counted(evidence.steps, 2)}"
        )


def annotation(kind: str, title: str, text: str) -> str:
    """One workflow command; nothing in the text can end it or begin another.

    Escapes as actions/toolkit does (`packages/core/src/command.ts`).
    """
    name = _escape(words.clean(title)).replace(":", "%3A").replace(",", "%2C")
    return f"::{kind} title={name}::{_escape(words.clean(text))}"


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
