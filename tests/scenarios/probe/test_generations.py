"""The older version of a package takes the place of the one that is measured, and of no other."""

import pytest

from benchmarks.server_generations import replaced

PACKAGES = ("uvicorn[standard]==0.54.0", "uvicorn-worker==0.4.0", "gunicorn==27.0.1")
NODE = ("express@5.3.0", "@fastify/websocket@11.3.7", "fastify@5.12.8")


@pytest.mark.parametrize(
    ("packages", "older", "found"),
    [
        (PACKAGES, "uvicorn==0.28.1", ("uvicorn[standard]==0.28.1", *PACKAGES[1:])),
        (PACKAGES, "gunicorn==23.0.0", (*PACKAGES[:2], "gunicorn==23.0.0")),
        (NODE, "express@4.21.2", ("express@4.21.2", *NODE[1:])),
        (NODE, "@fastify/websocket@10.0.0", (NODE[0], "@fastify/websocket@10.0.0", NODE[2])),
        (PACKAGES, "express@4.21.2", PACKAGES),
        (NODE, "express==4.21.2", NODE),
        (PACKAGES, "uvicorn", PACKAGES),
    ],
)
def test_only_that_package_is_replaced(
    packages: tuple[str, ...], older: str, found: tuple[str, ...]
) -> None:
    """Extras stay, scopes are part of a name, and what is no version changes nothing."""
    assert replaced(packages, older) == found
