"""The Celery application; `release.py` of each version adds its tasks."""

import os

from celery import Celery

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
