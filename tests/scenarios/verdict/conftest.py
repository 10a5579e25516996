import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import settings

# An example's time says more of the machine than of the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def load_builder() -> ModuleType:
    path = Path(__file__).with_name("builder.py")
    spec = importlib.util.spec_from_file_location("verdict_evidence_builder", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)

    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def make() -> ModuleType:
    """Builders of evidence: see builder.py beside this file."""
    return load_builder()


@pytest.fixture(scope="session")
def clean_run(make: Any) -> Any:
    """The evidence of a run in which nothing went wrong."""
    return make.clean()
