import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def load_builder() -> ModuleType:
    path = Path(__file__).with_name("builder.py")
    spec = importlib.util.spec_from_file_location("verdict_evidence_builder", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys  # noqa: PLC0415 - dataclasses look their module up there

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
