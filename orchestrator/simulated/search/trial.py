"""Carries out one schedule, and says which invariants it breaks."""

from orchestrator.errors import OrchestratorError
from orchestrator.model import JournalEvent, ReleaseResult
from orchestrator.rollout import Rollout
from orchestrator.simulated.search.invariants import Violation, Watch
from orchestrator.simulated.search.schedule import Schedule
from orchestrator.simulated.world import EndlessRunError, SimulatedWorld, simulate


def violations_of(schedule: Schedule) -> list[Violation]:
    """Carry out a schedule; returns what did not hold in it, the first one first."""
    watch = Watch(schedule)

    def event(one: JournalEvent) -> None:
        watch.event(one)
        if one.verb == "release" and one.state in ("completed", "failed"):
            result = one.detail.get("outcome")
            watch.released(_result(str(result), one))

    def phase(name: str, world: SimulatedWorld, rollout: Rollout) -> None:
        watch.phase(name, world, rollout)

    try:
        result = simulate(schedule.run(), watch, listeners=[event], on_phase=phase)
    except EndlessRunError as error:
        watch.broke(error)
    except OrchestratorError as error:
        if _foreseen(error):
            return []
        watch.broke(error)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what the search looks for
        watch.broke(error)
    else:
        watch.ended(result)
    return watch.violations


def _foreseen(error: OrchestratorError) -> bool:
    """Whether a run may end so: its first version never served, or its fleet did not stop."""
    return "taken down" not in str(error)


def _result(outcome: str, event: JournalEvent) -> ReleaseResult:
    return ReleaseResult(
        outcome=outcome,  # type: ignore[arg-type] # the journal has one of these words
        seconds=event.seconds or 0.0,
        floor_seconds=0.0,
        versions=(),
    )
