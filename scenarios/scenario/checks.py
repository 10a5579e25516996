"""What the types of a scenario cannot say: names that must exist, and what excludes what."""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from orchestrator.placeholders import PlaceholderError, fill
from orchestrator.strategies import STRATEGIES
from scenarios.errors import ScenarioError, near
from scenarios.scenario.objective_checks import check_objectives
from scenarios.scenario.paths import migrations_directory
from scenarios.scenario.placeholders import PLACEHOLDERS, shared_names
from scenarios.scenario.platform_checks import check_platform
from scenarios.scenario.platform_spec import DEPLOYMENT
from scenarios.scenario.process_checks import check_processes
from scenarios.scenario.service_checks import check_services
from scenarios.scenario.simulation_checks import At, PlatformName, check_simulation
from scenarios.scenario.spec import (
    DatabaseSpec,
    Expectation,
    FaultSpec,
    IntegritySpec,
    ReleaseStep,
    RouterSpec,
    Scenario,
)
from scenarios.traffic.errors import PlanError
from scenarios.traffic.journeys.compiled import compiled_steps
from scenarios.traffic.journeys.population import Population
from scenarios.traffic.journeys.set_up import SET_UP
from scenarios.traffic.plan import Plan
from scenarios.traffic.schedule.arrivals import recorded as recorded_arrivals

NEED_DATABASE = frozenset({"restart-postgres", "crash-postgres", "block", "sql"})
LOCK_WORDS = frozenset({"ACCESS", "ROW", "SHARE", "UPDATE", "EXCLUSIVE"})
MOST_REAL = 1000
"""The most replicas of a run with real processes."""

_ANY_PORT = 80
_POOLER_OWN = frozenset(
    {"listen_addr", "listen_port", "unix_socket_dir", "auth_file", "auth_type", "pool_mode"}
    | {"logfile", "pidfile", "user"}
)
_LOOKED_AT = 1000  # lines of recorded arrivals: enough to see that a file is one
OWN_ROUTER = "hitless"
BALANCER_ONLY = frozenset(
    {"reuse_post", "retry", "passive_checks", "active_checks", "idle_timeout_seconds"}
)
"""The keys of `[balancer]` that say what our own balancer does with requests."""


def check(scenario: Scenario, at: At, platform: PlatformName = "local") -> None:
    """Refuse what would only be found out in the middle of a run.

    Args:
        scenario: what was read.
        at: says where it was read.
        platform: where it is to run.

    Raises:
        ScenarioError: something does not fit.
    """
    started = platform != "simulated" and not scenario.platform.on_cluster
    _check_versions(scenario, at, started=started)
    _check_release(scenario, at)
    check_size(scenario.policy.replicas, at(["policy", "replicas"]), platform)
    if scenario.database is not None:
        _check_database(scenario.database, scenario, at)
    _check_directories(scenario, at)
    if scenario.integrity is not None:
        _check_integrity(scenario.integrity, scenario, at)
    else:
        _check_values(scenario, at)
    _check_traffic(scenario, at)
    _check_router(scenario.router, at)
    _check_affinity(scenario, at)
    _check_expectation(scenario.expect, at)
    check_objectives(scenario.objectives, at)
    for number, fault in enumerate(scenario.faults):
        _check_fault(fault, scenario, at(["faults", str(number)]))
    check_processes(scenario, at, lambda texts, where: check_placeholders(texts, scenario, where))
    check_services(scenario, at, lambda texts, where: check_placeholders(texts, scenario, where))
    check_platform(scenario, at)
    check_simulation(scenario, at, platform)


def check_size(replicas: int, where: str, platform: PlatformName) -> None:
    """Refuse a fleet that no machine can run.

    Raises:
        ScenarioError: it has too many replicas.
    """
    if replicas > MOST_REAL and platform != "simulated":
        raise ScenarioError(
            f"{where}{replicas:,} replicas are too many for real processes; a run has at most "
            f"{MOST_REAL:,}, and more only with --platform simulated"
        )


def _check_integrity(integrity: IntegritySpec, scenario: Scenario, at: At) -> None:
    _check_version(integrity.using, scenario.versions, at(["integrity", "using"]))
    for key in ("subjects", "settled_when"):
        value = getattr(integrity, key)
        if isinstance(value, tuple):
            check_placeholders(value, scenario, at(["integrity", key]))
        elif value is not None and scenario.database is None:
            raise ScenarioError(
                f"{at(['integrity', key])}a query needs a [database] table; a command (an array) "
                "needs none"
            )


def _check_values(scenario: Scenario, at: At) -> None:
    """Refuse values that nobody could compare with what is stored."""
    for number, journey in enumerate(scenario.traffic.journeys):
        for place, step in enumerate(journey.steps):
            if step.value is not None:
                where = at(["traffic", "journeys", str(number), "steps", str(place), "value"])
                raise ScenarioError(f"{where}a value needs [integrity] with the key subjects")


def _check_fault(fault: FaultSpec, scenario: Scenario, at: str) -> None:
    rows = scenario.database.rows if scenario.database else None
    if fault.do in NEED_DATABASE and scenario.database is None:
        raise ScenarioError(f"{at}{fault.do!r} needs a [database] table")
    if fault.do == "restart-pooler" and (
        scenario.database is None or scenario.database.pooler is None
    ):
        raise ScenarioError(f"{at}'restart-pooler' needs database.pooler = \"pgbouncer\"")
    if fault.do == "sql" and not fault.sql:
        raise ScenarioError(f"{at}'sql' needs the statements, in the key 'sql'")
    if fault.do == "block" and fault.table is None and rows is None:
        raise ScenarioError(f"{at}'block' needs a 'table' to lock")
    if fault.do == "block" and not set(fault.mode.split()) <= LOCK_WORDS:
        raise ScenarioError(
            f"{at}'mode' is {fault.mode!r}; expected one of Postgres' modes, "
            "such as 'ACCESS EXCLUSIVE'"
        )
    if fault.service is None and fault.version not in (None, *scenario.versions):
        raise ScenarioError(
            f"{at}unknown version {fault.version!r}; {near(str(fault.version), scenario.versions)}"
        )


def _check_versions(scenario: Scenario, at: At, *, started: bool) -> None:
    application = scenario.application
    for name, version in scenario.versions.items():
        if application.command is None and version.command is None and started:
            raise ScenarioError(
                at(["versions", name]) + "neither this version nor [application] has a 'command'"
            )
        check_placeholders(version.command or (), scenario, at(["versions", name, "command"]))
        for variable, value in version.env.items():
            check_placeholders([value], scenario, at(["versions", name, "env", variable]))
    check_placeholders(application.command or (), scenario, at(["application", "command"]))
    for variable, value in application.env.items():
        check_placeholders([value], scenario, at(["application", "env", variable]))


def check_placeholders(texts: Sequence[str], scenario: Scenario, where: str) -> None:
    """Refuse a placeholder that has no value in this scenario.

    Raises:
        ScenarioError: there is one.
    """
    known = (*PLACEHOLDERS, *shared_names(scenario.application.processes, scenario.services))
    for text in texts:
        try:
            fill(text, dict.fromkeys(known, ""))
        except PlaceholderError as error:
            raise ScenarioError(f"{where}{error}") from error


def _check_release(scenario: Scenario, at: At) -> None:
    versions = scenario.versions
    serving = scenario.release.serving
    if serving not in versions:
        raise ScenarioError(
            at(["release", "from"]) + f"unknown version {serving!r}; {near(serving, versions)}"
        )
    deployed = 0
    for number, step in enumerate(scenario.release.steps, start=1):
        where = f"{at(['release', 'steps', str(number - 1)])}step {number}"
        _check_step(step, scenario, where)
        if step.undo and not deployed:
            raise ScenarioError(f"{where}: 'undo' comes after a 'deploy'")
        deployed += step.deploy is not None
    if not any(step.deploy or step.services for step in scenario.release.steps):
        raise ScenarioError(at(["release", "steps"]) + "no step deploys a version")


def _check_step(step: ReleaseStep, scenario: Scenario, where: str) -> None:
    down, migration = step.migrate_down is not None, step.migrate or step.migrate_down
    deploys = step.deploy is not None or bool(step.services)
    if (step.migrate is not None) + down + deploys + step.undo != 1:
        raise ScenarioError(
            f"{where} needs exactly one of 'migrate', 'migrate_down', 'deploy' (or 'services'), "
            "and 'undo'"
        )
    if step.through is not None and not isinstance(migration, str):
        raise ScenarioError(f"{where}: 'through' belongs to a step with a directory to migrate")
    if step.may_change_nothing and migration is None:
        raise ScenarioError(f"{where}: 'may_change_nothing' belongs to a step that migrates")
    if step.using is not None and not isinstance(migration, tuple):
        raise ScenarioError(f"{where}: 'using' belongs to a step with a command that migrates")
    if (isinstance(migration, str) or down) and scenario.database is None:
        key = "migrate_down" if down else "migrate"
        raise ScenarioError(f"{where}: {key!r} needs a [database] table")
    if down and scenario.application.readiness_path is None:
        raise ScenarioError(
            f"{where}: 'migrate_down' needs [application] readiness_path: without it hitless "
            "cannot tell whether a version works with the resulting schema"
        )
    if isinstance(migration, tuple):
        check_placeholders(migration, scenario, f"{where}: ")
    for name in (step.deploy, step.using):
        _check_version(name, scenario.versions, f"{where}: ")


def _check_database(database: DatabaseSpec, scenario: Scenario, at: At) -> None:
    _check_version(database.using, scenario.versions, at(["database", "using"]))
    if isinstance(database.migrate, tuple):
        check_placeholders(database.migrate, scenario, at(["database", "migrate"]))
    elif database.using is not None:
        raise ScenarioError(
            at(["database", "using"]) + "belongs to a 'migrate' that is a command (an array)"
        )
    _check_pooler(database, at)


def _check_pooler(database: DatabaseSpec, at: At) -> None:
    """Refuse settings of a pooler where there is none, and those that a run makes itself."""
    given = {
        "pooler_binary": database.pooler_binary is not None,
        "pool_mode": database.pool_mode != "transaction",
        "pooler_settings": bool(database.pooler_settings),
        "migrate_through_pooler": database.migrate_through_pooler,
    }
    for key, is_given in given.items():
        if is_given and database.pooler is None:
            raise ScenarioError(f'{at(["database", key])}needs database.pooler = "pgbouncer"')
    for key, value in database.pooler_settings.items():
        where = at(["database", "pooler_settings", key])
        if key in _POOLER_OWN:
            raise ScenarioError(f"{where}hitless sets {key} itself")
        if not key.isidentifier() or "\n" in value:
            raise ScenarioError(f"{where}a setting is a name and one line of text")


def _check_directories(scenario: Scenario, at: At) -> None:
    """See that the migrations of every step are there, before anything is started for them."""
    # On a cluster, those of the release are in the image of their Job.
    steps = () if scenario.platform.on_cluster else scenario.release.steps
    for number, step in enumerate(steps, start=1):
        for key in ("migrate", "migrate_down"):
            where = f"{at(['release', 'steps', str(number - 1), key])}step {number}: "
            _check_migrations(getattr(step, key), step.through, where)
    if scenario.database is not None:
        _check_migrations(scenario.database.migrate, None, at(["database", "migrate"]))


def _check_migrations(migrations: object, through: str | None, where: str) -> None:
    if isinstance(migrations, str):
        try:
            migrations_directory(migrations, through)
        except ScenarioError as error:
            raise ScenarioError(f"{where}{error}") from error


def router_kind(document: Mapping[str, Any]) -> object:
    """Which router a document asks for, as far as it can be told before it is converted."""
    router = document.get("router")
    return router.get("kind", OWN_ROUTER) if isinstance(router, Mapping) else OWN_ROUTER


def check_balancer_keys(document: Mapping[str, Any], at: At) -> None:
    """Refuse settings of our own balancer where another router would ignore them.

    Args:
        document: what was read, before defaults are added to it.
        at: says where it was read.

    Raises:
        ScenarioError: a key has no meaning with the router.
    """
    kind, balancer = router_kind(document), document.get("balancer")
    if kind == OWN_ROUTER or not isinstance(balancer, Mapping):
        return
    for key in balancer:
        if key in BALANCER_ONLY:
            raise ScenarioError(
                f"{at(['balancer', key])}has no meaning with router {kind}, which has settings of "
                "its own for that (router.config); leave it out, or use router hitless"
            )


def _check_router(router: RouterSpec, at: At) -> None:
    for key, value in (("binary", router.binary), ("config", router.config)):
        if value is None:
            continue
        where = at(["router", key])
        if router.kind == "hitless":
            raise ScenarioError(
                f"{where}the router hitless does not use it; set router.kind, such as haproxy"
            )
        if not Path(value).is_file():
            raise ScenarioError(f"{where}there is no file {value}")


def _check_affinity(scenario: Scenario, at: At) -> None:
    """Refuse a cookie that nobody would ever send back, so that it would keep nobody anywhere."""
    if scenario.balancer.affinity_cookie is None:
        return
    for journey in scenario.traffic.journeys:
        later = any(step.after != "mail" for step in journey.steps[1:])
        if journey.stays or journey.python is not None or later:
            return
    raise ScenarioError(
        f"{at(['balancer', 'affinity_cookie'])}no user sends a second request that could bring the "
        "cookie back; give a journey a second step, or users who stay"
    )


def _check_expectation(expect: Expectation, at: At) -> None:
    """Refuse a strategy that does not exist, for which nothing would be expected."""
    named = [(["expect", "outcomes"], tuple(expect.outcomes))]
    named.append((["expect", "fails_with"], tuple(expect.fails_with)))
    for number, one in enumerate(expect.elsewhere):
        named.append((["expect", "elsewhere", str(number), "strategy"], one.strategy))
    known = (*STRATEGIES, DEPLOYMENT)
    for keys, strategies in named:
        for name in strategies:
            if name not in known:
                raise ScenarioError(f"{at(keys)}unknown strategy {name!r}; {near(name, known)}")


def _check_version(name: str | None, versions: Mapping[str, object], where: str) -> None:
    if name is not None and name not in versions:
        raise ScenarioError(f"{where}unknown version {name!r}; {near(name, versions)}")


def _check_traffic(scenario: Scenario, at: At) -> None:
    traffic = scenario.traffic
    for number, journey in enumerate(traffic.journeys):
        file = (journey.python or "").rpartition(":")[0]
        if journey.python is not None and not (file and Path(file).is_file()):
            raise ScenarioError(
                f"{at(['traffic', 'journeys', str(number), 'python'])}python "
                f"{journey.python!r}: expected file.py:function, and there is no file {file!r}"
            )
    recorded = traffic.arrivals_path
    if recorded is not None and not Path(recorded).is_file():
        raise ScenarioError(f"{at(['traffic', 'arrivals_path'])}there is no file {recorded!r}")
    try:
        if recorded is not None:
            for _ in islice(recorded_arrivals(Path(recorded)), _LOOKED_AT):
                pass
        tuple(compiled_steps(traffic.set_up, host="localhost", where=SET_UP, known=frozenset()))
        Population(
            Plan.of(
                traffic, host="localhost", port=_ANY_PORT, seed=0, requests_path="", mails_path=""
            )
        )
    except PlanError as error:
        raise ScenarioError(f"{at(['traffic', *error.keys])}{error}") from error
