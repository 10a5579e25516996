"""One table says which placeholders there are."""

from scenarios.scenario.placeholders import (
    OF_A_REPLICA,
    PLACEHOLDERS,
    run_values,
    without_processes,
)
from scenarios.scenario.spec import Application


def test_a_run_has_a_value_for_each_placeholder() -> None:
    """What a run and a replica fill is exactly what a scenario may use, and what is documented."""
    values = run_values(database_url="postgresql://u:p%40@h:1/n", smtp="h:25", address="h:80")
    values |= without_processes((), ())
    assert values.keys() | OF_A_REPLICA == PLACEHOLDERS.keys()
    assert values["database_password"] == "p@"
    assert values["smtp_url"] == "smtp://h:25"
    for name in PLACEHOLDERS:
        assert f"{{{name}}}" in (Application.__doc__ or "")
