"""Huey with its defaults: one worker thread, and a task for each minute."""

import os
import time
from typing import Any

from huey import RedisHuey, crontab
from tell import tell

huey = RedisHuey("bench", url=os.environ["BROKER_URL"])


NEW = os.environ.get("HITLESS_VERSION") == "v2" and os.environ.get("NEW")


def _work(seconds: float, task: Any) -> None:
    tell("begun", task.id)
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 0.05))
    tell("ended", task.id)


if NEW:

    @huey.task(context=True)
    def job(seconds: float, language: str = "en", task: Any = None) -> None:
        """A job of the second version."""
        del language
        _work(seconds, task)

    @huey.task(context=True)
    def only_new(seconds: float, task: Any = None) -> None:
        """A job that the first version does not know."""
        _work(seconds, task)

else:

    @huey.task(context=True)
    def job(seconds: float, task: Any = None) -> None:
        """A job of the first version."""
        _work(seconds, task)


if os.environ.get("CRON"):

    @huey.periodic_task(crontab(minute="*"), context=True)
    def every_minute(task: Any = None) -> None:
        """Run once for each minute."""
        due = time.strftime("%H:%M")
        tell("begun", task.id, name="every_minute", due=due)
        tell("ended", task.id, name="every_minute", due=due)


def ask(name: str, arguments: dict[str, Any]) -> str:
    """Put a job into the queue."""
    kind = only_new if NEW and name == "only_new" else job
    return str(kind(**arguments).id)
