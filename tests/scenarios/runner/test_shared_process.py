"""A shared process is ready before others need it, keeps its port, and says why it is not ready."""

import sys
from pathlib import Path

import pytest

from orchestrator.errors import EnvironmentFailure
from orchestrator.platforms.local import accepts
from orchestrator.processes import Processes
from scenarios.runner.shared_process import HOST, SharedProcess
from scenarios.scenario.process_spec import ProcessSpec

LISTENS = """
import socket, sys, time
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    print("ready", flush=True)
    time.sleep(600)
"""


def process(
    processes: Processes, folder: Path, port: int, script: str, **spec: object
) -> SharedProcess:
    given = ProcessSpec(
        name="broker",
        command=(sys.executable, "-c", script, "{port}"),
        shared=True,
        **spec,  # type: ignore[arg-type]
    )
    return SharedProcess(
        given,
        processes,
        port=port,
        log=folder / "broker.log",
        folder=folder,
        values={},
        env={"URL": "tcp://{host}:{port}"},
        cwd=folder,
        start_seconds=2.0,
    )


async def test_it_listens_before_others_need_it_also_after_a_restart(
    tmp_path: Path, unused_tcp_port: int
) -> None:
    """Its port stays the same, so that a restart is what it is for clients of a broker."""
    async with Processes() as processes:
        one = process(processes, tmp_path, unused_tcp_port, LISTENS, listens=True)
        async with one:
            assert await accepts(HOST, one.port)
            before = one.pid
            await one.stop()
            assert not await accepts(HOST, one.port)
            await one.start()
            assert await accepts(HOST, one.port)
            assert one.pid != before
        assert not await accepts(HOST, one.port)


@pytest.mark.parametrize(
    ("script", "spec", "said"),
    [
        ("print('no disk'); raise SystemExit(3)", {"listens": True}, "exited with status 3"),
        (LISTENS, {"ready_log": "^done"}, "no line of its log matches '^done'"),
        ("import time; time.sleep(600)", {"listens": True}, "it does not listen on 127.0.0.1:"),
    ],
)
async def test_what_never_gets_ready_says_so_in_one_line(
    script: str, spec: dict[str, object], said: str, tmp_path: Path, unused_tcp_port: int
) -> None:
    """The line has the name of the process, what it lacks, and the end of its log."""
    async with Processes() as processes:
        with pytest.raises(EnvironmentFailure) as failure:
            await process(processes, tmp_path, unused_tcp_port, script, **spec).__aenter__()
    text = str(failure.value)
    assert text.startswith("process broker ")
    assert said in text
    assert "its log ends: " in text
    assert "\n" not in text
