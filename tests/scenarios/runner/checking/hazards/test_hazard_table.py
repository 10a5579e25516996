"""Each hazard of the table on a real Postgres: its lock, its error, and its recipe.

Migrations are carried out as yoyo does it: each file in a transaction, or each statement for
itself. The old version is a session with prepared statements.
"""

import pytest

from orchestrator.database import run_sql
from tests.scenarios.runner.checking.hazards.migrations import checked, strongest, told
from tests.scenarios.runner.checking.hazards.table import TABLE, Hazard


@pytest.mark.parametrize("hazard", TABLE, ids=str)
async def test_each_hazard_is_observed_and_found_with_its_lock_and_error(
    hazard: Hazard, url: str
) -> None:
    """Postgres takes the lock of the table, and refuses with its code; a check names the hazard."""
    await run_sql(url, filter(None, [hazard.before]))
    effects, refused, found = await checked(url, [hazard.migration], hazard.asks)
    assert effects[0].sqlstate == hazard.fails, effects[0].failed
    assert refused == hazard.refused
    assert strongest(effects) == hazard.locks
    assert {one.rule for one in found} == hazard.finds, told(found)
    assert all(one.recipe for one in found)


@pytest.mark.parametrize("hazard", TABLE, ids=str)
async def test_the_recipe_of_each_hazard_is_harmless(hazard: Hazard, url: str) -> None:
    """The same in the safe way: nothing fails, nothing waits, and a check is silent."""
    await run_sql(url, filter(None, [hazard.before]))
    effects, refused, found = await checked(url, hazard.safe, hazard.safe_asks)
    assert [one.failed for one in effects] == [None] * len(hazard.safe)
    assert refused == {}
    assert told(found) == []
