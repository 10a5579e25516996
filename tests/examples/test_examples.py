"""The examples are applications of other people: each passes, and its broken variant is caught."""

import shutil
from pathlib import Path

import pytest

from scenarios.scenario.reader import load
from tests.support.runs import released

pytestmark = [pytest.mark.matrix, pytest.mark.timeout(180)]

EXAMPLES = Path(__file__).parents[2] / "examples"
needs_node = pytest.mark.skipif(
    shutil.which("node") is None, reason="the Node example needs `node` on PATH"
)
AS_TESTS = "plain"  # both of its scenarios are run as `test_release.py`: see test_pytest_plugin.py
OF_THEIR_OWN = ("feed", "queue-celery", "queue-postgres")  # see test_queues.py and test_feed.py
needs_redis = pytest.mark.skipif(
    shutil.which("redis-server") is None, reason="the cache needs `redis-server` on PATH"
)
ALL = [
    pytest.param("node", marks=needs_node),
    pytest.param("flask-alembic"),
    pytest.param("django"),
    pytest.param("uvicorn"),
    pytest.param("services"),
    pytest.param("cache", marks=[needs_redis, pytest.mark.soak]),
]


# A busy machine may delay the users; that is not what is tested here.
PATIENT = ("--set", "objectives.schedule_lag_p99_seconds=2")


def test_every_example_is_tested() -> None:
    """Each folder of examples has a scenario, a broken variant, and its place in this list."""
    folders = {path.parent.name for path in EXAMPLES.glob("*/scenario.toml")}
    assert folders == {path.parent.name for path in EXAMPLES.glob("*/broken.toml")}
    assert folders == {AS_TESTS, *OF_THEIR_OWN, *(str(each.values[0]) for each in ALL)}
    assert (EXAMPLES / AS_TESTS / "test_release.py").is_file()


@pytest.mark.parametrize("name", ALL)
def test_an_example_passes(name: str, postgres_url: str, tmp_path: Path) -> None:
    """A foreign application is released under traffic, and nothing of it fails."""
    path = EXAMPLES / name / "scenario.toml"
    run = released(path, tmp_path, *PATIENT, "--database", postgres_url)
    code, verdict = run.code, run.verdict
    assert (code, verdict.verdict) == (0, "pass"), verdict.reasons
    assert verdict.requests.failed == 0
    assert verdict.rollout.outcome == "completed"
    answered = {share.version: share.requests for share in verdict.versions}
    assert answered["v1"] > 0
    assert answered["v2"] > 0
    if load(str(path)).scenario.integrity is not None:
        assert verdict.integrity.checked > 0
        assert verdict.integrity.violations == ()


@pytest.mark.parametrize("name", ALL)
def test_its_broken_variant_fails_with_the_cause(name: str, tmp_path: Path) -> None:
    """The variant that breaks is caught, and the cause is the one that its author planted.

    Where the application says no more than 500, the SQLSTATE comes from the server's own log.
    """
    path = EXAMPLES / name / "broken.toml"
    run = released(path, tmp_path, *PATIENT)
    code, verdict = run.code, run.verdict
    assert (code, verdict.verdict) == (1, "fail"), verdict.reasons
    expected = load(str(path)).scenario.expect.fails_with["rolling"]
    assert verdict.causes[0].cause in expected, verdict.causes
