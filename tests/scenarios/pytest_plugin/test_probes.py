"""`hitless.probe(command)` in somebody's own tests."""

import sys
from pathlib import Path

from tests.scenarios.pytest_plugin.test_plugin import run_pytest

APPS = Path(__file__).parents[3] / "benchmarks" / "server_apps"
TEST = """
COMMAND = {command!r}

def probed(hitless):
    return hitless.probe(COMMAND, cwd={apps!r}, experiments=["in_flight"], watch_seconds=8)

def test_it_stops_in_order(hitless):
    probe = probed(hitless)
    assert probe.completes_in_flight and probe.signal_reaches_server
    assert probe.lost("kubernetes", pre_stop=5) == []
    assert probe.lost("kubernetes", pre_stop=5, behind="envoy") == []
    assert probe.settings("nomad").grace_seconds > 5
    assert probe.settings("nomad", behind="nginx") == probe.settings("nomad")

def test_it_does_not(hitless):
    probe = hitless.probe(["sh", "-c", COMMAND + "; echo"], cwd={apps!r},
                          experiments=["in_flight"], watch_seconds=8)
    assert probe.signal_reaches_server
"""


def test_a_server_is_probed_in_a_test(tmp_path: Path) -> None:
    """A good server passes; one behind a shell fails, and the failure shows what was seen."""
    command = f"{sys.executable} -m uvicorn hello_asgi:app --port {{port}}"
    text = TEST.format(command=command, apps=str(APPS))
    (tmp_path / "test_it.py").write_text(text)
    code, output = run_pytest(tmp_path)
    assert code == 1, output
    assert "1 failed, 1 passed" in output
    assert "sh dies of it and leaves uvicorn behind" in output
