"""The pytest plugin: releases under traffic as tests.

    @pytest.mark.hitless(scenario="scenario.toml", strategy="rolling")
    def test_a_release_drops_nothing(rollout):
        report = rollout()
        assert report.failed == []

Every pytest of this environment loads this module. So it has a name that nobody else uses, and it
imports nothing else before a test asks for a rollout or a probe.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hitless_cli import shadow

if TYPE_CHECKING:
    from scenarios.pytest_plugin.probes import Hitless
    from scenarios.pytest_plugin.session import Report, Session

MARKER = (
    "hitless(scenario, strategy='rolling', **changes): what the fixture `rollout` runs; a scenario "
    "file is relative to the test's folder. Changes: seed, replicas, rate, existing_rows, "
    "baseline, settle, settings (such as ['policy.max_surge=25%']), control (True: the old version "
    "is first deployed again, and failures that are as frequent there do not count)."
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of this plugin."""
    group = parser.getgroup("hitless")
    group.addoption(
        "--hitless-database",
        metavar="URL",
        help="a Postgres server to use instead of an embedded one",
    )
    group.addoption(
        "--hitless-database-log",
        metavar="PATH",
        type=Path,
        help="the log of that server on this machine: a file or its folder, as jsonlog or csvlog",
    )
    group.addoption(
        "--hitless-out",
        metavar="DIR",
        help="where the folders of runs go (default: pytest's own temporary folder)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line("markers", MARKER)


@pytest.fixture(scope="session")
def hitless_session(pytestconfig: pytest.Config) -> Iterator["Session"]:
    """What the session's rollouts share: one Postgres, started when the first of them needs it."""
    hidden = shadow()
    if hidden is not None:
        pytest.fail(hidden, pytrace=False)
    from scenarios.pytest_plugin.session import Session  # noqa: PLC0415 - see the module

    url, log = (
        pytestconfig.getoption(name) for name in ("--hitless-database", "--hitless-database-log")
    )
    with Session(url, log) as session:
        yield session


@pytest.fixture
def rollout(
    request: pytest.FixtureRequest, hitless_session: "Session", tmp_path: Path
) -> Callable[..., "Report"]:
    """Run a release under traffic and return its report.

    Arguments of the call override those of the marker. Without both, it runs the rolling release
    of `expand-contract`. An `async def` test has to call it in a thread (`asyncio.to_thread`).
    """
    asked: dict[str, Any] = {}
    for marker in reversed(list(request.node.iter_markers("hitless"))):
        asked |= dict(zip(("scenario", "strategy"), marker.args, strict=False)) | marker.kwargs
    given = request.config.getoption("--hitless-out")
    out = Path(given) if given else tmp_path / "runs"

    def run(**changes: object) -> "Report":
        wanted: dict[str, Any] = {"scenario": "expand-contract", "strategy": "rolling"}
        wanted |= asked | changes
        return hitless_session.run(folder=request.path.parent, out=out, **wanted)

    return run


@pytest.fixture
def hitless(request: pytest.FixtureRequest) -> "Hitless":
    """What can be asked without a rollout: `hitless.probe(command)` stops a server and looks.

    A command is a text or a list of words, with {host} and {port} in it; it runs in the folder of
    the test. An `async def` test has to call it in a thread (`asyncio.to_thread`).
    """
    hidden = shadow()
    if hidden is not None:
        pytest.fail(hidden, pytrace=False)
    from scenarios.pytest_plugin.probes import Hitless  # noqa: PLC0415 - see the module

    return Hitless(request.path.parent)


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Say why requests failed where a test compares them with nothing."""
    for side in (left, right):
        explain = getattr(side, "hitless_explanation", None)
        if op == "==" and explain is not None:
            lines: list[str] = explain()
            return lines
    return None
