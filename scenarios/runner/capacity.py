"""How much traffic this machine carries, measured with the scenario's own application.

A run on a machine that cannot carry its traffic says nothing about the release. So the first
version is started once, away from the run, and the rate of arrivals is doubled until requests
are late, slow or failing, or until twice the wanted rate is carried.
"""

import asyncio
import math
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from orchestrator.errors import EnvironmentFailure, OrchestratorError
from orchestrator.tasks import first_error
from scenarios.evidence.machine import MachineSample
from scenarios.evidence.progress import Silence
from scenarios.evidence.run_folder import RunFolder
from scenarios.evidence.tick import Tick
from scenarios.recording.machine import record_machine
from scenarios.runner.beginning import begin
from scenarios.runner.environment import Environment
from scenarios.runner.operator_commands import OperatorCommands
from scenarios.runner.run_parts import RunParts, Starter
from scenarios.scenario.experiment import Experiment
from scenarios.scenario.spec import Scenario
from scenarios.traffic.errors import TrafficError
from scenarios.traffic.settings import RatePoint

DOUBLINGS = 5
DOUBLING_SECONDS = 0.7
HEADROOM = 2.0
"""A rollout starts processes and migrates while the traffic goes on, so half is left for it."""

LEAST_RATE = 5.0
"""With fewer arrivals a second, a run of some seconds shows hardly anything."""

_WARM_UP_SECONDS = 0.8
_LATE_SECONDS = 0.05
_SLOW_SHARE = 0.3
_IN_A_ROW = 2

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What a machine carries.

    Attributes:
        rate: the highest rate of arrivals, per second, that it carried.
        complete: whether it carried the highest rate that was tried, so that it may carry more.
        others: the share of its processors that other processes used meanwhile, from 0 to 1; None
            where the system does not say it.
        limit: what showed that it carries no more; empty if it may.
    """

    rate: float
    complete: bool
    others: float | None
    limit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suited:
    """The traffic that suits a machine.

    Attributes:
        rate: arrivals per second.
        replicas: how many replicas each version has.
        sentence: the machine's capacity and the choice, for people.
    """

    rate: float
    replicas: int
    sentence: str


def suited(capacity: Capacity, scenario: Scenario) -> Suited:
    """PURE: choose the rate and the number of replicas by what the machine carries.

    A machine that carries less than the wanted rate gets one replica less, but at least two: a
    rollout with fewer replicas starts fewer processes while the traffic goes on.

    Raises:
        EnvironmentFailure: it carries too little for any run.
    """
    wanted, replicas = scenario.traffic.asked_rate, scenario.policy.replicas
    carried = _plain(capacity.rate)
    rate = min(wanted, max(_plain(capacity.rate / HEADROOM), min(wanted, LEAST_RATE)))
    if capacity.rate < rate:
        busy = (
            ""
            if capacity.others is None
            else f"; other processes use {capacity.others:.0%} of its processors"
        )
        raise EnvironmentFailure(
            f"this machine carries {carried:g}/s of this traffic now ({capacity.limit}{busy}), and "
            f"a run needs {rate:g}/s; let it rest, or take a larger one (--rate RATE runs anyway)"
        )
    if capacity.rate < wanted:
        replicas = max(min(replicas, 2), replicas - 1)
    fewer = f" with {replicas} replicas" if replicas < scenario.policy.replicas else ""
    least = "at least " if capacity.complete else ""
    return Suited(
        rate=rate,
        replicas=replicas,
        sentence=f"this machine carries {least}{carried:g}/s; running at {rate:g}/s{fewer}",
    )


def _plain(rate: float) -> float:
    """A rate rounded down to a number that is easy to say."""
    step = 10 if rate >= 100 else 5 if rate >= 20 else 1  # noqa: PLR2004 - two digits
    return float(rate // step * step)


class Ramp(Silence):
    """Follows the rising traffic by the generator's ticks.

    Args:
        slow_seconds: from which latency (p99) on a tick is slow.
        top: the highest rate that comes; a tick may count some more, by chance.
        tell: told the rate, for people.

    Attributes:
        carried: the highest rate, per second, of a tick in which all went well.
        limit: what went wrong since; empty while all goes well.
        overloaded: set when it went wrong twice in a row.
    """

    def __init__(self, slow_seconds: float, tell: Tell, top: float = math.inf) -> None:
        self.carried = 0.0
        self.limit = ""
        self.overloaded = asyncio.Event()
        self._slow_seconds = slow_seconds
        self._top = top
        self._tell = tell
        self._seconds = 0.0
        self._bad = 0

    def on_stage(self, text: str) -> None:
        """Pass it on."""
        self._tell(text)

    def on_tick(self, tick: Tick) -> None:
        """Take in a tick; the first ones only warm the application up."""
        self._seconds += tick.seconds
        rate = min(tick.planned / tick.seconds if tick.seconds else 0.0, self._top)
        self._tell(f"measuring what this machine carries: {rate:.0f}/s")
        limit = self._limit_of(tick)
        if limit is None:
            self._bad = 0
            self.limit = ""
            self.carried = max(self.carried, rate)
        elif self._seconds >= _WARM_UP_SECONDS:
            self._bad += 1
            self.limit = limit
            if self._bad >= _IN_A_ROW:
                self.overloaded.set()

    def _limit_of(self, tick: Tick) -> str | None:
        late, slow = tick.schedule_lag_p99_seconds, tick.p99_seconds
        if tick.failed or tick.undispatched:
            return f"{tick.failed + tick.undispatched} requests failed or could not be sent"
        if late is not None and late > _LATE_SECONDS:
            return f"requests were sent {late * 1e3:.0f} ms late"
        if slow is not None and slow > self._slow_seconds:
            return f"requests took {slow * 1e3:.0f} ms"
        return None


def rising(scenario: Scenario) -> Scenario:
    """The scenario with arrivals whose rate doubles, up to twice the rate that it asks for."""
    top = scenario.traffic.asked_rate * HEADROOM
    points = tuple(
        RatePoint(at_seconds=number * DOUBLING_SECONDS, rate=top / 2 ** (DOUBLINGS - number))
        for number in range(DOUBLINGS + 1)
    )
    traffic = msgspec.structs.replace(
        scenario.traffic, rate=top, arrivals="constant", profile=points
    )
    return msgspec.structs.replace(scenario, traffic=traffic)


async def measure(experiment: Experiment, place: Environment, folder: Path, tell: Tell) -> Capacity:
    """Measure what this machine carries of an experiment's traffic.

    Args:
        experiment: the experiment; its first version is started, and nothing is deployed.
        place: where it is started.
        folder: for its logs; it is removed unless something goes wrong.
        tell: told what is done, for people.

    Raises:
        ScenarioError: the first version answers something else than the scenario expects.
        EnvironmentFailure: it does not become ready or does not answer.
    """
    scenario = rising(experiment.scenario)
    slow_seconds = _SLOW_SHARE * scenario.objectives.latency_seconds
    ramp = Ramp(slow_seconds, tell, top=scenario.traffic.rate)
    tried = replace(experiment, loaded=replace(experiment.loaded, scenario=scenario), control=None)
    async with _tried(tried, place, folder, ramp) as (parts, captured):
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(parts.load.listen(), name="ticks of the ramp")
            samples = RunFolder(folder).machine_samples
            machine = group.create_task(
                record_machine(samples.path, (place.processes.mark,)), name="load of the machine"
            )
            await parts.load.start(captured)
            try:
                async with asyncio.timeout((DOUBLINGS + 1) * DOUBLING_SECONDS):
                    await ramp.overloaded.wait()
            except TimeoutError:
                pass
            listening.cancel()
            machine.cancel()
        others = _others(list(samples.read())) if samples.exists else None
    return Capacity(
        rate=ramp.carried,
        complete=not ramp.overloaded.is_set(),
        others=others,
        limit=ramp.limit,
    )


async def try_out(experiment: Experiment, place: Environment, folder: Path, tell: Tell) -> None:
    """Start the first version and try each journey once: `hitless run --dry-run`.

    Raises:
        ScenarioError: the first version answers something else than the scenario expects.
        EnvironmentFailure: it does not become ready or does not answer.
    """
    async with _tried(experiment, place, folder, Ramp(0.0, tell)):
        pass


@asynccontextmanager
async def _tried(
    experiment: Experiment, place: Environment, folder: Path, ramp: Ramp
) -> AsyncIterator[tuple[RunParts, dict[str, str]]]:
    """The first version, started and tried; it is gone when the block is left."""
    files = RunFolder(folder)
    try:
        async with AsyncExitStack() as stack:
            stack.enter_context(first_error())
            starter = Starter(experiment, place, files, ramp, OperatorCommands())
            parts = await starter.start(stack)
            version = experiment.scenario.release.serving
            ramp.on_stage(f"starting version {version} and trying each journey once")
            yield parts, await begin(experiment, parts, files)
    except (OrchestratorError, TrafficError) as error:
        raise EnvironmentFailure(str(error)) from error
    shutil.rmtree(folder)


def _others(samples: list[MachineSample]) -> float | None:
    """The share of the processors that other processes used."""
    if not samples:
        return None
    seconds = sum(one.seconds for one in samples)
    return sum(max(one.busy - one.own, 0.0) * one.seconds for one in samples) / seconds
