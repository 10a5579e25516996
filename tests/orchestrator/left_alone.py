"""An orchestrator to be killed: `left_alone.py FOLDER STRATEGY [TERMINATION]`.

Its fleet may be taken over. TERMINATION is a `TerminationPolicy` as JSON.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

import msgspec

from orchestrator.journal import Journal
from orchestrator.model import Deploy, Release, Version
from orchestrator.platforms.local import LocalPlatform
from orchestrator.policy import Criteria, Policy
from orchestrator.processes import Processes
from orchestrator.recovery import JOURNAL, FleetPlan
from orchestrator.release import ReleaseRun, bring_up
from orchestrator.rollout import Rollout
from orchestrator.routers.hitless import start_balancer
from orchestrator.strategies import STRATEGIES
from orchestrator.termination import TerminationPolicy
from tests.support.orchestrator import FAST, NoMigrator

COMMAND = (
    *("{python}", "-m", "scenarios.subjects.service"),
    *("--version", "{version}", "--port", "{port}"),
)
POLICY = Policy(
    replicas=2,
    min_ready_seconds=0.3,
    canary_soak_seconds=0.3,
    canary_steps=(50, 100),
    analysis=Criteria(patience_seconds=0.0),
)


async def main(folder: Path, strategy: str, termination: TerminationPolicy) -> None:
    policy = msgspec.structs.replace(POLICY, termination=termination)
    a, b = (Version(name=name, command=COMMAND) for name in "ab")
    release = Release(name="r", start=a, steps=(Deploy(version=b),))
    private = Path(tempfile.mkdtemp(prefix="hitless-left-"))
    with Journal(folder / JOURNAL) as journal:
        async with (
            Processes(keep=True) as processes,
            start_balancer(
                processes, directory=private, log=folder / "balancer.log", health=FAST
            ) as balancer,
            LocalPlatform(processes, log_directory=folder) as platform,
        ):
            plan = FleetPlan(
                mark=processes.mark,
                admin=balancer.admin,
                directories=(str(private),),
                health=FAST,
                policy=policy,
                strategy=strategy,
                release=release,
            )
            with plan.in_force(folder):
                rollout = Rollout(platform, balancer.router, journal, policy)
                await bring_up(rollout, a)
                sys.stdout.write(balancer.address + "\n")
                sys.stdout.flush()
                await ReleaseRun(release, rollout, STRATEGIES[strategy], NoMigrator()).run()
                journal.note("phase", detail={"name": "done"})
                await asyncio.Event().wait()


if __name__ == "__main__":
    given = sys.argv[3] if len(sys.argv) > 3 else "{}"
    asyncio.run(
        main(Path(sys.argv[1]), sys.argv[2], msgspec.json.decode(given, type=TerminationPolicy))
    )
