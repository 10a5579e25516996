"""What a scenario says: the structs of a scenario file.

How a file is found, read, merged with what it extends and refused with file, line and key is in
`scenarios.scenario.reader`.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from orchestrator.policy import Command, Count, HttpPath, NotNegative, Policy, Positive
from scenarios.evidence.manifest import Objectives, Outcome
from scenarios.traffic.plan import Journey, RatePoint, Step

StopSignal = Literal["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2"]


class Application(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is true of every version of the application, unless the version says otherwise.

    All relative paths start from the folder of the scenario file.

    Attributes:
        command: the program and its arguments, without a shell. Placeholders, here and in `env`:
            `{host}` and `{port}` (where to listen), `{version}`, `{replica_id}`, `{replica_dir}` (a
            private folder), `{python}`, `{database_url}` and its parts `{database_host}`,
            `{database_port}`, `{database_user}`, `{database_password}`, `{database_name}`,
            `{smtp_url}` (the users' mailbox), `{base_url}` (the balancer's, for links). Two braces
            stand for one.
        python: the interpreter that `{python}` stands for, such as `../venv-b/bin/python`; absent:
            the one that runs hitless.
        cwd: the working directory; absent: the folder of the scenario file.
        env: environment variables; a version's own come on top.
        health_path: what the balancer probes; a 2xx is healthy.
        readiness_path: what a replica itself must answer with a 2xx before the balancer hears of
            it, and before its version may come back to a schema that has changed meanwhile.
        liveness_path: what a replica must go on answering with a 2xx, or be replaced.
        warm_up: paths that a new replica must answer, each with a 2xx or 3xx, before the balancer
            hears of it.
        stop_signal: what asks a replica to stop.
        signal_group: whether that goes to the replica's whole process group, for programs that
            leave their workers behind.
        termination_grace_seconds: how long a replica may take to stop before it is killed.
    """

    command: Command | None = None
    python: str | None = None
    cwd: str | None = None
    env: Mapping[str, str] = msgspec.field(default_factory=dict)
    health_path: HttpPath = "/"
    readiness_path: HttpPath | None = None
    liveness_path: HttpPath | None = None
    warm_up: tuple[HttpPath, ...] = ()
    stop_signal: StopSignal = "SIGTERM"
    signal_group: bool = False
    termination_grace_seconds: Positive = 10.0


class VersionSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One version of the application: what is different from `application`.

    Attributes:
        command: the program and its arguments; absent: the application's.
        python: the interpreter that `{python}` stands for; absent: the application's.
        cwd: the working directory; absent: the application's.
        env: environment variables on top of the application's.
    """

    command: Command | None = None
    python: str | None = None
    cwd: str | None = None
    env: Mapping[str, str] = msgspec.field(default_factory=dict)


class Rows(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rows that are in the database before the run, made with COPY.

    Attributes:
        table: where they go.
        columns: a template for each column's text: `{n}` (1, 2, …), `{uuid}`, `{now}`.
        count: how many.
    """

    table: str
    columns: Mapping[str, str]
    count: Annotated[int, msgspec.Meta(ge=0)] = 20_000


class DatabaseSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The application's Postgres database; a scenario without this table has none.

    Attributes:
        migrate: what makes the schema of the first version in the empty database: as in a step of
            the release.
        using: as in a step of the release; absent: the version that serves before it.
        rows: what is there before the run.
        lock_timeout_seconds: how long a migration's statement waits for a lock before it gives
            way, where the migration itself does not say; absent: for ever, as is Postgres' default.
        migration_deadline_seconds: for how long a migration that lost against a lock is tried
            again.
    """

    migrate: str | Command | None = None
    using: str | None = None
    rows: Rows | None = None
    lock_timeout_seconds: Positive | None = None
    migration_deadline_seconds: Positive = 60.0


class ReleaseStep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One step of a release: a migration, up or down, or the deployment of a version.

    Attributes:
        migrate: text: a directory of yoyo migrations, or `package:folder` inside an installed
            package; an array: any command, such as `["{python}", "-m", "alembic", "upgrade",
            "head"]`, which finds the database in `DATABASE_URL` and may hold placeholders.
        migrate_down: the same, to take migrations back, newest first: a directory of yoyo
            migrations with their rollbacks, or a command such as `["{python}", "-m", "alembic",
            "downgrade", "-1"]`. It is refused unless each version that lives says on a copy that
            it is ready (`readiness_path`) with the schema that this leads to.
        through: the last yoyo migration to apply, or to take back; absent: all.
        using: the version in whose directory, with whose interpreter and environment the command
            runs; absent: the next one that is deployed, to go back the last one that was.
        deploy: the version to deploy.
        undo: deploy the version that served before; refused when it does not work with the schema.
    """

    migrate: str | Command | None = None
    migrate_down: str | Command | None = None
    through: str | None = None
    using: str | None = None
    deploy: str | None = None
    undo: bool = False


# `from` is a Python keyword, so the field has another name than its key.
class ReleaseSpec(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename={"serving": "from"},
):
    """The release: from the version that serves, through steps in order.

    Attributes:
        serving: the version that serves before it; its key is `from`.
        steps: what is done, in order.
    """

    serving: str
    steps: Annotated[tuple[ReleaseStep, ...], msgspec.Meta(min_length=1)]


class BalancerSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the balancer judges its backends.

    Attributes:
        health_interval_seconds: between two checks of a backend in a steady state.
        health_fast_interval_seconds: between two checks of a backend whose state may change.
        health_timeout_seconds: when a check counts as failed.
        rise: how many checks in a row admit a backend.
        fall: how many failed checks in a row take it out.
        hold_seconds: how long a request may wait for a backend when none is up; 0: not at all.
        affinity_cookie: the name of a cookie that keeps a user on one version; absent: none does.
    """

    health_interval_seconds: Positive = 1.0
    health_fast_interval_seconds: Positive = 0.25
    health_timeout_seconds: Positive = 1.0
    rise: Count = 2
    fall: Count = 3
    hold_seconds: NotNegative = 0.0
    affinity_cookie: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]+$")] | None = None


class TrafficSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the users do.

    Attributes:
        rate: arrivals (journeys that start) a second. Where all users stay, nobody arrives.
        arrivals: `poisson` or `constant` gaps, or `recorded`: those of `arrivals_path`, once.
        profile: how the rate changes: linear between the points, and after the last one as there.
            Two points of one time are a jump. With a profile, `rate` has no meaning.
        arrivals_path: a file of recorded arrivals: one number a line, in seconds from the start,
            in ascending order.
        processes: how many processes send, where one is not enough.
        timeout_seconds: when a user gives up on a request.
        mail_domain: the domain of the users' addresses.
        set_up: requests that are sent once, in order, before the first arrival; what they capture
            is known in all journeys.
        journeys: what users do: those whom arrivals bring, and those who stay.
    """

    rate: Positive = 100.0
    arrivals: Literal["poisson", "constant", "recorded"] = "poisson"
    profile: tuple[RatePoint, ...] = ()
    arrivals_path: str | None = None
    processes: Count = 1
    timeout_seconds: Positive = 10.0
    mail_domain: str = "example.com"
    set_up: tuple[Step, ...] = ()
    journeys: Annotated[tuple[Journey, ...], msgspec.Meta(min_length=1)]

    @property
    def asked_rate(self) -> float:
        """Arrivals a second; 0 where all users stay."""
        return 0.0 if all(journey.stays for journey in self.journeys) else self.rate

    @property
    def users(self) -> int:
        """How many users stay for the whole run."""
        return sum(journey.users or 0 for journey in self.journeys)


class IntegritySpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How what was acknowledged is checked against the database.

    Attributes:
        subjects: a query for every row that matters: the columns `subject` and `state`.
        settled_when: a query for one boolean: whether the application has no work left. While its
            table does not exist, there is none.
        settle_timeout_seconds: how long to wait for that.
        states: the states of a subject, in the order in which it moves through them.
        subject_endpoint: the endpoint whose success promises that the subject is there.
        confirm_endpoint: the endpoint whose success promises `confirmed_state`.
        confirmed_state: the state that is meant.
        reads: paths that are read once more through each replica, after the run: all must answer
            alike. `{link}` stands for the links of some mails.
    """

    subjects: str
    settled_when: str | None = None
    settle_timeout_seconds: Positive = 30.0
    states: tuple[str, ...] = ()
    subject_endpoint: str | None = None
    confirm_endpoint: str | None = None
    confirmed_state: str | None = None
    reads: tuple[str, ...] = ()


class PhasesSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long the traffic runs around the release.

    Attributes:
        baseline_seconds: before it; this must be free of failures.
        settle_seconds: after it.
    """

    baseline_seconds: NotNegative = 3.0
    settle_seconds: NotNegative = 2.0


class Expectation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the release is expected to come to.

    Attributes:
        outcome: how it ends; any other end is a fail.
        outcomes: the same for single strategies, where they differ.
        fails_with: the negative controls: strategies under which requests must fail, each with
            the causes of which at least one must be found. Under all others nothing may fail.
    """

    outcome: Outcome = "completed"
    outcomes: Mapping[str, Outcome] = msgspec.field(default_factory=dict)
    fails_with: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=dict)


class FaultSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that goes wrong during the run, made by the harness; only its own are hurt.

    Attributes:
        do: `kill` (SIGKILL of a replica), `freeze` (SIGSTOP of a replica, then SIGCONT),
            `restart-postgres` (fast shutdown, then start), `crash-postgres` (immediate shutdown:
            crash recovery follows), `block` (a transaction that holds a lock on a table), `sql`
            (statements on the application's database), `freeze-load` (SIGSTOP of the load
            generator, then SIGCONT: a planted fault of the harness itself).
        phase: the phase at whose begin the time starts: `baseline`, `rollout` or `settle`.
        after_seconds: when, from then on.
        seconds: how long a freeze or a block lasts.
        version: whose replica; absent: any. The one that serves longest is taken.
        table: what a block locks; absent: the table of the database's rows.
        mode: the mode of that lock.
        sql: what `sql` executes, in one transaction.
    """

    do: Literal[
        "kill", "freeze", "restart-postgres", "crash-postgres", "block", "sql", "freeze-load"
    ]
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
        name: what runs are called.
        title: one line on what it shows.
        teaches: what a reader learns from it.
        extends: a built-in scenario, or a file beside this one, that this one adds to: tables are
            merged key by key, all other values are replaced. Paths start from the file that has
            them.
        application: what is true of every version.
        versions: the versions by name.
        database: the database, when the application has one.
        release: what is done.
        expect: how that should end.
        policy: how versions are deployed.
        balancer: how backends are judged.
        traffic: what the users do.
        integrity: how acknowledged data is checked.
        phases: how long the traffic runs around the release.
        objectives: what the run is judged by.
        faults: what goes wrong meanwhile.
        safer: a scenario with the same versions and a better plan, which `--counterfactual` tries.
    """

    name: str
    title: str = ""
    teaches: str = ""
    extends: str | None = None
    application: Application = Application()
    versions: Mapping[str, VersionSpec]
    database: DatabaseSpec | None = None
    release: ReleaseSpec
    expect: Expectation = Expectation()
    policy: Policy = Policy()
    balancer: BalancerSpec = BalancerSpec()
    traffic: TrafficSpec
    integrity: IntegritySpec | None = None
    phases: PhasesSpec = PhasesSpec()
    objectives: Objectives = Objectives()
    faults: tuple[FaultSpec, ...] = ()
    safer: str | None = None
