"""What each version can do on each schema, from the result of `hitless check --json`."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from orchestrator.simulated.world_settings import Breaks
from scenarios.check.check_report import CheckReport
from scenarios.check.observed import CellResult, EndpointResult
from scenarios.errors import ScenarioError

_NO_ENDPOINT = ""
_UNREADY_STATUS = 503
_FAILED_STATUS = 500
_ERRORS = range(400, 600)


def read_check(path: Path, where: str) -> CheckReport:
    """Read the result of a check.

    Args:
        path: the file that `hitless check --json` wrote.
        where: what names the file, for the error.

    Raises:
        ScenarioError: there is no such file, or it is something else.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=CheckReport)
    except OSError as error:
        raise ScenarioError(f"{where}{path}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise ScenarioError(
            f"{where}{path} is not what `hitless check --json` prints: {error}"
        ) from error


def breaks_of(report: CheckReport, declared: Sequence[Breaks]) -> tuple[Breaks, ...]:
    """What fails in a simulated run after this check.

    A simulated replica has no connections of its own to a database. So what fails with warm or with
    fresh connections, fails.

    Args:
        report: the result of the check.
        declared: what the scenario itself says. It holds for what the check did not try.
    """
    cells: dict[tuple[str, tuple[str, ...]], list[CellResult]] = {}
    for cell in report.observed.cells:
        cells.setdefault((cell.version, cell.schema), []).append(cell)
    tried = {
        (cell.version, one.endpoint) for cell in report.observed.cells for one in cell.endpoints
    }
    found = [
        one
        for (version, schema), group in cells.items()
        for one in _breaks_on(version, schema, group)
    ]
    return (*(one for one in declared if (one.version, one.endpoint) not in tried), *found)


def _breaks_on(version: str, schema: Sequence[str], cells: Sequence[CellResult]) -> list[Breaks]:
    ready = all(one.not_ready is None for one in cells)
    failed: dict[str, EndpointResult] = {}
    for cell in cells:
        for one in cell.endpoints:
            if not one.ok:
                failed.setdefault(one.endpoint, one)
    # The second time that a release runs a command, the check calls it `name #2`.
    on = tuple(name.partition(" #")[0] for name in schema)
    if failed:
        return [
            Breaks(
                version=version,
                endpoint=name,
                on=on,
                status=one.status if one.status in _ERRORS and one.status else _FAILED_STATUS,
                sqlstate=one.sqlstate,
                ready=ready,
            )
            for name, one in failed.items()
        ]
    if ready:
        return []
    served = any(one.endpoints for one in cells)
    return [
        Breaks(
            version=version,
            endpoint=_NO_ENDPOINT if served else None,
            on=on,
            status=_UNREADY_STATUS,
            ready=False,
        )
    ]
