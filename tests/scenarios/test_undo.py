"""Going back is a question to the schema."""

from pathlib import Path

import pytest

from scenarios.cli import status
from scenarios.verdict import Verdict, decode

pytestmark = [pytest.mark.matrix, pytest.mark.timeout(180)]


def released(scenario: str, url: str, out: Path) -> tuple[int, Verdict]:
    """Run it small, through the command line."""
    code = status(
        [
            *("run", scenario, "--strategy", "rolling", "--no-live", "--database", url),
            *("--replicas", "2", "--rate", "60", "--existing-rows", "500"),
            *("--baseline", "1", "--settle", "0.5", "--out", str(out)),
        ]
    )
    (folder,) = out.iterdir()
    return code, decode((folder / "verdict.json").read_bytes())


def test_before_the_schema_forbids_it(postgres_url: str, tmp_path: Path) -> None:
    """An undo before NOT NULL works, and no request fails."""
    code, verdict = released("undo", postgres_url, tmp_path)
    assert (code, verdict.rollout.outcome) == (0, "completed"), verdict.reasons
    assert verdict.requests.failed == 0


def test_after_the_schema_forbids_it(postgres_url: str, tmp_path: Path) -> None:
    """An undo across NOT NULL is refused with its reason, and what serves, serves on."""
    code, verdict = released("undo-refused", postgres_url, tmp_path)
    assert (code, verdict.rollout.outcome) == (0, "failed"), verdict.reasons
    assert verdict.requests.failed == 0
    reason = verdict.rollout.reason or ""
    assert reason.startswith("undo to a: refused: the schema has changed")
    assert "subscriptions.status demands a value" in reason
