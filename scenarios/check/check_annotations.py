"""The result of a check as GitHub Actions shows it: annotations at the lines of migrations."""

from scenarios.check.check_report import CheckReport
from scenarios.check.located import located_results
from scenarios.reports.github import MOST, annotation

_KINDS = {"error": "error", "warning": "warning", "note": "notice"}


def check_annotations(report: CheckReport) -> list[str]:
    """Workflow commands: for each result one at its line; a step may have ten of a kind.

    Args:
        report: the check.
    """
    lines: list[str] = []
    count = dict.fromkeys(_KINDS.values(), 0)
    for one in located_results(report):
        kind = _KINDS[one.level]
        count[kind] += 1
        if count[kind] <= MOST:
            # Annotations lie within the repository; others are shown beside the log.
            file = None if one.file.startswith("file:") else one.file
            title = f"hitless {one.rule}"
            lines.append(annotation(kind, title, one.text, file=file, line=one.line))
    return lines
