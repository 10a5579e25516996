"""An experiment: what is run, and what is said of it afterwards."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version as distribution_version

from orchestrator.model import ReleaseResult
from orchestrator.strategies import STRATEGIES
from scenarios.evidence.manifest import Manifest, this_machine
from scenarios.loading import Loaded
from scenarios.spec import IntegritySpec, Scenario

STRATEGY_NAMES = tuple(STRATEGIES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """One run, before it is run.

    Attributes:
        loaded: the scenario, with whatever flags changed in it.
        strategy: one of `STRATEGY_NAMES`.
        seed: of all randomness.
        replay: the command that runs the same again.
        hold: whether the run goes on after the release until it is told to finish.
    """

    loaded: Loaded
    strategy: str
    seed: int
    replay: str
    hold: bool = False

    @property
    def scenario(self) -> Scenario:
        """What the scenario says."""
        return self.loaded.scenario

    def manifest(
        self,
        result: ReleaseResult | None,
        *,
        database: str | None,
        started_at: datetime,
        interrupted: bool,
        digests: Mapping[str, str],
    ) -> Manifest:
        """What `run.json` says of it, once it was run.

        Args:
            result: how the release ended; None when it did not come to that.
            database: the name of the application's database, if it had one.
            started_at: wall-clock time.
            interrupted: whether it was cut short.
            digests: of its evidence, by file.
        """
        scenario = self.scenario
        integrity = scenario.integrity or IntegritySpec(subjects="")
        rows = scenario.database.rows if scenario.database else None
        deployed = [step.deploy for step in scenario.release.steps if step.deploy]
        return Manifest(
            scenario=scenario.name,
            strategy=self.strategy,
            platform="local",
            router="hitless",
            seed=self.seed,
            replicas=scenario.policy.replicas,
            rate=scenario.traffic.asked_rate,
            existing_rows=rows.count if rows else 0,
            versions=(scenario.release.serving, *deployed),
            states=integrity.states,
            confirmed_state=integrity.confirmed_state,
            confirm_endpoint=integrity.confirm_endpoint,
            subject_endpoint=integrity.subject_endpoint,
            expected_outcome=scenario.expect.outcomes.get(self.strategy, scenario.expect.outcome),
            outcome=result.outcome if result else "aborted",
            outcome_reason=result.reason if result else "interrupted",
            objectives=scenario.objectives,
            replay=self.replay,
            hitless=distribution_version("hitless"),
            started_at=started_at.isoformat(timespec="seconds"),
            interrupted=interrupted,
            environment=this_machine(),
            faults=tuple(fault.do for fault in scenario.faults),
            database=database,
            files=digests,
        )
