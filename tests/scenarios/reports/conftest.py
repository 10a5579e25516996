import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import settings

from scenarios.verdict import Verdict

NO_BACKEND = {
    "status": 503,
    "proxy_status": 'hitless; error=destination_unavailable; details="no backend is up"',
    "served_by": None,
}
EVIL = "[bold red]boo[/] <script>alert('x')</script> \x1b[31m | `tick` ]]> & \x07"

# An example's time says more of the machine than of the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def loaded(name: str, path: Path) -> ModuleType:
    """A module beside the tests, which are no package."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def make() -> ModuleType:
    """Builders of evidence, shared with the tests of the verdict."""
    return loaded("view_evidence_builder", Path(__file__).parents[1] / "verdict" / "builder.py")


@pytest.fixture(scope="session")
def tab() -> Iterator[Any]:
    """A tab in headless Chromium, see tests/browser.py; where it must be there, say so."""
    module = loaded("view_browser", Path(__file__).parents[2] / "browser.py")
    program = module.chromium()
    if program is None:
        if os.environ.get("HITLESS_NEEDS_CHROMIUM"):
            pytest.fail("there is no chromium, and HITLESS_NEEDS_CHROMIUM is set")
        pytest.skip("there is no chromium on this machine")
    with module.browser(program) as page:
        yield page


@pytest.fixture(scope="session")
def passed(make: Any) -> Verdict:
    """The verdict on a clean run."""
    return make.clean().judge()


@pytest.fixture(scope="session")
def broken(make: Any) -> Any:
    """The evidence of a run with failures of several causes, a lost row, and hostile text."""
    run = make.clean()
    run = run.failing(2.4, 3.1, status=500, sqlstate="23502", problem=EVIL)
    run = run.failing(3.2, 3.5, **NO_BACKEND)
    run = run.failing(4.5, 4.52, status=418, problem=EVIL, endpoint=f"GET /{EVIL}", journey=EVIL)
    return run.but(after=[row for row in run.after if row.subject != "u0@example.com"])


@pytest.fixture(scope="session")
def failed(broken: Any) -> Verdict:
    """The verdict on that run."""
    return broken.judge()


@pytest.fixture(scope="session")
def invalid(make: Any) -> Verdict:
    """The verdict on a run whose baseline failed."""
    return make.clean().failing(0.5, 0.6, **NO_BACKEND).judge()
