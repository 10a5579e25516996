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
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from benchmarks.http_load import GET, POST, Proxy, Result, measure
from benchmarks.machine import (
    OTHER_CORES,
    PROXY_CORE,
    cpu_seconds,
    free_port,
    how_busy,
    moment,
    pin,
    process,
    wait_port,
)
from orchestrator.model import Replica
from orchestrator.processes import Processes
from orchestrator.routers.capabilities import Kind
from orchestrator.routers.marked import RouterConfigError
from orchestrator.routers.registry import KINDS, start_router
from orchestrator.routers.settings import HealthCheck, RouterSettings

HEAD = f"{'router':<18}{'case':<12}{'CPU us':>9}{'x ours':>8}{'req/s':>10}{'errors':>8}"


@dataclass(frozen=True)
class PinnedRouter:
    """A router that runs on its core: where and as which process, its version, and its folder."""

    proxy: Proxy
    version: str
    folder: Path


@asynccontextmanager
async def running_router(kind: Kind, origins: Sequence[int]) -> AsyncIterator[PinnedRouter]:
    """Run a router as `hitless run` starts it, on its own core, in front of these local ports.

    Raises:
        RouterConfigError: it is not installed.
    """
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
        ids = [f"a-{number}" for number, _ in enumerate(origins, 1)]
        for replica, origin in zip(ids, origins, strict=True):
            await router.register(Replica(id=replica, version="a", host="127.0.0.1", port=origin))
        async with asyncio.timeout(30):
            await router.wait_up(ids)
        await router.weigh(dict.fromkeys(ids, 1.0))
        pin(running.process.pid, PROXY_CORE)
        port = int(running.address.rpartition(":")[2])
        await asyncio.to_thread(wait_port, port)
        yield PinnedRouter(
            Proxy(f"router:{kind}", port, running.process.pid), running.version, folder
        )


async def measured(kind: Kind, origin: int, seconds: int) -> tuple[str, list[Result], float]:
    """Run one router; its version, what it did in each case, and its processor time in seconds."""
    async with running_router(kind, [origin]) as router:
        results = [
            await asyncio.to_thread(measure, router.proxy, case, seconds, router.folder)
            for case in (GET, POST)
        ]
        return router.version, results, cpu_seconds(router.proxy.pid)


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
    before = moment()
    absent, ours, spent = [], {}, 0.0
    print(HEAD)
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.reference_servers", "origin", str(port)]
    with process(command, OTHER_CORES) as origin:
        wait_port(port)
        for kind in given.only.split(","):
            try:
                version, results, used = asyncio.run(
                    measured(cast("Kind", kind), port, given.seconds)
                )
            except RouterConfigError as error:
                absent.append(str(error))
                continue
            spent += used
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
        print(f"\n{how_busy(before, spent + cpu_seconds(origin.pid))}")
    for words in absent:
        print(f"left out: {words}")


if __name__ == "__main__":
    main()
