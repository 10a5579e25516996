"""A simulated run takes from the result of a check what each version can do on each schema."""

from pathlib import Path

import msgspec
import pytest

from orchestrator.simulated.world_settings import Breaks
from scenarios.check.check_report import CheckReport, check_report
from scenarios.check.observed import CellResult, Connections, EndpointResult, Observed, SchemaKey
from scenarios.check.release_plan import Apply, Deployment, ReleasePlan, SchemaChange
from scenarios.errors import ScenarioError
from scenarios.simulation.compatibility import breaks_of
from tests.support.predicted import predicted

POST = "POST /subscriptions"
CHANGES = ("big_bang.0001.status", "big_bang.0002.tokens")
PLAN = ReleasePlan(
    name="big-bang",
    start="a",
    steps=(
        Apply(step=1, changes=tuple(SchemaChange(name=one) for one in CHANGES)),
        Deployment(step=2, version="b"),
    ),
)


def cell(
    version: str,
    schema: SchemaKey,
    *,
    sqlstate: str | None = None,
    status: int = 500,
    not_ready: str | None = None,
    connections: Connections = "warm",
) -> CellResult:
    failed = int(sqlstate is not None)
    answered = status if failed else 201
    post = EndpointResult(
        endpoint=POST, requests=1, failed=failed, status=answered, sqlstate=sqlstate
    )
    return CellResult(
        schema=schema,
        version=version,
        connections=connections,
        not_ready=not_ready,
        endpoints=() if not_ready else (post,),
    )


def report(*cells: CellResult) -> CheckReport:
    return check_report(PLAN, Observed(cells=cells), strategy="rolling")


def file_of(folder: Path, *cells: CellResult) -> str:
    file = folder / "check.json"
    file.write_bytes(msgspec.json.encode(report(*cells)))
    return f"simulation.breaks_from={file}"


def test_each_cell_that_fails_breaks_that_schema_only() -> None:
    """A version fails on exactly the schemas on which the check saw it fail."""
    failing = cell("a", CHANGES[:1], sqlstate="23502")
    (found,) = breaks_of(report(cell("a", ()), failing, cell("a", CHANGES)), ())
    assert found.endpoint == POST
    assert found.sqlstate == "23502"
    assert found.ready
    assert [found.holds("a", CHANGES[:count]) for count in range(3)] == [False, True, False]
    assert not found.holds("b", CHANGES[:1])


def test_a_replica_that_would_not_start_is_not_ready() -> None:
    """What serves with warm connections and could not start anew, serves and is not ready."""
    warm = cell("a", CHANGES)
    fresh = cell("a", CHANGES, not_ready="it exited", connections="fresh")
    (found,) = breaks_of(report(warm, fresh), ())
    assert not found.ready
    assert found.endpoint not in (None, POST)
    (nothing_serves,) = breaks_of(report(fresh), ())
    assert nothing_serves.endpoint is None


def test_what_is_declared_holds_for_what_was_not_tried() -> None:
    """The check decides on what it has tried; all else is as the scenario says."""
    declared = (Breaks(version="a", endpoint=POST), Breaks(version="a", endpoint="GET /other"))
    assert breaks_of(report(cell("a", ())), declared) == declared[1:]


def test_the_check_decides_what_fails(tmp_path: Path) -> None:
    """The same release fails with what the check saw, and with nothing where it saw nothing."""
    broken = file_of(
        tmp_path, cell("a", ()), cell("a", CHANGES, sqlstate="22001"), cell("b", CHANGES)
    )
    verdict = predicted("big-bang", tmp_path / "broken", broken).verdict
    assert "sqlstate:22001" in {one.cause for one in verdict.causes}
    assert "sqlstate:23502" not in {one.cause for one in verdict.causes}
    works = file_of(tmp_path, *(cell(v, CHANGES[:n]) for v in "ab" for n in range(3)))
    verdict = predicted("big-bang", tmp_path / "works", works).verdict
    assert not {one.cause for one in verdict.causes if one.cause.startswith("sqlstate")}


@pytest.mark.parametrize("content", [None, "{}", "no"])
def test_what_is_no_check_is_refused(content: str | None, tmp_path: Path) -> None:
    """A file that is not there, or is something else, is named in one line."""
    file = tmp_path / "check.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ScenarioError, match=r"check\.json") as refused:
        predicted("big-bang", tmp_path / "run", f"simulation.breaks_from={file}")
    assert "\n" not in str(refused.value)
