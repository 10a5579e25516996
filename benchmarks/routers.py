"""What each router costs, in one run on one machine: processor time per request.

Ours and the five others run one after the other, as `hitless run` starts them, access log included,
each pinned to one core; the origin and the load generator share the others. Requests per second say
as much about those as about the router, so processor time is the figure to compare, and only the
ratios within one run mean something.

    python -m benchmarks.routers [--seconds 3] [--only haproxy,envoy]

Needs wrk (Debian package wrk). A router that is not installed is left out by name.
"""

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import cast

from benchmarks.balancer import (
    CORES,
    OTHER_CORES,
    PROXY_CORE,
    Case,
    Proxy,
    Result,
    free_port,
    measure,
    pids,
    process,
    wait_port,
)
from orchestrator.model import Replica
from orchestrator.processes import Processes
from orchestrator.routers.capabilities import Kind
from orchestrator.routers.marked import RouterConfigError
from orchestrator.routers.registry import KINDS, start_router
from orchestrator.routers.settings import HealthCheck, RouterSettings

CASES = (Case("GET", "/", 32), Case("POST 1 KiB", "/", 32, post=True))
HEAD = f"{'router':<18}{'case':<12}{'CPU us':>9}{'x ours':>8}{'req/s':>10}{'errors':>8}"


async def measured(kind: Kind, origin: int, seconds: int) -> tuple[str, list[Result]]:
    """Run one router in front of the origin; its version, and what it did in each case."""
    async with AsyncExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="hitless-bench-"))
        folder = Path(name)
        processes = await stack.enter_async_context(Processes())
        settings = RouterSettings(
            health=HealthCheck(path="/"),
            directory=folder,
            logs=folder,
            access_log=folder / "access.ndjson" if kind == "hitless" else None,
        )
        running = await stack.enter_async_context(start_router(kind, processes, settings))
        router = running.router
        await router.register(Replica(id="a-1", version="a", host="127.0.0.1", port=origin))
        async with asyncio.timeout(30):
            await router.wait_up(["a-1"])
        await router.weigh({"a-1": 1.0})
        for task in _tasks(running.process.pid):
            with suppress(ProcessLookupError):  # a thread of its start that has ended
                os.sched_setaffinity(task, PROXY_CORE)
        port = int(running.address.rpartition(":")[2])
        await asyncio.to_thread(wait_port, port)
        proxy = Proxy(kind, port, running.process.pid)
        results = [await asyncio.to_thread(measure, proxy, case, seconds, folder) for case in CASES]
        return running.version, results


def _tasks(root: int) -> Iterator[int]:
    """Every thread of a process and its children."""
    for pid in pids(root):
        for task in Path(f"/proc/{pid}/task").iterdir():
            yield int(task.name)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement")
    parser.add_argument("--only", default=",".join(KINDS), help="some of the routers")
    given = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed (Debian package wrk)")
    before = os.getloadavg()[0]
    absent, ours = [], {}
    print(HEAD)
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.balancer", "origin", str(port)]
    with process(command, OTHER_CORES):
        wait_port(port)
        for kind in given.only.split(","):
            try:
                version, results = asyncio.run(measured(cast("Kind", kind), port, given.seconds))
            except RouterConfigError as error:
                absent.append(str(error))
                continue
            for one in results:
                cost = one.cpu_us_per_request
                if kind == "hitless":
                    ours[one.case] = cost
                ratio = cost / ours[one.case] if ours.get(one.case) else float("nan")
                print(
                    f"{version:<18}{one.case:<12}{cost:>9.1f}{ratio:>8.2f}"
                    f"{one.requests_per_second:>10,.0f}{one.errors:>8}",
                    flush=True,
                )
    print(f"\n{len(CORES)} cores; load average {before:.1f} before, {os.getloadavg()[0]:.1f} after")
    for words in absent:
        print(f"left out: {words}")


if __name__ == "__main__":
    main()
