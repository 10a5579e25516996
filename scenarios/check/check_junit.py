"""The result of a check as JUnit XML: one test case for each version on each schema."""

from xml.etree import ElementTree as ET

from scenarios.check.check_report import CheckReport
from scenarios.check.observed import CellResult
from scenarios.reports import words


def check_junit(report: CheckReport) -> bytes:
    """The XML.

    What fails under the chosen strategy is a failure. What fails on schemas that the version does
    not meet under it, is not: it is left out.
    """
    chosen = report.chosen
    suite = ET.Element("testsuite", name=f"hitless check {report.scenario} {report.strategy}")
    failing = {(one.schema, one.version) for one in chosen.hazards}
    failures = 0
    count = 0
    rows = {row.schema: f"{row.name} {row.title}" for row in report.schemas}
    seen: set[tuple[tuple[str, ...], str]] = set()
    for cell in report.observed.cells:
        key = (cell.schema, cell.version)
        if key in seen or (key not in failing and not _fine(report, cell)):
            continue
        seen.add(key)
        count += 1
        case = ET.SubElement(
            suite,
            "testcase",
            classname=f"{report.scenario}.{report.strategy}",
            name=f"{cell.version} on {rows.get(cell.schema) or cell.schema[-1]}",
        )
        stories = [one.story for one in chosen.hazards if (one.schema, one.version) == key]
        if stories:
            failures += 1
            failure = ET.SubElement(case, "failure", message=words.clean(stories[0]))
            failure.text = words.clean("\n".join(stories))
    count += 1
    case = ET.SubElement(
        suite,
        "testcase",
        classname=f"{report.scenario}.{report.strategy}",
        name=f"the release ends as {report.expected}, and somebody always serves",
    )
    nobody = [one.story for one in chosen.hazards if one.version is None]
    if nobody or chosen.outcome != report.expected:
        failures += 1
        why = nobody[0] if nobody else f"it ends as {chosen.outcome}: {chosen.reason}"
        ET.SubElement(case, "failure", message=words.clean(why))
    suite.set("tests", str(count))
    suite.set("failures", str(failures))
    root = ET.Element("testsuites", name="hitless")
    root.append(suite)
    ET.indent(root)
    text = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'.encode()


def _fine(report: CheckReport, cell: CellResult) -> bool:
    return all(
        one.ok
        for one in report.observed.cells
        if (one.schema, one.version) == (cell.schema, cell.version)
    )
