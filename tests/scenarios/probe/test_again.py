"""An experiment that saw the machine's delay, and not the server, is made again."""

import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from scenarios.probe import experiments, probing
from scenarios.probe.plans import ExperimentPlan
from scenarios.probe.probing import is_doubtful, probe
from scenarios.probe.server import Server, Target
from scenarios.probe.transcript import Observation
from tests.support.probe import GONE, OK, observed

SERVER = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


@pytest.mark.parametrize(
    ("finding", "late", "wait", "doubtful"),
    [
        (GONE, 0.0, 0.0, False),
        (GONE, 0.0, 9.0, False),
        (GONE, 1.1, 0.0, True),
        (None, 0.0, 0.0, False),
        (None, 0.0, 0.6, True),
    ],
)
def test_what_is_doubtful(finding: object, late: float, wait: float, *, doubtful: bool) -> None:
    """A late step, or nothing under way on a busy machine; a server that waits is allowed for."""
    seen = observed({"slow": ((-2.5, OK),)})
    seen = msgspec.structs.replace(seen, late_seconds=late, core_wait_seconds=wait)
    assert is_doubtful(finding, seen) is doubtful


@pytest.mark.parametrize(
    ("lates", "attempts"),
    [
        ((2.0, 0.1), 2),
        pytest.param((0.0,), 1, marks=pytest.mark.soak),
        pytest.param((2.0,) * 9, 3, marks=pytest.mark.soak),
    ],
)
async def test_it_is_made_again_at_most_twice(
    lates: tuple[float, ...], attempts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first attempt that was in time counts; after three the best one does, with a finding."""
    made: list[float] = []

    async def perform(plan: ExperimentPlan, server: Server) -> Observation:
        seen = await experiments.perform(plan, server)
        if plan.name != "idle":
            return seen
        made.append(lates[len(made)])
        return msgspec.structs.replace(seen, late_seconds=made[-1])

    monkeypatch.setattr(probing, "perform", perform)
    (tmp_path / "server.py").write_text(SERVER)
    target = Target(command=(sys.executable, str(tmp_path / "server.py")), start_seconds=60.0)
    said: list[str] = []
    tell: Callable[[str], None] = said.append
    found = await probe(target, experiments=["idle"], watch_seconds=3.0, tell=tell)
    assert made == list(lates[:attempts])
    assert found.starts == 1 + attempts
    assert found.idle is not None
    assert sum("once more, since the machine was busy" in line for line in said) == attempts - 1
