"""What a server's profile predicts on a platform is what a run with that persona shows."""

import shutil
import sys
from pathlib import Path

import pytest

from benchmarks.predictions import cells, measure
from benchmarks.server_page import Predicted, read_record
from benchmarks.server_subjects import SUBJECTS
from benchmarks.servers import Place

IN_EVERY_RUN = ("uvicorn (httptools)",)
SERVERS = ("aiohttp run_app", "Node http")
PERSONAS = ("kubernetes", "ecs", "compose")


def shown(server: str, persona: str, folder: Path) -> list[Predicted]:
    record = read_record()
    assert record is not None
    (subject,) = [one for one in SUBJECTS if one.name == server]
    if subject.kind == "node" and shutil.which("node") is None:
        pytest.skip(f"{server} is left out: node is not there")
    place = Place(folder, Path(sys.executable).parent, folder / "node_modules")
    made = cells(record.servers[server], persona)
    return [measure(subject, place, cell) for cell in made]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("persona", ["kubernetes", "ecs"])
@pytest.mark.parametrize("server", IN_EVERY_RUN)
def test_a_run_shows_what_was_predicted(server: str, persona: str, tmp_path: Path) -> None:
    """Kubernetes as it comes loses requests, with the advised preStop none, and ECS none."""
    found = shown(server, persona, tmp_path)
    assert [one.lossless for one in found] == ([False, True] if persona == "kubernetes" else [True])
    assert all(one.right for one in found), found


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.parametrize("persona", PERSONAS)
@pytest.mark.parametrize("server", [*IN_EVERY_RUN, *SERVERS])
def test_three_servers_on_three_platforms(server: str, persona: str, tmp_path: Path) -> None:
    """A server that is predicted to lose requests loses some, and one that is not loses none."""
    found = shown(server, persona, tmp_path)
    assert all(one.right for one in found), found
