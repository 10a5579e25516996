"""PURE but for migrations and the result of a check: a scenario as a simulated world."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from balancer.health import HealthPolicy
from orchestrator.model import Migrate, MigrateDown, Release
from orchestrator.simulated.faults import Fault
from orchestrator.simulated.request import Handling
from orchestrator.simulated.world import SimulatedRun
from orchestrator.simulated.world_settings import Endpoint, Staying, World
from scenarios.runner.release import release as release_of
from scenarios.scenario.experiment import Experiment
from scenarios.scenario.paths import migrations_in
from scenarios.scenario.placeholders import run_values
from scenarios.scenario.simulation import EndpointModel, Record
from scenarios.scenario.simulation_checks import endpoint_of
from scenarios.scenario.spec import Scenario
from scenarios.simulation.compatibility import breaks_of, read_check
from scenarios.traffic.plan import Plan
from scenarios.traffic.schedule.arrivals import schedule
from scenarios.traffic.settings import Journey

EACH_RATE = 2000.0
"""Up to so many arrivals a second, the evidence has a line for each request."""

_SUCCESS = 400
_NOWHERE = "/nonexistent"


class StepMeaning(NamedTuple):
    """What a simulated endpoint is in the scenario.

    Attributes:
        journey: the name of the journey.
        step: the number of the step in it; the first is 1.
        endpoint: method and path.
        connection: `new`, `reused` or `any`.
        expected: the statuses that count as success.
        subject: whether the request is about its user.
        after_mail: whether the step waits for mail, or comes after one that does.
    """

    journey: str
    step: int
    endpoint: str
    connection: str
    expected: tuple[int, ...]
    subject: bool
    after_mail: bool


class Model(NamedTuple):
    """An experiment as it is simulated.

    Attributes:
        run: what is simulated.
        steps: what its endpoints are in the scenario, by their numbers.
        record: how much of it is written down.
        mail_domain: the domain of the users' addresses.
    """

    run: SimulatedRun
    steps: tuple[StepMeaning, ...]
    record: Record
    mail_domain: str


def model_of(experiment: Experiment) -> Model:
    """The simulated world of an experiment.

    Raises:
        ScenarioError: a directory of migrations does not exist, or `breaks_from` is not the result
            of a check.
    """
    scenario = experiment.scenario
    traffic = scenario.traffic
    release = release_of(experiment.loaded, _values())
    record = scenario.simulation.record or ("each" if traffic.asked_rate <= EACH_RATE else "counts")
    endpoints, meanings, staying = _steps(scenario)
    balancer = scenario.balancer
    uneven = traffic.profile or traffic.arrivals == "recorded"
    plan = _plan(experiment)
    run = SimulatedRun(
        world=_world(experiment, endpoints, staying),
        release=release,
        policy=scenario.policy,
        strategy=experiment.strategy,
        seed=experiment.seed,
        rate=0.0 if uneven else traffic.asked_rate,
        even=traffic.arrivals == "constant",
        offsets=partial(schedule, plan) if uneven else None,
        timeout_seconds=traffic.timeout_seconds,
        baseline_seconds=scenario.phases.baseline_seconds,
        settle_seconds=scenario.phases.settle_seconds,
        health=HealthPolicy(
            interval=balancer.health_interval_seconds,
            fast_interval=balancer.health_fast_interval_seconds,
            timeout=balancer.health_timeout_seconds,
            rise=balancer.rise,
            fall=balancer.fall,
            active=balancer.active_checks,
        ),
        handling=Handling(
            retry=balancer.retry,
            reuse_post=balancer.reuse_post,
            hold_seconds=balancer.hold_seconds,
        ),
        passive_checks=balancer.passive_checks,
        batches=record == "counts",
        directories=_directories(release),
        faults=_faults(scenario),
        limit_seconds=scenario.simulation.limit_seconds,
    )
    return Model(run, meanings, record, traffic.mail_domain)


def _world(
    experiment: Experiment, endpoints: tuple[Endpoint, ...], staying: tuple[Staying, ...]
) -> World:
    scenario = experiment.scenario
    spec = scenario.simulation
    breaks = spec.breaks
    if spec.breaks_from is not None:
        where = experiment.loaded.at("simulation", "breaks_from")
        breaks = breaks_of(read_check(Path(spec.breaks_from), where), breaks)
    return World(
        replica=spec.replica,
        versions=spec.versions,
        network=spec.network,
        endpoints=endpoints,
        staying=staying,
        mails=spec.mails,
        mail_seconds=spec.mail_seconds,
        breaks=breaks,
        migrations=spec.migrations,
        health_path=scenario.application.health_path,
        schema_paths=spec.schema_paths,
    )


def _steps(
    scenario: Scenario,
) -> tuple[tuple[Endpoint, ...], tuple[StepMeaning, ...], tuple[Staying, ...]]:
    """All steps of all journeys as endpoints, each with its meaning; and the users who stay."""
    endpoints: list[Endpoint] = []
    meanings: list[StepMeaning] = []
    staying: list[Staying] = []
    spec = scenario.simulation
    for journey in scenario.traffic.journeys:
        first = len(endpoints)
        for endpoint, meaning in _of_journey(journey, first, spec.endpoints, spec.link):
            endpoints.append(endpoint)
            meanings.append(meaning)
        if journey.users is not None:
            every = journey.every_seconds or 1.0
            staying.append(Staying(endpoint=first, users=journey.users, every_seconds=every))
    return tuple(endpoints), tuple(meanings), tuple(staying)


def _of_journey(
    journey: Journey, first: int, models: Mapping[str, EndpointModel], link: str
) -> Iterator[tuple[Endpoint, StepMeaning]]:
    weight = 0.0 if journey.stays else 1.0 if journey.weight is None else journey.weight
    after_mail = False
    for index, step in enumerate(journey.steps):
        name = endpoint_of(step, link)
        model = models.get(name, EndpointModel())
        mailed = step.after == "mail"
        after_mail = after_mail or mailed
        # Each earlier request may have led to a mail; a step follows the one before it.
        follows = range(first, first + index) if mailed else range(first + index - 1, first + index)
        succeeds = any(status < _SUCCESS for status in step.expect)
        endpoint = Endpoint(
            name=name,
            weight=0.0 if index else weight,
            service_factor=model.service_factor,
            lock=model.lock if succeeds else None,
            follows=tuple(follows) if index else (),
            pause_seconds=step.delay_seconds,
            mailed=mailed,
            refused=not succeeds,
        )
        yield (
            endpoint,
            StepMeaning(
                journey=journey.name,
                step=index + 1,
                endpoint=name,
                connection=step.connection,
                expected=(101,) if step.websocket is not None else step.expect,
                subject=step.subject is not None,
                after_mail=after_mail,
            ),
        )


def _directories(release: Release) -> dict[Path, Sequence[str]]:
    """The names of the migrations of each directory, in order."""
    found: dict[Path, Sequence[str]] = {}
    for step in release.steps:
        what = step.what if isinstance(step, MigrateDown) else step
        if isinstance(what, Migrate):
            found[what.directory] = migrations_in(what.directory)
    return found


def _faults(scenario: Scenario) -> tuple[Fault, ...]:
    rows = scenario.database.rows if scenario.database is not None else None
    return tuple(
        Fault(
            do=one.do,  # type: ignore[arg-type] # `check_simulation` has refused the others
            phase=one.phase,
            after_seconds=one.after_seconds,
            seconds=one.seconds,
            version=one.version,
            table=one.table or (rows.table if rows is not None else ""),
        )
        for one in scenario.faults
    )


def _plan(experiment: Experiment) -> Plan:
    return Plan.of(
        experiment.scenario.traffic,
        host="localhost",
        port=80,
        seed=experiment.seed,
        requests_path="",
        mails_path="",
    )


def _values() -> dict[str, str]:
    """Values for the placeholders of commands, none of which is run."""
    return {**run_values(database_url=""), "replica_dir": _NOWHERE}
