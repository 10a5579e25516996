"""The older version of a package takes the place of the one that is measured, and of no other."""

import pytest

from benchmarks.server_generations import needed, replaced
from benchmarks.server_subjects import NODE_PACKAGES, PYTHON_PACKAGES, SUBJECTS

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


@pytest.mark.parametrize(
    ("packages", "name", "found"),
    [
        (PACKAGES, "uvicorn", PACKAGES[:1]),
        (PACKAGES, "gunicorn", PACKAGES),
        (NODE, "fastify", NODE[1:]),
        (NODE, "uvicorn", ()),
    ],
)
def test_only_what_its_servers_need_is_installed(
    packages: tuple[str, ...], name: str, found: tuple[str, ...]
) -> None:
    """What belongs to other servers is left out, whatever it would take to install."""
    assert needed(packages, name) == found


@pytest.mark.parametrize("name", sorted({one.needs for one in SUBJECTS if one.needs is not None}))
def test_every_server_has_its_package(name: str) -> None:
    """A package that servers are made of is among those that are installed."""
    assert len(needed(PYTHON_PACKAGES + NODE_PACKAGES, name)) >= 1
