"""All experiments on one server, beside one another where they wait, each on its own process."""

import asyncio
import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from orchestrator.processes import Processes
from orchestrator.tasks import first_error
from orchestrator.tcp_ports import PortAllocator
from scenarios.probe import findings, plans
from scenarios.probe.discovery import Asked, Found, discover
from scenarios.probe.errors import DidNotStart
from scenarios.probe.experiments import perform
from scenarios.probe.profile import LeftOut, Profile, Signalled, Startup
from scenarios.probe.server import Server, Target, started
from scenarios.probe.transcript import Observation
from scenarios.probe.words import TITLES, progress_line

WATCH_SECONDS = 15.0
STARTING = 2
"""So many servers start at a time: more of them would only wait for the cores."""
_EXPECT_SECONDS = 3.0
_AGAIN = 2
_AGAIN_SECONDS = 60.0
"""So long, at most, new attempts are begun on a machine that is busy all the time."""
_LATE_SECONDS = 1.0
_BUSY_SECONDS = 0.5
_NAME_LENGTH = 60

Tell = Callable[[str], None]

_READS: Mapping[str, Callable[[Observation], Any]] = {
    "idle": findings.idle,
    "in_flight": findings.delivery,
    "new_connections": findings.new_connections,
    "upload": findings.upload,
    "second_signal": findings.second_signal,
    "long_request": findings.delivery,
    "websocket": findings.websocket,
    "stream": findings.stream,
    "endless_stream": findings.endless_stream,
    "queue": findings.queue,
}
_TELL_THE_SIGNAL = ("in_flight", "idle")
"""The experiments that tell which process the signal reached, the better one first."""


def keep_alive_plan(path: str, watch: float) -> plans.ExperimentPlan:
    """A connection that waits for its next request, and nobody stops the server."""
    return plans.ExperimentPlan(
        name="keep_alive",
        title="how long an idle connection is kept",
        prepare=(plans.Prepare("idle", plans.get(path)),),
        steps=(plans.Send(0.0, "nobody", b"", kept=True),),
        watch_seconds=watch,
    )


def expect_plan(path: str) -> plans.ExperimentPlan:
    """A POST that asks whether to go on, and sends its body a while later."""
    return plans.ExperimentPlan(
        name="continues",
        title="Expect: 100-continue",
        steps=(
            plans.Send(0.0, "expect", plans.post(path, expect=True)),
            plans.Send(_EXPECT_SECONDS, "expect", plans.BODY, kept=True),
        ),
        watch_seconds=_EXPECT_SECONDS + 1.0,
    )


async def probe(
    target: Target,
    asked: Asked | None = None,
    *,
    watch_seconds: float = WATCH_SECONDS,
    idle_seconds: float | None = None,
    experiments: Iterable[str] | None = None,
    serial: bool = False,
    tell: Tell = lambda _line: None,
    keep: Callable[[Observation], None] = lambda _seen: None,
) -> Profile:
    """Find out how a server starts and stops.

    Args:
        target: what is started.
        asked: the paths that it can be asked; what is not said is tried.
        watch_seconds: how long each experiment is watched at most, after the stop signal.
        idle_seconds: how long an idle connection is watched for its timeout; absent: as long.
        experiments: the names of those that are wanted; absent: all.
        serial: whether they are made one after the other, for a server that cannot run beside
            itself; so is one that always listens on the same port.
        tell: hears a line for each experiment that has been made.
        keep: hears what each experiment saw.

    Raises:
        DidNotStart: the command did not become a server that answers where it was told to.
        RouteError: a path that was given does not do what it was given for.
        PlaceholderError: the command holds a placeholder that nobody fills.
    """
    try:
        with first_error(), PortAllocator() as ports:
            async with Processes() as processes, processes.directory("hitless-probe-") as private:
                work = _Probe(
                    target,
                    asked or Asked(),
                    private=private,
                    ports=ports,
                    watch=watch_seconds,
                    idle=watch_seconds if idle_seconds is None else idle_seconds,
                    experiments=experiments,
                    serial=serial or target.port is not None,
                    tell=tell,
                    keep=keep,
                )
                return await work.go()
    except DidNotStart as error:
        name = shlex.join(target.command)
        name = name if len(name) <= _NAME_LENGTH else f"{name[:_NAME_LENGTH]}…"
        raise DidNotStart(f"{name} did not become a server: {error}") from error


def is_doubtful(finding: object, seen: Observation) -> bool:
    """Whether an experiment may have seen the machine's delay and not the server.

    The probe was late by so much that what was in flight was not as old as planned; or the machine
    was busy, and nothing was under way at the signal.
    """
    missed = finding is None and seen.core_wait_seconds > _BUSY_SECONDS
    return missed or seen.late_seconds > _LATE_SECONDS


def _doubt(finding: object, seen: Observation) -> tuple[bool, float]:
    return finding is None, seen.late_seconds


class _Probe:
    def __init__(
        self,
        target: Target,
        asked: Asked,
        *,
        private: Path,
        ports: PortAllocator,
        watch: float,
        idle: float,
        experiments: Iterable[str] | None,
        serial: bool,
        tell: Tell,
        keep: Callable[[Observation], None],
    ) -> None:
        self._target = target
        self._asked = asked
        self._private = private
        self._ports = ports
        self._watch = watch
        self._idle_seconds = idle
        self._wanted = None if experiments is None else set(experiments)
        self._serial = serial
        self._tell = tell
        self._keep = keep
        self._began = time.monotonic()
        self._starting = asyncio.Semaphore(STARTING)
        self._starts = 0
        self._found: dict[str, Any] = {}
        self._signalled: dict[str, Signalled] = {}
        self._left: list[LeftOut] = []
        self._doubtful: list[tuple[plans.ExperimentPlan, Observation]] = []
        self._core_wait: dict[str, float] = {}

    async def go(self) -> Profile:
        log = self._private / "first.log"
        self._starts += 1
        async with started(self._target, self._ports, log) as server, asyncio.TaskGroup() as group:
            await server.wait_listening()
            startup = await server.wait_answering(self._target.ready_path)
            self._say("startup", startup)
            can = await discover(server, self._asked)
            self._left += [left for left in can.left_out if self._wants(left.experiment)]
            # From here on the first server only waits, for its idle connection to be closed.
            if self._wants("keep_alive"):
                group.create_task(self._keep_alive(server, can))
            if not self._serial:
                for plan in self._plans(can):
                    group.create_task(self._experiment(plan))
        if self._serial:
            for plan in self._plans(can):
                await self._experiment(plan)
        until = time.monotonic() + _AGAIN_SECONDS
        for plan, seen in self._doubtful:
            await self._again(plan, seen, until)
        return self._profile(startup, can)

    def _plans(self, can: Found) -> Iterator[plans.ExperimentPlan]:
        for name, make in plans.EXPERIMENTS.items():
            plan = make(can.routes, self._watch)
            if plan is not None and self._wants(name):
                yield plan

    def _wants(self, name: str) -> bool:
        return self._wanted is None or name in self._wanted

    async def _keep_alive(self, server: Server, can: Found) -> None:
        # One after the other: an idle connection may occupy a server that has one worker.
        if can.routes.upload is not None:
            await self._expect(server, can.routes.upload)
        await self._idle(server, can)

    async def _idle(self, server: Server, can: Found) -> None:
        seen = await perform(keep_alive_plan(can.routes.get, self._idle_seconds), server)
        self._settle("keep_alive", findings.keep_alive(seen), seen)

    async def _expect(self, server: Server, path: str) -> None:
        seen = await perform(expect_plan(path), server)
        self._settle("continues", findings.continues(seen), seen)

    async def _experiment(self, plan: plans.ExperimentPlan) -> None:
        seen = await self._attempt(plan, plan.name)
        if is_doubtful(_READS[plan.name](seen), seen):
            self._doubtful.append((plan, seen))
        else:
            self._conclude(plan, seen)

    async def _again(self, plan: plans.ExperimentPlan, seen: Observation, until: float) -> None:
        """Make it again, with nothing beside it; the attempt with the least delay counts."""
        for number in range(_AGAIN):
            if time.monotonic() > until:
                break
            self._progress(f"{TITLES[plan.name]}: once more, since the machine was busy")
            another = await self._attempt(plan, f"{plan.name}-{number}")
            seen = min(seen, another, key=lambda one: _doubt(_READS[plan.name](one), one))
            if not is_doubtful(_READS[plan.name](seen), seen):
                break
        self._conclude(plan, seen)

    async def _attempt(self, plan: plans.ExperimentPlan, log: str) -> Observation:
        async with AsyncExitStack() as stack:
            async with self._starting:
                self._starts += 1
                file = self._private / f"{log}.log"
                server = await stack.enter_async_context(started(self._target, self._ports, file))
                await self._wait_beside_itself(server)
            return await perform(plan, server)

    def _conclude(self, plan: plans.ExperimentPlan, seen: Observation) -> None:
        self._settle(plan.name, _READS[plan.name](seen), seen)
        if plan.name in _TELL_THE_SIGNAL:
            self._signalled[plan.name] = findings.signalled(seen)

    async def _wait_beside_itself(self, server: Server) -> None:
        try:
            await server.wait_listening()
            await server.wait_answering(self._target.ready_path)
        except DidNotStart as error:
            if self._serial:
                raise
            raise DidNotStart(
                f"it started once, but not a second time beside itself (--serial starts one after "
                f"the other): {error}"
            ) from error

    def _settle(self, name: str, finding: object, seen: Observation) -> None:
        self._keep(seen)
        self._core_wait[name] = round(seen.core_wait_seconds, 3)
        if finding is None:
            reason = "what it was about was not under way at the stop signal"
            self._left.append(LeftOut(name, reason))
        else:
            self._found[name] = finding
            self._say(name, finding)

    def _say(self, name: str, finding: object) -> None:
        self._progress(progress_line(name, finding))

    def _progress(self, line: str) -> None:
        self._tell(f"{time.monotonic() - self._began:5.1f} s  {line}")

    def _profile(self, startup: Startup, can: Found) -> Profile:
        signalled = next(
            (self._signalled[name] for name in _TELL_THE_SIGNAL if name in self._signalled), None
        )
        return Profile(
            command=self._target.command,
            stop_signal=self._target.stop_signal,
            paths=can.routes.paths,
            server=can.server,
            watch_seconds=self._watch,
            seconds=round(time.monotonic() - self._began, 1),
            starts=self._starts,
            startup=startup,
            signalled=signalled,
            left_out=tuple(self._left),
            core_wait=dict(sorted(self._core_wait.items())),
            **self._found,
        )
