"""Celery with its defaults: one slot, early acknowledgement, four messages fetched ahead."""

import os
import time
from typing import Any

from celery import Celery
from celery.schedules import crontab
from tell import tell

app = Celery("app", broker=os.environ["BROKER_URL"])
app.conf.task_ignore_result = True
app.conf.broker_connection_retry_on_startup = True


def do(self: Any, seconds: float) -> None:
    """Take some time."""
    tell("begun", self.request.id)
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 0.05))
    tell("ended", self.request.id)


def do_in_language(self: Any, seconds: float, language: str) -> None:
    """The same, with the argument that the second version adds."""
    del language
    do(self, seconds)


new = os.environ.get("HITLESS_VERSION") == "v2"
app.task(bind=True, name="job")(do_in_language if new and os.environ.get("NEW") else do)
if new:
    app.task(bind=True, name="only_new")(do)


@app.task(bind=True, name="every_minute")
def every_minute(self: Any) -> None:
    """Run once for each minute."""
    due = time.strftime("%H:%M")
    tell("begun", self.request.id, name="every_minute", due=due)
    tell("ended", self.request.id, name="every_minute", due=due)


if os.environ.get("CRON"):
    app.conf.beat_schedule = {"every minute": {"task": "every_minute", "schedule": crontab()}}


def ask(name: str, arguments: dict[str, Any]) -> str:
    """Put a job into the queue."""
    return str(app.send_task(name, kwargs=arguments).id)
