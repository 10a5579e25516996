"""What a scenario says of processes beside the web is checked before anything is started."""

from pathlib import Path

import pytest

from orchestrator.policy import CanaryStep, Policy
from scenarios.errors import ScenarioError
from scenarios.scenario.process_checks import set_policy
from scenarios.scenario.process_spec import ProcessSpec
from scenarios.scenario.reader import load

BASE = """
extends = "good"
name = "with-processes"
"""
WORKER = """
[[application.processes]]
name = "worker"
command = ["{python}", "worker.py"]
"""
REDIS = """
[[application.processes]]
name = "redis"
command = ["redis-server", "--port", "{port}"]
shared = true
listens = true
"""


def written(folder: Path, text: str) -> str:
    path = folder / "scenario.toml"
    path.write_text(BASE + text)
    return str(path)


def test_processes_are_read_with_their_defaults(tmp_path: Path) -> None:
    """A worker needs a name and a command; a shared process gives placeholders to the others."""
    use = (
        "[application.env]\nBROKER = 'redis://{redis_host}:{redis_port}/0'\nDIR = '{shared_dir}'\n"
    )
    scenario = load(written(tmp_path, use + WORKER + REDIS)).scenario
    worker, redis = scenario.application.processes
    assert (worker.stop_to, worker.place, worker.replicas) == ("parent", "with", 1)
    assert redis.shared


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (WORKER.replace('"worker"', '"a"'), "there is a version 'a', too"),
        (WORKER + WORKER, "there is another set of processes 'worker'"),
        (WORKER.replace('"worker"', '"balancer"'), "the run has a log of that name"),
        (WORKER.replace("worker.py", "{redis_port}"), "no placeholder {redis_port}"),
        (WORKER + 'ready_log = "("\n', "'(' is no regular expression"),
        (WORKER + 'drain_signal = "SIGTSTP"\n', "needs a [jobs] table"),
        (WORKER + "max_surge = 0\n", "no replica could ever be replaced"),
        (WORKER + "replicas = 0\n", "expected int >= 1"),
        (WORKER + 'stop_to = "everybody"\n', "'everybody'; there are: parent, group"),
        (WORKER + 'stop_signal = "SIGTREM"\n', "'SIGTREM'; did you mean 'SIGTERM'?"),
        (REDIS + "replicas = 2\n", "a shared process is a single one"),
        (REDIS + 'strategy = "naive"\n', "a shared process is not deployed"),
        ('[versions.a.commands]\nwroker = ["x"]\n' + WORKER, "did you mean 'worker'?"),
        (WORKER + '[jobs]\nusing = "c"\nstore = ["x"]\n', "unknown version 'c'"),
        (WORKER + '[jobs]\nusing = "a"\n', "belongs to a 'store'"),
        (WORKER + '[jobs]\nmay = ["job:gone"]\n', "'jobs.may': unknown value 'job:gone'; "),
        (WORKER + '[jobs]\nmay = ["job:cutt"]\n', "'job:cutt'; did you mean 'job:cut'?"),
        ('[cache]\nurl = "localhost:6379"\n', "expected the address of a Redis or Valkey"),
        ('[cache]\nurl = "redis://{redis_host}"\n', "no placeholder {redis_host}"),
        (WORKER + '[[faults]]\ndo = "term"\n', "'term' needs a 'process'"),
        (WORKER + '[[faults]]\ndo = "term"\nprocess = "x"\n', "no set of processes 'x'"),
        (WORKER + '[[faults]]\ndo = "restart"\nprocess = "worker"\n', "'worker' is not shared"),
        (REDIS + '[[faults]]\ndo = "term"\nprocess = "redis"\n', "'redis' is shared"),
        (WORKER + '[[faults]]\ndo = "kill"\nprocess = "worker"\n', "has no meaning for 'kill'"),
        (
            WORKER + '[[faults]]\ndo = "term"\nprocess = "worker"\nwhen = "job-begun"\n',
            "'when' needs a [jobs] table",
        ),
    ],
)
def test_a_mistake_is_told_in_one_line(text: str, said: str, tmp_path: Path) -> None:
    """The line names the file, the key, what is wrong, and what would be right."""
    with pytest.raises(ScenarioError) as failure:
        load(written(tmp_path, text))
    assert said in str(failure.value)
    assert "scenario.toml:" in str(failure.value)
    assert "\n" not in str(failure.value)


def test_a_set_follows_the_policy_of_the_web_without_its_judgement_of_requests() -> None:
    """A canary of workers has its steps and pauses; it gets no requests to be judged by."""
    spec = ProcessSpec(name="worker", command=("x",), replicas=4, max_surge="50%")
    policy = set_policy(spec, Policy(replicas=9, min_ready_seconds=1.5, canary_steps=(50, 100)))
    assert (policy.replicas, policy.surge, policy.min_ready_seconds) == (4, 2, 1.5)
    assert [step.weight or step.pause for step in policy.canary_plan] == [50.0, 1.0, 100.0, 1.0]
    assert all(isinstance(step, CanaryStep) and not step.analysis for step in policy.canary_steps)


def test_an_affinity_cookie_that_nobody_sends_back_is_refused(tmp_path: Path) -> None:
    """It would keep nobody on a version, and the run would not show that."""
    use = '[balancer]\naffinity_cookie = "v"\n[[traffic.journeys]]\nname = "one"\n'
    once = use + 'steps = [{ path = "/" }]\n'
    with pytest.raises(ScenarioError, match="no user sends a second request"):
        load(written(tmp_path, once))
    load(written(tmp_path, use + 'steps = [{ path = "/" }, { path = "/" }]\n'))
    load(written(tmp_path, once + "users = 3\nevery_seconds = 1\n"))


def test_integrity_by_a_command_needs_no_database(tmp_path: Path) -> None:
    """A query does; the message says what would be right."""
    with pytest.raises(ScenarioError, match="a command \\(an array\\) needs none"):
        load(written(tmp_path, '[integrity]\nsubjects = "SELECT 1"\n'))
    load(written(tmp_path, '[integrity]\nsubjects = ["{python}", "rows.py"]\n'))
    with pytest.raises(ScenarioError, match=r"no placeholder \{nothing\}"):
        load(written(tmp_path, '[integrity]\nsubjects = ["{nothing}"]\n'))
