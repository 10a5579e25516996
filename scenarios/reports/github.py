"""The verdict as GitHub Actions shows it: annotations beside the log.

A step may have ten annotations of a kind, so that is how many there are; the step summary
(`scenarios.reports.markdown`) has the rest.
"""

from collections.abc import Iterable

from scenarios.reports import cause_words, words
from scenarios.reports.sentence import beside, summary_of
from scenarios.verdict.model import Verdict

MOST = 10


def annotations(verdict: Verdict) -> list[str]:
    """Workflow commands: an error for why a run failed and for each cause, else warnings."""
    run = ", ".join(words.run_name(verdict)[: 3 if verdict.predicted else 2])
    doubts = [annotation("warning", f"hitless doubts: {run}", text) for text in verdict.doubts]
    if verdict.verdict == "pass":
        return doubts[:MOST]
    kind = "error" if verdict.verdict == "fail" else "warning"
    title = f"hitless {verdict.verdict}: {run}"
    found = [annotation(kind, title, text) for text in _sentences(verdict)][:MOST]
    room = MOST if kind == "error" else MOST - len(found)
    return found + doubts[:room]


def _sentences(verdict: Verdict) -> Iterable[str]:
    summary = summary_of(verdict)
    yield f"{summary.sentence} {summary.safe_way}".strip()
    yield from beside(verdict, summary)
    for cause in verdict.causes:
        evidence = cause.evidence
        yield (
            f"{cause.count:,} {cause_words.line_of(cause)}; endpoints: "
            f"{words.counted(evidence.endpoints, 2)}; during {words.counted(evidence.steps, 2)}"
        )


def annotation(
    kind: str, title: str, text: str, *, file: str | None = None, line: int | None = None
) -> str:
    """One workflow command; nothing in the text can end it or begin another.

    Escapes as actions/toolkit does (`packages/core/src/command.ts`).

    Args:
        kind: `error`, `warning` or `notice`.
        title: its title.
        text: what it says.
        file: the file that it is about, relative to the repository.
        line: the line of that file.
    """
    where = ""
    if file is not None:
        where = f"file={_property(file)},"
        where += f"line={line}," if line is not None else ""
    return f"::{kind} {where}title={_property(title)}::{_escape(words.clean(text))}"


def _property(text: str) -> str:
    return _escape(words.clean(text)).replace(":", "%3A").replace(",", "%2C")


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
