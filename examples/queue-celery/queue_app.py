"""The Celery application; `release.py` of each version adds its tasks."""

import os
import time

from celery import Celery, signals
from celery.schedules import schedule
from tell import tell

SAFE = os.environ.get("SAFE", "yes") == "yes"
VISIBILITY_SECONDS = 3600

app = Celery("shop", broker=os.environ["BROKER_URL"])
app.conf.update(
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=1 if SAFE else 4,  # 4 is Celery's default
    broker_transport_options={"visibility_timeout": VISIBILITY_SECONDS},
    task_acks_late=SAFE,
    task_reject_on_worker_lost=SAFE,
)

EVERY_SECONDS = 2


class OnTheClock(schedule):
    """Every two seconds by the clock, as cron does every minute."""

    def is_due(self, last_run_at):
        now = time.time()
        due = now // EVERY_SECONDS * EVERY_SECONDS
        return last_run_at.timestamp() < due, due + EVERY_SECONDS - now


app.conf.beat_schedule = {
    "digest": {"task": "send_digest", "schedule": OnTheClock(EVERY_SECONDS)},
}


@signals.after_task_publish.connect
def tell_of_digest(sender, headers, **_):
    """The web tells of what it asks for; beat has no code of its own."""
    if sender == "send_digest":
        due = str(int(time.time() // EVERY_SECONDS * EVERY_SECONDS))
        tell("asked", headers["id"], name=sender, due=due)
