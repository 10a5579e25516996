"""What helps against each cause, in the words of the queue system that the application uses.

Sources: the documentation of each system (Celery's "Configuration and defaults" and "Workers
guide", RQ's "Workers", Huey's "Consumer", Dramatiq's "Guide", arq's `Worker`, procrastinate's
"Shutdown", graphile-worker's "Library", BullMQ's "Graceful shutdown"), and the runs of
`benchmarks/workers.py`.
"""

from collections.abc import Mapping

from scenarios.evidence.jobs import JobCause

TITLES: Mapping[JobCause, str] = {
    "job:lost": "the job did not end, and the queue does not have it",
    "job:cut": "a stop cut the job, so that its work begins anew",
    "job:done_twice": "the job was done more than once",
    "job:will_repeat": "the job ended, but the queue will give it to a worker again",
    "job:hidden": "nobody began the job, and the queue holds it for a dead process",
    "job:reordered": "jobs with one key were begun in another order than they were asked for",
    "job:dropped": "stops cut the job, and then the queue gave it up",
    "job:not_understood": "one version does not understand the jobs of another one",
    "job:failed": "the job raised an error",
    "job:begun_after_stop": "a process began the job after its stop signal",
    "job:cron_twice": "a scheduler made the job twice for one instant",
}
"""The causes in words."""

_ANY: Mapping[JobCause, str] = {
    "job:lost": (
        "let the queue keep a job until it has ended (a late acknowledgement), and stop a worker "
        "with a grace period that is longer than the longest job"
    ),
    "job:cut": (
        "give the worker a grace period that is longer than its longest job, drain it before the "
        'stop, or make each job safe to repeat (then accept this with jobs.may = ["job:cut"])'
    ),
    "job:done_twice": "make the job safe to repeat: let it look up whether its work is done",
    "job:will_repeat": (
        "let the worker tell the queue that the job has ended before the process exits, and make "
        "the job safe to repeat"
    ),
    "job:hidden": (
        "let a worker take one job at a time, and shorten the time after which the queue takes "
        "back what a dead worker holds"
    ),
    "job:reordered": "do not rely on the order of jobs: let a job carry a version of its data",
    "job:dropped": (
        "stop workers after their jobs have ended, or do not count a stop as a failed attempt"
    ),
    "job:not_understood": (
        "first deploy workers that understand both forms, and then what asks for the new one; give "
        "a new argument a default"
    ),
    "job:begun_after_stop": (
        "let the worker stop taking jobs at the stop signal, or send it a drain signal first"
    ),
    "job:cron_twice": (
        'stop the old scheduler before the new one starts (strategy = "naive"), and let the job '
        "look up whether it was done for that instant"
    ),
}

_OWN: Mapping[str, Mapping[JobCause, str]] = {
    "celery": {
        "job:lost": (
            "send SIGTERM to the parent alone (systemd: KillMode=mixed; Docker does so), and set "
            "task_acks_late = True with task_reject_on_worker_lost = True"
        ),
        "job:cut": "a grace period above the longest task, or task_acks_late with idempotent tasks",
        "job:hidden": (
            "worker_prefetch_multiplier = 1, and broker_transport_options = "
            '{"visibility_timeout": …} just above the longest task (the default is an hour)'
        ),
        "job:reordered": (
            "worker_prefetch_multiplier = 1: fetched messages go back to Redis in reverse order"
        ),
        "job:not_understood": (
            "deploy the workers before the web, give new arguments a default, and accept **kwargs; "
            "an unregistered task is discarded"
        ),
        "job:cron_twice": 'run one beat at a time: strategy = "naive" for it, or celery-redbeat',
    },
    "rq": {
        "job:lost": (
            "a grace period above the longest job: a second signal or SIGKILL ends the horse"
        ),
        "job:cut": (
            "a grace period above the longest job; `rq worker` takes abandoned jobs back only in "
            "its maintenance, every 600 s"
        ),
        "job:not_understood": (
            "deploy the workers before the web, and give new arguments a default; failed jobs are "
            "in the FailedJobRegistry (`rq requeue --all`)"
        ),
        "job:hidden": (
            "a stop between the taking of a job and its begin leaves it in the intermediate queue, "
            "and RQ's maintenance marks it as failed later: look there after each stop, and requeue"
        ),
    },
    "huey": {
        "job:lost": (
            "let systemd send SIGINT (KillSignal=SIGINT): Huey ends its tasks at SIGINT, and cuts "
            "them at SIGTERM"
        ),
        "job:cron_twice": (
            "a consumer enqueues the tasks of the minute in which it starts: take huey.lock_task, "
            "or look up in the task whether the minute was done"
        ),
    },
    "dramatiq": {
        "job:cut": "a grace period above the longest actor, and no second signal within it",
        "job:not_understood": "deploy the workers before the web; an unknown actor is not found",
    },
    "arq": {
        "job:cut": "job_completion_wait above the longest job",
        "job:dropped": "job_completion_wait above the longest job, and a higher max_tries",
    },
    "procrastinate": {
        "job:cut": (
            "a grace period above the longest job (shutdown_graceful_timeout), and a periodic task "
            "that retries the stalled jobs of get_stalled_jobs"
        ),
    },
    "graphile-worker": {
        "job:will_repeat": (
            "let the pool shut down by itself before the process exits: a job that is still locked "
            "runs again after four hours"
        ),
    },
    "bullmq": {
        "job:cut": "on SIGTERM, await worker.close(), with a grace period above the longest job",
        "job:lost": "on SIGTERM, await worker.close()",
    },
}


def remedy(kind: JobCause, system: str | None) -> str | None:
    """What helps; None if nothing is known, as for an error of the job itself."""
    return _OWN.get(system or "", {}).get(kind) or _ANY.get(kind)
