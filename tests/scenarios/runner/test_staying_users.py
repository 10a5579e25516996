"""Users who stay, in real runs: what a scenario says of them, and what they see of a release."""

from collections import defaultdict
from itertools import groupby
from pathlib import Path

import pytest

from scenarios.cli.main import status
from scenarios.errors import ScenarioError
from scenarios.scenario.reader import load
from tests.support.runs import Released, released

STAYING = """
[[traffic.journeys]]
name = "stay"
users = 10
every_seconds = 0.2
steps = [{ path = "/" }]
"""
ARRIVING = """
[[traffic.journeys]]
name = "look"
steps = [{ path = "/", connection = "any" }]
"""


def scenario(folder: Path, text: str) -> Path:
    path = folder / "scenario.toml"
    path.write_text(f'extends = "good"\nname = "staying"\n{text}\n')
    return path


SMALL = ("--replicas", "2", "--baseline", "1", "--settle", "0.5")


def versions_met(run: Released) -> dict[str, str]:
    """The versions that each user met, one after the other, such as `ab`."""
    answers: dict[str, list[str]] = defaultdict(list)
    for one in sorted(run.requests, key=lambda one: one.planned_ns):
        if one.user is not None and one.served_by is not None:
            answers[one.user].append(one.served_by.partition("-")[0])
    return {user: "".join(name for name, _ in groupby(met)) for user, met in answers.items()}


CANARY = f"[policy]\ncanary_steps = [50, 100]\n[traffic]\nrate = 60\n{ARRIVING}{STAYING}"


def test_a_cookie_keeps_them_on_their_version(tmp_path: Path) -> None:
    """With the balancer's affinity cookie no user goes back and forth during a canary."""
    cookie = ("--set", "balancer.affinity_cookie=release")
    path = scenario(tmp_path, CANARY)
    run = released(path, tmp_path / "runs", "--strategy", "canary", *SMALL, *cookie)
    verdict = run.verdict
    assert verdict.requests.failed == 0, verdict.causes
    assert verdict.rollout.outcome == "completed"
    met = versions_met(run)
    assert len(met) == 10
    assert set(met.values()) <= {"ab", "b"}, met


def test_without_one_they_go_back_and_forth(tmp_path: Path) -> None:
    """The same canary without the cookie deals each request anew."""
    path = scenario(tmp_path, CANARY)
    run = released(path, tmp_path / "runs", "--strategy", "canary", *SMALL)
    assert run.verdict.rollout.outcome == "completed"
    assert "aba" in {met[:3] for met in versions_met(run).values()}


def test_all_users_may_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A scenario may have no arrivals at all; an outage is then told by the time of its users."""
    path = scenario(tmp_path, STAYING)
    run = released(path, tmp_path / "runs", "--strategy", "naive", *SMALL)
    verdict = run.verdict
    assert "10 users who stay" in capsys.readouterr().out
    assert {one.journey for one in run.requests} == {"stay"}
    assert (verdict.verdict, verdict.rate) == ("fail", 0.0)
    users = verdict.users
    assert (users.staying, users.users) == (True, 10)
    assert users.uptime is not None
    assert users.worst is not None
    assert users.worst.uptime <= users.uptime < 1
    assert users.uptime_windows[0].worst < users.uptime
    page, summary = run.folder / "report.html", run.folder / "summary.md"
    assert "Users who stay: 10 users who stayed had service for" in page.read_text()
    assert "| Users | 10 users who stayed had service for" in summary.read_text()


def test_nobody_arrives_at_any_rate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--rate` is refused where it could bring nobody."""
    path = scenario(tmp_path, STAYING)
    assert status(["run", str(path), "--rate", "50"]) == 2
    message = "--rate 50: this scenario has no arrivals: all its users stay"
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("users = 5", "journey stay: users also needs every_seconds"),
        ("users = 5.5", "key 'traffic.journeys.users': expected int | null, got float"),
        ("users = 0\nevery_seconds = 1", "journey stay: users must be from 1 to 100000, not 0"),
        ("users = 5\nevery_second = 1", "unknown key; did you mean 'every_seconds'?"),
    ],
)
def test_a_mistake_is_named_where_it_stands(tmp_path: Path, line: str, message: str) -> None:
    """One line: the file, the line, the key, and what would be right."""
    text = f'[[traffic.journeys]]\nname = "stay"\n{line}\nsteps = [{{ path = "/" }}]'
    path = scenario(tmp_path, text)
    with pytest.raises(ScenarioError) as caught:
        load(str(path))
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}:")
