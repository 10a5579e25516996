import importlib.util
import sys
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


@pytest.fixture(scope="session")
def make() -> ModuleType:
    """Builders of evidence, shared with the tests of the verdict."""
    path = Path(__file__).parents[1] / "verdict" / "builder.py"
    spec = importlib.util.spec_from_file_location("view_evidence_builder", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


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
