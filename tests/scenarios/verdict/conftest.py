import pytest

from tests.support.evidence import Evidence, clean


@pytest.fixture(scope="session")
def clean_run() -> Evidence:
    """The evidence of a run in which nothing went wrong."""
    return clean()
