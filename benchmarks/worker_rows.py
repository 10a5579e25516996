"""The queue systems, and what is known of their jobs when a deployment stops them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

PINNED: Mapping[str, tuple[str, ...]] = {
    "celery": ("celery[redis]==5.7.0",),
    "rq": ("rq==3.0.0",),
    "huey": ("huey==3.5.4", "redis==8.1.0"),
    "bullmq": ("bullmq@6.7.0", "ioredis@5"),
}
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "celery": (
        *("{python}", "-m", "celery", "--app", "celery_app", "worker", "--concurrency", "1"),
        *("--hostname", "{replica_id}", "--without-gossip", "--without-mingle"),
        *("--loglevel", "INFO"),
    ),
    "rq": ("{bin}/rq", "worker", "--url", "{broker}", "--name", "{replica_id}"),
    "huey": ("{bin}/huey_consumer", "huey_app.huey"),
    "bullmq": ("node", "bullmq_app.js", "worker"),
}
SCHEDULERS: Mapping[str, tuple[str, ...]] = {
    "celery": (
        *("{python}", "-m", "celery", "--app", "celery_app", "beat"),
        *("--schedule", "{replica_dir}/schedule", "--pidfile=", "--loglevel", "INFO"),
    ),
    "rq": ("{bin}/rq", "cron", "rq_cron.py", "--url", "{broker}"),
}
"""Of the other systems, each worker is a scheduler, too."""

READY: Mapping[str, str] = {
    "celery": r" ready\.$",
    "rq": "Listening on",
    "huey": "Huey consumer started|\\+ huey_app",
    "bullmq": "^ready",
}
SCHEDULER_READY: Mapping[str, str] = {"celery": "beat: Starting", "rq": "Registered|CronScheduler"}
LONG = {"name": "job", "seconds": 4}
TWO_MINUTES = {"name": "job", "seconds": 120}
MANY = {"name": "job", "seconds": 0.2, "count": 8, "key": "numbered"}
NEW_ARGUMENT = {"name": "job", "seconds": 0.05, "language": "en"}
NEW_NAME = {"name": "only_new", "seconds": 0.05}


@dataclass(frozen=True, slots=True)
class Row:
    """One run, and what is known of it.

    Attributes:
        system: the queue system.
        name: what happens to it.
        fault: the fault; None: the release itself is what happens.
        causes: the causes that the verdict must name; empty: none.
        or_none: any one of these, or of the causes, is enough.
        also: causes that it may name beside them.
        jobs: what is planted before the first user arrives.
        asks: what users ask the new web for while the old worker still runs.
        env: environment variables of the application.
        seconds: of the fault.
        grace: of the workers, in seconds.
        schedulers: whether two schedulers run side by side when a minute begins.
    """

    system: str
    name: str
    fault: str | None
    causes: tuple[str, ...]
    or_none: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    jobs: tuple[Mapping[str, object], ...] = (LONG,)
    asks: tuple[Mapping[str, object], ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 2.0
    grace: float = 20.0
    schedulers: bool = False


CLOSES = {"CLOSES": "1"}
CRON = {"CRON": "1"}
NEW = {"NEW": "1"}
TWICE = ("job:cron_twice",)
NOT_UNDERSTOOD = ("job:not_understood_by:v1",)
UNKNOWN = "a new argument and an unknown name"
SIDE_BY_SIDE = "two schedulers side by side"
STUCK = ("job:hidden",)
"""RQ leaves a job in its intermediate queue at a stop after its taking (rq/rq, issue 2236)."""

ROWS = (
    Row("celery", "TERM to the parent", "term", ()),
    Row("celery", "TERM to all its processes", "term-group", ("job:lost",)),
    Row("celery", "TERM twice", "term-twice", ()),
    Row("celery", "a job of 120 s", None, (), jobs=(TWO_MINUTES,), grace=150),
    Row("celery", "KILL", "kill-all", ("job:lost", "job:hidden"), jobs=(LONG, MANY)),
    Row("celery", "fetched, not begun", "term", ("job:reordered",), jobs=(LONG, MANY)),
    Row("celery", UNKNOWN, None, NOT_UNDERSTOOD, jobs=(), asks=(NEW_ARGUMENT, NEW_NAME), env=NEW),
    Row("celery", "the broker is away for 5 s", "restart", (), seconds=5.0),
    Row("celery", SIDE_BY_SIDE, None, TWICE, jobs=(), env=CRON, schedulers=True),
    Row("rq", "TERM to the parent", "term", ()),
    Row("rq", "TERM to all its processes", "term-group", ()),
    Row("rq", "TERM twice", "term-twice", ("job:dropped_after_1_stop",), ("job:cut", "job:lost")),
    Row("rq", "a job of 120 s", None, (), jobs=(TWO_MINUTES,), grace=150),
    Row("rq", "KILL", "kill-all", ("job:cut",), jobs=(LONG, MANY)),
    Row("rq", "fetched, not begun", "term", (), jobs=(LONG, MANY)),
    Row(
        *("rq", UNKNOWN, None, NOT_UNDERSTOOD),
        also=STUCK,
        jobs=(),
        asks=(NEW_ARGUMENT, NEW_NAME),
        env=NEW,
    ),
    Row(
        *("rq", "the broker is away for 5 s while a job ends", "restart", ("job:will_repeat",)),
        seconds=5.0,
    ),
    Row("rq", SIDE_BY_SIDE, None, TWICE, jobs=(), env=CRON, schedulers=True),
    Row("huey", "TERM to the parent", "term", ("job:lost",)),
    Row("huey", "TERM to all its processes", "term-group", ("job:lost",)),
    Row("huey", "a job of 120 s", None, ("job:lost",), jobs=(TWO_MINUTES,), grace=150),
    Row("huey", "KILL", "kill-all", ("job:lost",)),
    Row("huey", "fetched, not begun", "term", ("job:lost",), jobs=(LONG, MANY)),
    Row(
        *("huey", UNKNOWN, None, NOT_UNDERSTOOD),
        also=("job:lost",),  # what the old worker takes as it ends
        jobs=(),
        asks=(NEW_ARGUMENT, NEW_NAME),
        env=NEW,
    ),
    Row("huey", "the broker is away for 5 s", "restart", (), seconds=5.0),
    Row("huey", SIDE_BY_SIDE, None, TWICE, jobs=(), env=CRON, schedulers=True),
    Row(*("huey", "stop and start within a minute", "restart-in-minute", TWICE), jobs=(), env=CRON),
    Row("bullmq", "TERM without close()", "term", ("job:cut",)),
    Row("bullmq", "TERM with close()", "term", (), env=CLOSES),
    Row("bullmq", "a job of 120 s without close()", None, ("job:cut",), jobs=(TWO_MINUTES,)),
    Row(
        *("bullmq", "a job of 120 s with close()", None, ()),
        jobs=(TWO_MINUTES,),
        env=CLOSES,
        grace=150,
    ),
    Row("bullmq", "KILL", "kill-all", ("job:cut",)),
    Row("bullmq", "fetched, not begun", "term", (), jobs=(LONG, MANY), env=CLOSES),
    # It ignores the argument, and does a job with an unknown name as if it knew it.
    Row("bullmq", UNKNOWN, None, (), jobs=(), asks=(NEW_ARGUMENT, NEW_NAME), env=NEW | CLOSES),
    Row("bullmq", "the broker is away for 5 s", "restart", (), seconds=5.0),
    Row("bullmq", SIDE_BY_SIDE, None, (), jobs=(), env=CRON, schedulers=True),
)
