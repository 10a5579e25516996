"""A generator within the test, whose outcomes can be waited for."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from scenarios.evidence.mail import Mail
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.recorder import Recorder
from scenarios.evidence.run_folder import RunFolder
from scenarios.traffic.generator import Generator
from scenarios.traffic.plan import Plan
from scenarios.traffic.settings import Journey

Run = Callable[..., AbstractAsyncContextManager["Running"]]


class Running(NamedTuple):
    generator: Generator
    requests: "Watched"

    async def finish(self) -> None:
        self.generator.finish()
        await self.generator.drained()


class Watched(Recorder[Outcome]):
    """A recorder whose lines can be waited for."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._by_method: Counter[str] = Counter()
        self._written_now = asyncio.Event()

    def write(self, line: Outcome) -> None:
        super().write(line)
        self._by_method[line.endpoint.partition(" ")[0]] += 1
        self._written_now.set()

    async def until(self, count: int, method: str | None = None) -> None:
        """Wait until there are so many lines, of this method if one is given."""
        while (self.count if method is None else self._by_method[method]) < count:
            self._written_now.clear()
            await self._written_now.wait()


def running_in(folder: Path) -> Run:
    """Runs a generator against a port; `outcomes(folder)` is what it recorded."""

    @asynccontextmanager
    async def running(port: int, *journeys: Journey, **fields: object) -> AsyncIterator[Running]:
        base: dict[str, object] = {
            "host": "127.0.0.1",
            "port": port,
            "rate": 200.0,
            "seed": 7,
            "journeys": journeys,
            "requests_path": str(folder / "requests.ndjson"),
            "mails_path": str(folder / "mails.ndjson"),
            "timeout_seconds": 30.0,
        }
        plan = Plan(**(base | fields))  # type: ignore[arg-type]
        with (
            Watched(Path(plan.requests_path)) as requests,
            Recorder[Mail](Path(plan.mails_path)) as mails,
        ):
            async with Generator(plan, requests=requests, mails=mails) as generator:
                yield Running(generator, requests)

    return running


def outcomes(folder: Path) -> list[Outcome]:
    return list(RunFolder(folder).requests.read())
