"""What `hitless run` leaves for people, scripts and CI, in one run as they start it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scenarios.evidence.run_folder import RunFolder
from scenarios.reports.junit import junit
from scenarios.verdict import decode

ENDINGS = {"pass": 0, "fail": 1, "invalid": 3}


@pytest.mark.matrix
@pytest.mark.timeout(120)
def test_json_junit_and_github(tmp_path: Path) -> None:
    """Standard output is the verdict alone; JUnit, the step summary and the reports are written."""
    out, elsewhere, step = tmp_path / "runs", tmp_path / "junit.xml", tmp_path / "step.md"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "hitless", "run", "good", "--strategy", "blue-green"),
            *("--replicas", "1", "--rate", "40", "--baseline", "0.5", "--settle", "0.3"),
            *("--seed", "5", "--json", "--junit", elsewhere, "--out", out),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "GITHUB_STEP_SUMMARY": str(step)},
    )
    (folder,) = out.iterdir()
    run = RunFolder(folder)
    assert done.stdout.encode() == run.verdict.read_bytes()
    verdict = decode(run.verdict.read_bytes())
    assert done.returncode == ENDINGS[verdict.verdict], done.stderr
    assert (verdict.scenario, verdict.strategy, verdict.seed) == ("good", "blue-green", 5)
    assert elsewhere.read_bytes() == run.junit.read_bytes() == junit(verdict)
    assert step.read_text().rstrip() == run.summary.read_text().rstrip()
    assert run.report.stat().st_size > 10_000
    assert b"hitless_verdict" in run.metrics.read_bytes()
    # Progress goes to standard error, where JSON has standard output.
    assert "good · blue-green, seed 5, 1 replicas, 40 arrivals/s" in done.stderr
    assert "phase rollout" in done.stderr
    manifest = json.loads((folder / "run.json").read_bytes())
    assert manifest["files"].keys() >= {"requests.ndjson", "events.ndjson"}
    assert not run.control.exists()
