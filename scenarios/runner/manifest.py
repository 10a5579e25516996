"""What `run.json` says of an experiment that was run."""

from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import version as distribution_version
from typing import NamedTuple

import msgspec

from orchestrator.model import ReleaseResult
from orchestrator.policy import Policy
from orchestrator.termination import Lag
from scenarios.evidence.jobs import JobSettings, ProcessSet
from scenarios.evidence.leaving import LeavingSettings, RequestHandling
from scenarios.evidence.manifest import Manifest, this_machine
from scenarios.evidence.service_facts import ServiceFacts
from scenarios.scenario.experiment import Experiment
from scenarios.scenario.spec import IntegritySpec, Scenario


class RouterFacts(NamedTuple):
    """What a manifest says of the router beside its kind.

    Attributes:
        version: what it calls itself.
        lacks: what it cannot do, one sentence each.
    """

    version: str
    lacks: tuple[str, ...]


def manifest_of(
    experiment: Experiment,
    result: ReleaseResult | None,
    *,
    database: str | None,
    router: RouterFacts | None,
    started_at: datetime,
    platform: str = "local",
    environment: Mapping[str, str] | None = None,
    interrupted: bool,
    digests: Mapping[str, str],
    jobs: JobSettings | None = None,
) -> Manifest:
    """What `run.json` says of an experiment that was run.

    Args:
        experiment: what was run.
        result: how the release ended; None when it did not come to that.
        database: the name of the application's database, if it had one.
        router: what is known of the router; None when it did not start.
        started_at: wall-clock time.
        platform: where the replicas ran.
        environment: the machine; None: this one.
        interrupted: whether it was cut short.
        digests: of its evidence, by file.
        jobs: how it looked at jobs, if it did.
    """
    scenario = experiment.scenario
    integrity = scenario.integrity or IntegritySpec(subjects="")
    rows = scenario.database.rows if scenario.database else None
    deployed = [step.deploy for step in scenario.release.steps if step.deploy]
    return Manifest(
        scenario=scenario.name,
        strategy=experiment.strategy,
        platform=platform,
        router=scenario.router.kind,
        router_version=router.version if router else None,
        router_config=scenario.router.config,
        router_lacks=router.lacks if router else (),
        seed=experiment.seed,
        replicas=scenario.policy.replicas,
        rate=scenario.traffic.asked_rate,
        existing_rows=rows.count if rows else 0,
        versions=(scenario.release.serving, *deployed),
        states=integrity.states,
        confirmed_state=integrity.confirmed_state,
        confirm_endpoint=integrity.confirm_endpoint,
        subject_endpoint=integrity.subject_endpoint,
        expected_outcome=scenario.expect.outcomes.get(experiment.strategy, scenario.expect.outcome),
        outcome=result.outcome if result else "aborted",
        outcome_reason=result.reason if result else "interrupted",
        objectives=scenario.objectives,
        replay=experiment.replay,
        hitless=distribution_version("hitless"),
        started_at=started_at.isoformat(timespec="seconds"),
        interrupted=interrupted,
        environment=this_machine() if environment is None else environment,
        faults=tuple(fault.do for fault in scenario.faults),
        database=database,
        persona=scenario.policy.persona,
        termination=leaving_settings(scenario.policy),
        handling=request_handling(scenario),
        role=experiment.role,
        control=experiment.control,
        processes=tuple(
            ProcessSet(
                name=one.name,
                shared=one.shared,
                replicas=one.replicas,
                place=one.place,
                stop_signal=one.stop_signal,
                stop_to=one.stop_to,
                grace_seconds=one.termination_grace_seconds,
            )
            for one in scenario.application.processes
        ),
        jobs=jobs,
        services=tuple(
            ServiceFacts(
                name=one.name,
                versions=(
                    one.serving,
                    *(
                        step.services[one.name]
                        for step in scenario.release.steps
                        if one.name in step.services
                    ),
                ),
                replicas=one.replicas,
            )
            for one in scenario.services
        ),
        files=digests,
    )


def leaving_settings(policy: Policy) -> LeavingSettings:
    """How replicas are started and stopped, as evidence."""
    how = policy.termination
    return LeavingSettings(
        order=how.order,
        deregistration_lag_seconds=_range(how.deregistration_lag_seconds),
        registration_lag_seconds=_range(how.registration_lag_seconds),
        pre_stop_seconds=how.pre_stop_seconds,
        grace_seconds=how.grace_seconds,
        grace_includes_pre_stop=how.grace_includes_pre_stop,
        registration=how.registration,
        close_idle=how.close_idle,
        drain_timeout_seconds=policy.drain_timeout_seconds,
    )


def request_handling(scenario: Scenario) -> RequestHandling | None:
    """What our own balancer does with requests, as evidence; None behind another router."""
    if scenario.router.kind != "hitless":
        return None
    return msgspec.convert(scenario.balancer, RequestHandling, from_attributes=True)


def _range(lag: Lag) -> tuple[float, float]:
    return lag if isinstance(lag, tuple) else (lag, lag)
