"""A run that an older build recorded is judged as that build judged it.

`older_run.tar.gz` is a small big-bang release as it was recorded, with its verdict, before causes
had kinds.
"""

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from scenarios.review import explain, recall, review

RECORDED = Path(__file__).with_name("older_run.tar.gz")


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """The folder of that run."""
    with tarfile.open(RECORDED) as archive:
        archive.extractall(tmp_path / "run", filter="data")
    return tmp_path / "run"


def facts(path: Path) -> dict[str, Any]:
    """What a verdict says, but for its sentences and for fields that came later."""
    verdict: dict[str, Any] = json.loads(path.read_bytes())
    for cause in (*verdict["causes"], *verdict["slow_causes"]):
        for name in ("kind", "title"):
            cause.pop(name, None)
        for name in ("faults", "note"):
            cause["evidence"].pop(name, None)
        for example in cause["evidence"]["examples"]:
            example.pop("step")
        cause["evidence"].pop("steps")
    for check in verdict["checks"]:
        check.pop("title")
        check.pop("sentence")
    for invariant in verdict["integrity"]["invariants"]:
        invariant.pop("title")
    for request in verdict["latency"]["slowest"]:
        request.pop("step")
    for name in (
        "reasons",
        "doubts",
        "limits",
        "replica_ends",
        "rescued",
        "persona",
        "termination",
    ):
        verdict.pop(name, None)
    availability = verdict["availability"]
    availability.pop("text")
    # Another solver of the same equation: the last digits differ.
    availability["failure_rate_upper_95"] = round(availability["failure_rate_upper_95"], 9)
    if verdict["budget"]:
        verdict["budget"].pop("name")
    return verdict


def shaped_like(now: Any, before: Any) -> Any:
    """The same without fields that the older verdict does not have."""
    if isinstance(now, dict) and isinstance(before, dict):
        return {name: shaped_like(now[name], value) for name, value in before.items()}
    if isinstance(now, list) and isinstance(before, list) and len(now) == len(before):
        return [shaped_like(one, other) for one, other in zip(now, before, strict=True)]
    return now


def test_an_older_run_reaches_the_same_verdict(older: Path) -> None:
    """Its files are read, their digests hold, and every number and cause is as it was."""
    before = facts(older / "verdict.json")
    judgement = review(older)
    assert shaped_like(facts(older / "verdict.json"), before) == before
    kinds = {cause.cause: cause.kind for cause in judgement.verdict.causes}
    assert kinds["sqlstate:23502"] == "statement"
    first = judgement.failed[0]
    assert explain(older, first.failure.outcome.request_id).cause == first.finding.cause


def test_an_older_verdict_can_be_compared(older: Path) -> None:
    """A verdict without kinds is read as it is, and its causes have the kind `unknown`."""
    run = recall(older)
    assert run.verdict.verdict == "fail"
    assert {cause.kind for cause in run.verdict.causes} == {"unknown"}
    assert run.events
    assert run.ticks
