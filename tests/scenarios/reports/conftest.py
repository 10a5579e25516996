import os
from collections.abc import Iterator

import pytest

from scenarios.verdict import Verdict
from tests.support.browser import Page, browser, chromium
from tests.support.evidence import Evidence, clean

NO_BACKEND = {
    "status": 503,
    "proxy_status": 'hitless; error=destination_unavailable; details="no backend is up"',
    "served_by": None,
}
EVIL = "[bold red]boo[/] <script>alert('x')</script> \x1b[31m | `tick` ]]> & \x07"


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal is what a test says it is, whatever the suite itself is started from."""
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def tab() -> Iterator[Page]:
    """A tab in headless Chromium; where Chromium must be there, its absence is a failure."""
    program = chromium()
    if program is None:
        if os.environ.get("HITLESS_NEEDS_CHROMIUM"):
            pytest.fail("there is no chromium, and HITLESS_NEEDS_CHROMIUM is set")
        pytest.skip("there is no chromium on this machine")
    with browser(program) as page:
        yield page


@pytest.fixture(scope="session")
def passed() -> Verdict:
    """The verdict on a clean run."""
    return clean().judge()


@pytest.fixture(scope="session")
def broken() -> Evidence:
    """The evidence of a run with failures of several causes, a lost row, and hostile text."""
    run = clean()
    run = run.failing(2.4, 3.1, status=500, sqlstate="23502", problem=EVIL)
    run = run.failing(3.2, 3.5, **NO_BACKEND)
    run = run.failing(4.5, 4.52, status=418, problem=EVIL, endpoint=f"GET /{EVIL}", journey=EVIL)
    return run.but(after=[row for row in run.after or () if row.subject != "u0@example.com"])


@pytest.fixture(scope="session")
def failed(broken: Evidence) -> Verdict:
    """The verdict on that run."""
    return broken.judge()


@pytest.fixture(scope="session")
def invalid() -> Verdict:
    """The verdict on a run whose baseline failed."""
    return clean().failing(0.5, 0.6, **NO_BACKEND).judge()
