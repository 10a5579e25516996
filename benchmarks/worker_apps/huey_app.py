"""Huey with its defaults: one worker thread, and a task for each minute."""

import os
import time
from typing import Any

from huey import RedisHuey, crontab
from tell import tell

huey = RedisHuey("bench", url=os.environ["BROKER_URL"])


@huey.task(context=True)
def job(seconds: float, task: Any = None) -> None:
    """Take some time."""
    tell("begun", task.id)
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 0.05))
    tell("ended", task.id)


if os.environ.get("CRON"):

    @huey.periodic_task(crontab(minute="*"), context=True)
    def every_minute(task: Any = None) -> None:
        """Run once for each minute."""
        due = time.strftime("%H:%M")
        tell("begun", task.id, name="every_minute", due=due)
        tell("ended", task.id, name="every_minute", due=due)


def ask(name: str, arguments: dict[str, Any]) -> str:
    """Put a job into the queue."""
    del name
    return str(job(**arguments).id)
