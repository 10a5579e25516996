"""What a server's profile predicts on a platform is what a run with that persona shows."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks.server_page import read_record
from benchmarks.server_subjects import SUBJECTS
from benchmarks.servers import APPS
from scenarios.cli.main import status
from scenarios.evidence.run_folder import RunFolder
from scenarios.probe.meaning import predict
from scenarios.probe.terms import terms_of
from scenarios.verdict import decode

SERVERS = ("uvicorn (httptools)", "aiohttp run_app", "Node http")
PERSONAS = ("kubernetes", "ecs", "compose")
LONGEST_SECONDS = 0.5
# A platform's router does not retry, learns nothing from a refusal, and keeps its connections.
UNKIND = ("balancer.retry=false", "balancer.passive_checks=false", "balancer.reuse_post=true")
SCENARIO = """
name = "predicted"

[application]
command = {command}
cwd = {cwd}
env = {{ PYTHONPATH = {cwd}, HOST = "{{host}}", PORT = "{{port}}" }}
health_path = "/"

[versions]
a = {{}}
b = {{}}

[release]
from = "a"
steps = [{{ deploy = "b" }}]

[policy]
replicas = 2

[objectives]
schedule_lag_p99_seconds = 5
schedule_lag_max_seconds = 10

[phases]
baseline_seconds = 0.5
settle_seconds = 1

[traffic]
rate = 100

[[traffic.journeys]]
name = "look"
steps = [{{ path = "/" }}]
"""


def command(words: str) -> list[str]:
    return words.replace("{bin}/", f"{Path(sys.executable).parent}/").split()


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.parametrize("persona", PERSONAS)
@pytest.mark.parametrize("server", SERVERS)
def test_a_run_shows_what_was_predicted(server: str, persona: str, tmp_path: Path) -> None:
    """A server that is predicted to lose requests loses some, and one that is not loses none."""
    record = read_record()
    assert record is not None
    (subject,) = [one for one in SUBJECTS if one.name == server]
    predicted = predict(record.servers[server], terms_of(persona), longest_seconds=LONGEST_SECONDS)
    file = tmp_path / "scenario.toml"
    file.write_text(
        SCENARIO.format(command=json.dumps(command(subject.words)), cwd=json.dumps(str(APPS)))
    )
    arguments = ["run", str(file), "--strategy", "rolling", "--persona", persona, "--no-live"]
    arguments += [word for setting in UNKIND for word in ("--set", setting)]
    status([*arguments, "--out", str(tmp_path / "runs")])
    (folder,) = (tmp_path / "runs").iterdir()
    verdict = decode(RunFolder(folder).verdict.read_bytes())
    assert verdict.requests.ok
    assert (verdict.requests.failed == 0) == predicted.lossless, verdict.causes
