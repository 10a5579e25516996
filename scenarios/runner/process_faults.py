"""Makes the faults of processes beside the web: signals, kills, and restarts, at a job if asked."""

import asyncio
import signal
import time

from orchestrator.errors import EnvironmentFailure, PlatformError
from orchestrator.journal import Journal, SetJournal
from orchestrator.model import Replica
from scenarios.runner.beside_web import BesideWeb, RunningSet
from scenarios.scenario.spec import FaultSpec

_LOOK_SECONDS = 0.01
_MINUTE = 60.0
_ROOM_SECONDS = 20.0
"""So much of a minute must be left, so that a stop and a start fit into it."""


class ProcessFaults:
    """The faults of one run that affect `application.processes`."""

    def __init__(self, beside: BesideWeb, journal: Journal) -> None:
        """Describe what they affect, and where they are recorded."""
        self._beside = beside
        self._journal = journal

    async def wait(self, spec: FaultSpec) -> Replica | None:
        """Wait for the moment of a fault; return the process that it affects, if it is one."""
        if spec.do == "restart" or spec.process is None:
            if spec.when == "job-begun":
                await self._job_begun(None)
            return None
        chosen = self._beside.named(spec.process)
        if spec.do == "restart-in-minute":
            await _room_in_minute()
            return None
        if spec.when == "job-begun":
            return await self._job_begun(chosen)
        while not (serving := _candidates(chosen, spec)):  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(_LOOK_SECONDS)
        return serving[0]

    async def make(self, spec: FaultSpec, replica: Replica | None) -> None:
        """Make a fault whose moment has come.

        Raises:
            EnvironmentFailure: a shared process did not start again.
        """
        name = spec.process or ""
        journal = SetJournal(self._journal, name, in_turn=False)
        async with journal.verb(
            "fault",
            version=replica.version if replica else None,
            replicas=[replica.id] if replica else self._all(spec),
            detail={"name": spec.do},
        ):
            if spec.do == "restart":
                shared = self._beside.shared[name]
                await shared.stop()
                await asyncio.sleep(spec.seconds)
                await shared.start()
                return
            chosen = self._beside.named(name)
            if spec.do == "restart-in-minute":
                await self._restart(chosen)
            elif replica is not None:
                await self._hurt(spec, chosen, replica)

    def _all(self, spec: FaultSpec) -> list[str]:
        if spec.do != "restart-in-minute" or spec.process is None:
            return []
        return [one.id for one in self._beside.named(spec.process).set.rollout.all()]

    async def _job_begun(self, chosen: RunningSet | None) -> Replica | None:
        """Wait until a process has a job in hand; of a set, return that process."""
        jobs = self._beside.jobs
        if jobs is None:
            raise EnvironmentFailure("a fault waits for a job, and there is no [jobs] table")
        while True:
            busy = jobs.account.busy()
            if chosen is None and busy:
                return None
            for replica in _candidates(chosen, None) if chosen else ():
                if replica.id in busy:
                    return replica
            await asyncio.sleep(_LOOK_SECONDS)

    async def _hurt(self, spec: FaultSpec, chosen: RunningSet, replica: Replica) -> None:
        platform, number = chosen.platform, signal.Signals[chosen.spec.stop_signal]
        if spec.do == "kill-all":
            platform.kill_family(replica)
            await platform.wait_ended(replica)
            return
        platform.send_signal(replica, number, group=spec.do == "term-group")
        grace = chosen.spec.termination_grace_seconds
        if spec.do == "term-twice":
            if await _ends(chosen, replica, spec.seconds):
                return
            platform.send_signal(replica, number, group=False)
            grace = max(0.0, grace - spec.seconds)
        if not await _ends(chosen, replica, grace):
            platform.kill_family(replica)
            await platform.wait_ended(replica)

    async def _restart(self, chosen: RunningSet) -> None:
        """Stop every process of a set, and let the supervisor start it again at once."""
        number = signal.Signals[chosen.spec.stop_signal]
        group = chosen.spec.stop_to == "group"
        for replica in chosen.set.rollout.serving():
            chosen.platform.send_signal(replica, number, group=group)
            if not await _ends(chosen, replica, chosen.spec.termination_grace_seconds):
                chosen.platform.kill_family(replica)
                await chosen.platform.wait_ended(replica)


def _candidates(chosen: RunningSet, spec: FaultSpec | None) -> list[Replica]:
    """The processes of a set that serve and run, oldest first."""
    return [
        replica
        for replica in chosen.set.rollout.serving()
        if chosen.platform.is_running(replica)
        and (spec is None or spec.version in (None, replica.version))
    ]


async def _ends(chosen: RunningSet, replica: Replica, seconds: float) -> bool:
    """Wait until a process has ended; whether it came to that in time."""
    try:
        async with asyncio.timeout(seconds):
            await chosen.platform.wait_ended(replica)
    except TimeoutError:
        return False
    except PlatformError:  # it was replaced meanwhile, so it has ended
        return True
    return True


async def _room_in_minute() -> None:
    """Wait for the second after a full minute, unless there is room in this one.

    A scheduler with a minute's schedule acts at the beginning of the minute, and a restart in the
    rest of the same minute shows whether it acts again.
    """
    into = time.time() % _MINUTE
    if not 1.0 <= into <= _MINUTE - _ROOM_SECONDS:
        await asyncio.sleep((_MINUTE - into + 1.0) % _MINUTE)
