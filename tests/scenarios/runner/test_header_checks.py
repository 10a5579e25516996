"""A release that loses a header field is found by a check of that field."""

import json
from pathlib import Path

import pytest

from tests.support.runs import released

pytestmark = [pytest.mark.matrix, pytest.mark.timeout(180)]

APP = Path(__file__).with_name("limited_app.py")
SCENARIO = """
name = "framed"

[application]
command = ["{{python}}", {app}, "{{port}}", "{{version}}"]
health_path = "/health"

[versions]
a = {{}}
b = {{ command = ["{{python}}", {app}, "{{port}}", "{{version}}", "{mode}"] }}

[release]
from = "a"
steps = [{{ deploy = "b" }}]

[policy]
replicas = 2

[phases]
baseline_seconds = 1
settle_seconds = 1

[[traffic.journeys]]
name = "order"

[[traffic.journeys.steps]]
method = "POST"
path = "/orders"
expect_headers = {{ x-frame-options = "DENY", Server = {{ absent = true }} }}
"""


@pytest.mark.parametrize(("mode", "code"), [("good", 0), ("bare", 1)])
def test_a_header_that_the_new_version_lost_fails_the_run(
    mode: str, code: int, tmp_path: Path
) -> None:
    """Every answer is a 200; only those of the version without the field are failures."""
    scenario = tmp_path / "framed.toml"
    scenario.write_text(SCENARIO.format(app=json.dumps(str(APP)), mode=mode))
    run = released(scenario, tmp_path / "runs", "--rate", "60")
    assert run.code == code, run.verdict.reasons
    failed = [one for one in run.requests if not one.ok]
    assert {one.mismatch for one in failed} <= {"there is no header x-frame-options"}
    assert all((one.served_by or "").startswith("b-") for one in failed)
    if code:
        (cause,) = run.verdict.causes
        assert cause.cause == "mixed_fleet:version"
        assert "there is no header x-frame-options" in cause.title
