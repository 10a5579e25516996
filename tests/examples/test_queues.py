"""The examples with queues: each variant loses the jobs that it should lose, and names them."""

import shutil
from pathlib import Path

import pytest

from scenarios.scenario.reader import load
from scenarios.verdict import Verdict
from tests.support.runs import released

pytestmark = [pytest.mark.matrix, pytest.mark.timeout(240)]

EXAMPLES = Path(__file__).parents[2] / "examples"
PATIENT = ("--set", "objectives.schedule_lag_p99_seconds=2")
"""A busy machine may delay the users; that is not what is tested here."""

needs_redis = pytest.mark.skipif(
    shutil.which("redis-server") is None, reason="Celery needs `redis-server` on PATH"
)


def run(path: str, out: Path, strategy: str = "rolling") -> Verdict:
    return released(EXAMPLES / path, out, *PATIENT, "--strategy", strategy).verdict


def passes(verdict: Verdict) -> None:
    assert verdict.verdict == "pass", (verdict.reasons, verdict.jobs)
    assert verdict.jobs is not None
    assert verdict.jobs.asked == verdict.jobs.ended > 0
    assert verdict.jobs.causes == ()


def fails_as_declared(path: str, verdict: Verdict) -> None:
    expected = load(str(EXAMPLES / path)).scenario.expect.fails_with[verdict.strategy]
    assert verdict.verdict == "fail", verdict.reasons
    assert verdict.jobs is not None
    named = {one.cause: one for one in verdict.jobs.causes}
    assert set(named) & set(expected), verdict.jobs
    assert all(one.examples for one in named.values())
    assert verdict.requests.failed == 0, "every request was answered, and yet jobs were lost"


@needs_redis
@pytest.mark.soak
def test_celery_loses_no_task_when_it_is_deployed_in_order(tmp_path: Path) -> None:
    """Workers first, a signal to the parent alone, late acknowledgement: each task is done once."""
    passes(run("queue-celery/scenario.toml", tmp_path))


def test_a_job_that_the_old_version_does_not_understand_is_named(tmp_path: Path) -> None:
    """The web comes first, and asks the old workers for what only the new ones know."""
    verdict = run("queue-postgres/broken.toml", tmp_path)
    fails_as_declared("queue-postgres/broken.toml", verdict)
    assert verdict.jobs is not None
    (cause,) = (one for one in verdict.jobs.causes if one.kind == "job:not_understood")
    assert "unexpected keyword argument 'language'" in str(cause.examples[0].error)
    assert cause.examples[0].asked_by in {"v2-3", "v2-4"}


@pytest.mark.soak
@pytest.mark.parametrize("strategy", ["naive", "rolling", "blue-green", "canary"])
@pytest.mark.parametrize(
    "path",
    [
        "queue-postgres/scenario.toml",
        pytest.param("queue-celery/scenario.toml", marks=needs_redis),
    ],
)
def test_the_repaired_variants_pass(path: str, strategy: str, tmp_path: Path) -> None:
    """Under each strategy, no job is lost, cut, or done twice: 56 clean runs without a finding."""
    for number in range(7):
        folder = tmp_path / str(number)
        folder.mkdir()
        verdict = run(path, folder, strategy)
        if strategy == "naive":  # it drops requests, and that is not the workers' doing
            assert verdict.jobs is not None
            assert verdict.jobs.causes == ()
        else:
            passes(verdict)


@pytest.mark.soak
@pytest.mark.parametrize(
    "path",
    [
        "queue-postgres/broken-cron.toml",
        "queue-postgres/broken-killed.toml",
        pytest.param("queue-celery/broken.toml", marks=needs_redis),
        pytest.param("queue-celery/broken-killed.toml", marks=needs_redis),
        pytest.param("queue-celery/broken-cron.toml", marks=needs_redis),
    ],
)
def test_a_broken_variant_fails_with_its_cause(path: str, tmp_path: Path) -> None:
    """Each job that is lost, hidden or made twice is named."""
    fails_as_declared(path, run(path, tmp_path))
