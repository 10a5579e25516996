"""The findings of a check as SARIF 2.1.0, which GitHub and editors show beside the code.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from collections.abc import Iterable, Mapping
from urllib.parse import quote

import msgspec

from scenarios.check.check_report import CheckReport
from scenarios.check.located import LocatedResult, located_results
from scenarios.reports import words

_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_ROOT = "%SRCROOT%"


def check_sarif(report: CheckReport, version: str) -> bytes:
    """The log: what fails under the chosen strategy, and what was observed of the migrations.

    Args:
        report: the check.
        version: that of hitless.
    """
    results = located_results(report)
    rules = {one.rule: one for one in results}
    order = {name: number for number, name in enumerate(rules)}
    log = {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "hitless",
                        "version": version,
                        "rules": [_rule(one) for one in rules.values()],
                    }
                },
                "automationDetails": {"id": f"hitless/check/{words.clean(report.scenario)}/"},
                "columnKind": "unicodeCodePoints",
                "results": list(_results(results, order)),
            }
        ],
    }
    return msgspec.json.format(msgspec.json.encode(log), indent=2) + b"\n"


def _rule(one: LocatedResult) -> dict[str, object]:
    rule: dict[str, object] = {"id": one.rule, "shortDescription": {"text": words.clean(one.title)}}
    if one.recipe:
        rule["help"] = {"text": f"The safe way: {words.clean(one.recipe)}."}
    return rule


def _results(
    results: Iterable[LocatedResult], order: Mapping[str, int]
) -> Iterable[dict[str, object]]:
    for one in results:
        where: dict[str, object] = {"uri": quote(one.file, safe="/:")}
        if not one.file.startswith("file:"):
            where["uriBaseId"] = _ROOT
        yield {
            "ruleId": one.rule,
            "ruleIndex": order[one.rule],
            "level": one.level,
            "message": {"text": words.clean(one.text)},
            "locations": [
                {"physicalLocation": {"artifactLocation": where, "region": {"startLine": one.line}}}
            ],
            # The line may move without being another finding.
            "partialFingerprints": {"hitless/v1": words.clean(f"{one.rule}/{one.about}")},
        }
