"""What Redis has for RQ."""

import json

from rq.registry import FailedJobRegistry, StartedJobRegistry
from rq_app import queue

# A worker moves a job to the intermediate queue before it begins it; a stop may leave it there.
registries = {
    "held": [
        *StartedJobRegistry(queue=queue).get_job_ids(cleanup=False),
        *queue.intermediate_queue.get_job_ids(),
    ],
    "failed": FailedJobRegistry(queue=queue).get_job_ids(cleanup=False),
    "waiting": queue.job_ids,
}
for state, jobs in registries.items():
    for job in jobs:
        found = queue.fetch_job(job)
        lines = (found.exc_info or "").strip().splitlines() if found else []
        print(json.dumps({"job": job, "state": state, "error": lines[-1] if lines else None}))
