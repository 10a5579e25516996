"""One table says which placeholders there are."""

import pytest

from scenarios.scenario.placeholders import (
    OF_A_REPLICA,
    PLACEHOLDERS,
    database_values,
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


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("postgresql://u:p@db/n", "db", "5432"),
        ("postgresql://u:p@[::1]:6000/n", "::1", "6000"),
        ("postgresql://u:p@one:5432,two:5433/n", "one,two", "5432,5433"),
        ("postgresql:///n?host=/run/postgresql&port=6000", "/run/postgresql", "6000"),
        ("postgresql://%2Frun%2Fpostgresql/n", "/run/postgresql", "5432"),
        ("", "", "5432"),
    ],
)
def test_each_url_of_libpq_has_a_host_and_a_port(url: str, host: str, port: str) -> None:
    """Several hosts and the folder of a Unix socket are written as libpq's drivers take them."""
    values = database_values(url)
    assert (values["database_host"], values["database_port"]) == (host, port)
