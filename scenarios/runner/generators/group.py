"""Several generators elsewhere that send together what one would: commanded, read and merged."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, TypeVar

import msgspec

from orchestrator.tasks import all_or_first_error
from scenarios.errors import LoadError
from scenarios.evidence.generator_facts import GeneratorFacts
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.recorder import Recorder
from scenarios.evidence.run_folder import RunFolder
from scenarios.evidence.tick import Tick
from scenarios.runner.generators.clock_track import ClockTrack, track_of
from scenarios.runner.generators.merged_requests import DamagedError, append_requests
from scenarios.runner.generators.merged_ticks import MergedTicks
from scenarios.runner.generators.remote_generator import RemoteGenerator
from scenarios.traffic.plan import Plan
from scenarios.traffic.process.dialogue import Command
from scenarios.traffic.remote.hosted import boot_id
from scenarios.traffic.remote.messages import Assignment, SetUpRequests, TrafficTarget
from scenarios.traffic.remote.plan_files import named_files

T = TypeVar("T")

_LEAD_SECONDS = 1.0
"""So long before the traffic starts or stops, all generators are told when: on their own clocks."""

_LOOK_SECONDS = 0.5
_TICK_SECONDS = 0.5


class GeneratorGroup:
    """The generators of one run; `generator_group` makes it.

    A generator that is lost takes nothing else with it: the others go on, since somebody's
    deployment is under way. `facts` then says what is missing, and the run is invalid.
    """

    def __init__(
        self,
        plan: Plan,
        generators: Sequence[RemoteGenerator],
        *,
        requests: Recorder[Outcome],
        ticks: IO[bytes],
        on_tick: Callable[[Tick], None],
    ) -> None:
        self._plan = msgspec.structs.replace(plan, processes=len(generators))
        self._files = {path: _content(path) for path in named_files(plan)}
        self._generators = tuple(generators)
        self._requests = requests
        self._ticks = ticks
        self._on_tick = on_tick
        self._merged: MergedTicks | None = None
        self._here = False

    @property
    def here(self) -> bool:
        """Whether all generators run on this machine."""
        return self._here

    @property
    def facts(self) -> tuple[GeneratorFacts, ...]:
        """What became of each generator."""
        return tuple(map(_facts, self._generators))

    async def prepare(self) -> None:
        """See that all of them are of this version and reach the target, and read their clocks.

        Raises:
            LoadError: one is lost, refuses its part, or does not reach the target.
        """
        mine, boots = version("hitless"), set()
        for about in await self._all(RemoteGenerator.about):
            boots.add(about.boot_id)
            if about.hitless != mine:
                raise LoadError(
                    f"the image has hitless {about.hitless}, and this is hitless {mine}; both must "
                    "be the same"
                )
        self._here = boots == {boot_id()} and "" not in boots
        tls_files = {
            path: content
            for path, content in self._files.items()
            if self._plan.tls is not None and path == self._plan.tls.ca_file
        }
        target = TrafficTarget(
            host=self._plan.host, port=self._plan.port, tls=self._plan.tls, files=tls_files
        )
        await self._all(lambda one: one.check(target))
        await self._all(self._begin)
        await self._all(self._read_before)

    async def set_up(self) -> dict[str, str]:
        """Let the first generator send the requests of the set-up; returns what they captured.

        Raises:
            LoadError: one of them failed.
        """
        if not self._plan.set_up:
            return {}
        return await self._generators[0].set_up(
            SetUpRequests(
                host=self._plan.host,
                port=self._plan.port,
                tls=self._plan.tls,
                files=self._files,
                steps=self._plan.set_up,
                seed=self._plan.seed,
                timeout_seconds=self._plan.timeout_seconds,
            )
        )

    async def start(self, values: Mapping[str, str] = MappingProxyType({})) -> None:
        """Let the first arrival come in a second, for all generators at the same time.

        Args:
            values: what fills the plan's `known` placeholders.

        Raises:
            LoadError: a generator is lost before there is any traffic.
        """
        start_ns = time.monotonic_ns() + round(_LEAD_SECONDS * 1e9)
        self._merged = MergedTicks(
            (one.number for one in self._generators), start_ns=start_ns, seconds=_TICK_SECONDS
        )
        await self._all(
            lambda one: one.tell(
                Command(do="start", at_ns=_on_its_clock(one, start_ns), values=dict(values))
            )
        )
        await _until(start_ns)

    async def released(self) -> None:
        """Let those go on who wait for the end of the release."""
        await self._tell(lambda _: Command(do="released"))

    async def stop(self) -> None:
        """Let no further arrival come from a second on, for all generators at the same time."""
        stop_ns = time.monotonic_ns() + round(_LEAD_SECONDS * 1e9)
        await self._tell(lambda one: Command(do="stop", at_ns=_on_its_clock(one, stop_ns)))
        await _until(stop_ns)

    async def finish(self) -> None:
        """Let them complete what is under way."""
        await self._tell(lambda _: Command(do="finish"))

    async def listen(self) -> int:
        """Take in what they report until all have finished or are lost, and merge their evidence.

        Returns:
            how many requests they recorded.
        """
        await self._all(self._follow)
        self._write_ticks()
        return await asyncio.to_thread(self._merge)

    async def _begin(self, one: RemoteGenerator) -> None:
        part = msgspec.structs.replace(self._plan, shard=one.number - 1)
        await one.begin(Assignment(plan=part, files=self._files))

    async def _read_before(self, one: RemoteGenerator) -> None:
        one.before = await one.read_clock()

    async def _follow(self, one: RemoteGenerator) -> None:
        """Read one generator until it has finished or is lost.

        It is read before the traffic starts as well, so that it knows that the harness lives.
        """
        try:
            while not one.finished:
                for interval in await one.report():
                    if self._merged is not None:
                        end_ns = interval.tick.at_ns + one.before.bounds.middle_ns
                        self._merged.add(one.number, interval, end_ns)
                self._write_ticks()
                if not one.finished:
                    await one.pause(_LOOK_SECONDS)
            one.after = await one.read_clock()
            await one.end()
        except LoadError as error:
            one.lose(str(error))
        if self._merged is not None:
            self._merged.left(one.number)

    def _write_ticks(self) -> None:
        for tick in () if self._merged is None else self._merged.take():
            self._ticks.write(msgspec.json.encode(tick) + b"\n")
            self._on_tick(tick)

    def _merge(self) -> int:
        for one in self._generators:
            if not one.evidence.is_file():
                continue
            try:
                one.requests = append_requests(
                    one.evidence, track(one), self._requests, sha256=one.sha256
                )
            except DamagedError as error:
                one.finished = False
                one.lose(str(error))
            one.evidence.unlink()
        self._requests.flush()
        return self._requests.count

    async def _tell(self, command: Callable[[RemoteGenerator], Command]) -> None:
        """Give each of those that are not lost a command."""

        async def tell(one: RemoteGenerator) -> None:
            if one.lost is None and not one.finished:
                try:
                    await one.tell(command(one))
                except LoadError as error:
                    one.lose(str(error))

        await self._all(tell)

    async def _all(self, ask: Callable[[RemoteGenerator], Coroutine[Any, Any, T]]) -> list[T]:
        """Ask all generators at the same time.

        Raises:
            LoadError: one of them is lost, or refused.
        """
        return await all_or_first_error(ask(one) for one in self._generators)


@contextmanager
def generator_group(
    plan: Plan,
    generators: Sequence[RemoteGenerator],
    folder: Path,
    on_tick: Callable[[Tick], None],
) -> Iterator[GeneratorGroup]:
    """The generators of a run, and the files of the run that they fill.

    Args:
        plan: what they send together.
        generators: the generators, in the order of their numbers.
        folder: the folder of the run.
        on_tick: called with each tick.

    Raises:
        LoadError: a file that the plan names cannot be read.
        StorageError: a file of the run cannot be written.
    """
    run = RunFolder(folder)
    with (
        run.requests.recorder() as requests,
        run.mails.recorder(),
        run.ticks.path.open("wb") as ticks,
    ):
        yield GeneratorGroup(plan, generators, requests=requests, ticks=ticks, on_tick=on_tick)


def track(one: RemoteGenerator) -> ClockTrack:
    """How the clock of a generator relates to the run's."""
    return track_of(one.before, one.after, one.between)


def _facts(one: RemoteGenerator) -> GeneratorFacts:
    clock = track(one)
    return GeneratorFacts(
        number=one.number,
        name=one.name,
        node=one.node,
        requests=one.requests,
        clock_error_ns=clock.error_ns,
        clock_drift_ns=clock.drift_ns,
        lost=one.lost,
    )


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise LoadError(f"{path}: {error.strerror}") from error


def _on_its_clock(one: RemoteGenerator, at_ns: int) -> int:
    return at_ns - one.before.bounds.middle_ns


async def _until(at_ns: int) -> None:
    await asyncio.sleep(max(0.0, (at_ns - time.monotonic_ns()) / 1e9))
