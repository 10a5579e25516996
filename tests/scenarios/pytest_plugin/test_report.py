"""What a test gets of a rollout, without one: the report of a run that was recorded."""

from collections import Counter
from pathlib import Path

import pytest

from scenarios.pytest_plugin.session import CAUSES_SHOWN, Report
from scenarios.review import review
from tests.scenarios.pytest_plugin.test_plugin import run_pytest
from tests.support.evidence import Evidence, clean


def reported(run: Evidence, folder: Path) -> Report:
    """The report of a recorded run."""
    return Report(review(run.write(folder)), folder)


@pytest.fixture
def broken(tmp_path: Path) -> Report:
    """The report of a run with two causes, a lost row and a request that was not sent."""
    run = clean().failing(2.5, 2.6, status=500, sqlstate="23502").failing(3.0, 3.04, status=418)
    run = run.failing(4.51, 4.52, status=None, error="undispatched", sent_ns=None)
    after = [row for row in run.after or () if row.subject != "u0@example.com"]
    return reported(run.but(after=after), tmp_path / "run")


def test_a_report_of_a_pass(tmp_path: Path) -> None:
    """Nothing failed, nothing is wrong with the data, and the release completed."""
    report = reported(clean(), tmp_path / "run")
    assert report.passed
    assert (report.failed, report.violations, report.causes) == ([], [], {})
    assert report.outcome == "completed"
    assert report.folder == tmp_path / "run"


def test_a_report_of_a_failure(broken: Report) -> None:
    """Failed requests, those that were not sent included, their causes, and what data is wrong."""
    assert not broken.passed
    assert Counter(one.status or one.error for one in broken.failed) == {
        500: 10,
        418: 4,
        "undispatched": 1,
    }
    assert broken.causes == {"sqlstate:23502": 10, "status:418": 4}
    assert "u0@example.com" in {one.subject for one in broken.violations}
    assert broken.violations == list(broken.verdict.integrity.violations)


def test_the_lines_below_a_failed_assertion(broken: Report) -> None:
    """Reasons, causes with examples, downtime, broken promises, the command and the folder."""
    lines, verdict = broken.lines(), broken.verdict
    assert lines[0] == "FAIL expand-contract under rolling: 15 of 628 requests failed"
    text = "\n".join(lines)
    for reason in verdict.reasons:
        assert reason in text
    for cause in verdict.causes:
        example = ", ".join(cause.evidence.requests[:3])
        assert f"  {cause.count:,} of {cause.cause}: {cause.title} (e.g. {example})" in lines
    assert any(line.startswith("  downtime: at least ") for line in lines)
    shown = verdict.integrity.violations[:CAUSES_SHOWN]
    for one in shown:
        assert (
            f"  {one.invariant}: {one.subject}: expected {one.expected}, found {one.found}" in lines
        )
    assert lines[-2:] == [f"  again: {verdict.replay}", f"  evidence: {broken.folder}"]
    assert repr(broken) == text


ASKED = """
import pytest

@pytest.fixture(scope="session")
def hitless_session():
    class Session:
        def run(self, **asked):
            return asked
    return Session()

class Test:
    pytestmark = pytest.mark.hitless("outer.toml", "canary", rate=3, seed=1)

    @pytest.mark.hitless(strategy="naive", rate=5)
    def test_markers(self, rollout, request):
        asked = rollout(rate=7, settings=["policy.replicas=9"])
        assert asked.pop("folder") == request.path.parent
        assert asked.pop("out") == request.path.parent / "out"
        assert asked == {
            "scenario": "outer.toml", "strategy": "naive", "rate": 7, "seed": 1,
            "settings": ["policy.replicas=9"],
        }

def test_default(rollout):
    asked = rollout()
    assert (asked["scenario"], asked["strategy"]) == ("expand-contract", "rolling")
"""


def test_the_closest_word_counts(tmp_path: Path) -> None:
    """A call goes over the test's marker, that over its class's, and that over the default."""
    (tmp_path / "test_it.py").write_text(ASKED)
    code, output = run_pytest(tmp_path, f"--hitless-out={tmp_path / 'out'}", "--strict-markers")
    assert code == 0, output
    assert "2 passed" in output


def test_a_database_of_ones_own(tmp_path: Path) -> None:
    """`--hitless-database` is the server that is used; one that does not answer is named."""
    (tmp_path / "test_it.py").write_text("def test_it(rollout):\n    rollout()\n")
    url = "postgresql://me:hush@127.0.0.1:1/nothing"
    code, output = run_pytest(tmp_path, f"--hitless-database={url}")
    assert code == 1, output
    assert "EnvironmentFailure" in output
    assert "127.0.0.1:1/nothing does not answer" in output
