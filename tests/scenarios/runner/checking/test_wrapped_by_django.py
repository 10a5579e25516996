"""The real Django stores another number with server-side binding, and a check finds it."""

import sys
from pathlib import Path

import msgspec
import pytest

from scenarios.check.check_report import CheckReport
from scenarios.cli.main import status

pytestmark = [pytest.mark.soak, pytest.mark.timeout(300)]

APP = Path(__file__).with_name("django_app.py")
QUERY = "SELECT device AS subject, amount::text AS value FROM readings"
COMMAND = f"""
import json, os, psycopg
for subject, value in psycopg.connect(os.environ["DATABASE_URL"]).execute({QUERY!r}):
    print(json.dumps(dict(subject=subject, value=value)))
"""
SCENARIO = f"""
name = "django-wraps"

[application]
command = ["{sys.executable}", "{APP}", "--host", "{{host}}", "--port", "{{port}}"]
health_path = "/health"
env = {{ DATABASE_URL = "{{database_url}}" }}

[versions.old.env]
BINDING = "client"

[versions.new.env]
BINDING = "server"
FIELD = "MODEL_FIELD"

[database]
migrate = "base"

[release]
from = "old"
steps = [{{ deploy = "new" }}]

[[traffic.journeys]]
name = "measure"

[[traffic.journeys.steps]]
method = "POST"
path = "/readings"
json = {{ device = "{{unique}}", amount = 5000000000 }}
expect = [201]
subject = "{{unique}}"
value = "5000000000"

[integrity]
subjects = SUBJECTS
"""


@pytest.mark.parametrize("by", ["query", "command"])
@pytest.mark.parametrize(
    ("field", "causes"), [("IntegerField", ("data:kept_value",)), ("BigIntegerField", ())]
)
def test_a_value_that_django_wraps_is_found_by_comparing_values(
    field: str, causes: tuple[str, ...], by: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """All answers are 201. The column is bigint, and the model does not know it; its twin does.

    `[integrity] subjects` may be a query, or a command that prints the same.
    """
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "0001.sql").write_text(
        "CREATE TABLE readings (id serial PRIMARY KEY, device text, amount bigint)"
    )
    asked = f'"{QUERY}"' if by == "query" else f"['{sys.executable}', '-c', '''{COMMAND}''']"
    scenario = tmp_path / "scenario.toml"
    scenario.write_text(SCENARIO.replace("MODEL_FIELD", field).replace("SUBJECTS", asked))
    code = status(["check", str(scenario), "--json", "--no-cache"])
    out, err = capfd.readouterr()
    assert code == (1 if causes else 0), err
    report = msgspec.json.decode(out, type=CheckReport)
    assert report.chosen.causes == causes
    for hazard in report.chosen.hazards:
        wrapped = "705032704 (the same modulo 2^32) is stored instead of 5000000000"
        assert wrapped in hazard.what
