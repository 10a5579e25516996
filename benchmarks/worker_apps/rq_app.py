"""RQ with its defaults: a horse for each job, in a process group of its own."""

import os
import time
from typing import Any

import redis
from rq import Queue, get_current_job
from tell import tell

queue = Queue(connection=redis.Redis.from_url(os.environ["BROKER_URL"]))


def _work(seconds: float) -> None:
    current = get_current_job()
    job = current.id if current else "?"
    tell("begun", job)
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 0.05))
    tell("ended", job)


if os.environ.get("HITLESS_VERSION") == "v2" and os.environ.get("NEW"):

    def job(seconds: float, language: str = "en") -> None:
        """A job of the second version."""
        del language
        _work(seconds)

else:

    def job(seconds: float) -> None:  # type: ignore[misc]
        """A job of the first version."""
        _work(seconds)


if os.environ.get("HITLESS_VERSION") == "v2":
    only_new = _work


def every_minute() -> None:
    """Run once for each minute."""
    current = get_current_job()
    told = {"name": "every_minute", "due": time.strftime("%H:%M")}
    tell("begun", current.id if current else "?", **told)
    tell("ended", current.id if current else "?", **told)


def ask(name: str, arguments: dict[str, Any]) -> str:
    """Put a job into the queue."""
    return str(queue.enqueue(f"rq_app.{name}", kwargs=arguments, result_ttl=0).id)
