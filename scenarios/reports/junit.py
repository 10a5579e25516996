"""The verdict as JUnit XML, which every CI system shows.

There is no official schema; this is the common subset of https://github.com/testmoapp/junitxml.
What explains a failure is in the element's text, since some systems show nothing else.
"""

from xml.etree import ElementTree as ET

from scenarios.reports import cause_words, jobs, words
from scenarios.verdict.model import Check, Invariant, Verdict

SHOWN_CAUSES = 5


def junit(verdict: Verdict) -> bytes:
    """One test case for the measurement, one for each objective, one for each invariant."""
    name = words.clean(f"{verdict.scenario}.{verdict.strategy}")
    if verdict.predicted:
        name += ".predicted"
    suite = ET.Element("testsuite", name=name, timestamp=verdict.started_at)
    properties = ET.SubElement(suite, "properties")
    for key, value in (
        ("seed", verdict.seed),
        ("replicas", verdict.replicas),
        ("rate", verdict.rate),
        ("platform", verdict.platform),
        ("predicted", str(verdict.predicted).lower()),
        ("hitless", verdict.hitless),
        ("replay", verdict.replay),
    ):
        ET.SubElement(properties, "property", name=key, value=words.clean(value))
    _measurement(suite, name, verdict)
    for check in verdict.checks:
        _objective(suite, name, check, verdict)
    for invariant in verdict.integrity.invariants:
        _invariant(suite, name, invariant, verdict)
    for kind, attribute in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        suite.set(attribute, str(len(suite.findall(f"testcase/{kind}"))))
    suite.set("tests", str(len(suite.findall("testcase"))))
    suite.set("time", f"{verdict.seconds:.3f}")
    root = ET.Element("testsuites", name="hitless")
    root.append(suite)
    ET.indent(root)
    text = ET.tostring(root, encoding="unicode")
    return f"<?xml version='1.0' encoding='utf-8'?>\n{text}\n".encode()


def _case(suite: ET.Element, name: str, title: str) -> ET.Element:
    return ET.SubElement(suite, "testcase", classname=f"hitless.{name}", name=words.clean(title))


def _measurement(suite: ET.Element, name: str, verdict: Verdict) -> None:
    case = _case(suite, name, "the run can be judged")
    if verdict.verdict == "invalid":
        _end(case, "error", verdict.reasons[0], [*verdict.reasons, f"run again: {verdict.replay}"])
    elif verdict.doubts:
        ET.SubElement(case, "system-out").text = "\n".join(map(words.clean, verdict.doubts))


def _objective(suite: ET.Element, name: str, check: Check, verdict: Verdict) -> None:
    case = _case(suite, name, check.title)
    if check.held is None:
        ET.SubElement(case, "skipped", message=words.clean(check.sentence))
    elif check.held and check.check == "failed_requests" and verdict.control is not None:
        facts = map(words.clean, words.control_facts(verdict.control))
        ET.SubElement(case, "system-out").text = "\n".join(facts)
    elif not check.held:
        lines = [check.sentence, *_explanation(check, verdict), f"run again: {verdict.replay}"]
        _end(case, "failure", check.sentence, lines)


def _explanation(check: Check, verdict: Verdict) -> list[str]:
    if check.check == "termination":
        return [f"{one.replica}: {one.words}" for one in verdict.replica_ends if one.broken]
    if check.check == "jobs" and verdict.jobs is not None:
        return [
            line
            for cause in verdict.jobs.causes
            for line in (
                f"{cause.count:,} {jobs.cause_line(cause)}",
                *(f"    {told}" for told in jobs.cause_lines(cause)),
            )
        ]
    if check.check not in ("failed_requests", "availability"):
        return []
    lines = [] if verdict.control is None else words.control_facts(verdict.control)
    for cause in verdict.causes[:SHOWN_CAUSES]:
        evidence = cause.evidence
        excused = f" ({cause_words.excused_text(cause)})" if cause.excused else ""
        lines += [
            f"{cause.count:,} {cause_words.line_of(cause)}{excused}",
            f"    endpoints: {words.counted(evidence.endpoints)}",
            f"    during {words.counted(evidence.steps)}",
            f"    examples: {' '.join(evidence.requests[:3])}",
        ]
    lines += [
        f"downtime from {words.instant(window.start)}: at least "
        f"{words.duration(window.seconds_lower)}, up to {words.share(window.peak_error_ratio)} of "
        "requests failed"
        for window in verdict.downtime
    ]
    return lines


def _invariant(suite: ET.Element, name: str, invariant: Invariant, verdict: Verdict) -> None:
    case = _case(suite, name, f"{invariant.invariant}: {invariant.title}")
    if invariant.violations:
        lines = [
            f"{violation.subject}: expected {violation.expected}, found {violation.found} "
            f"({' '.join(violation.requests)})"
            for violation in verdict.integrity.violations
            if violation.invariant == invariant.invariant
        ]
        message = f"violated for {invariant.violations:,} of {invariant.checked:,} subjects"
        _end(case, "failure", message, lines)


def _end(case: ET.Element, kind: str, message: str, lines: list[str]) -> None:
    ended = ET.SubElement(case, kind, message=words.clean(message), type=kind)
    ended.text = "\n".join(words.clean(line) for line in lines)
