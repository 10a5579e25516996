"""Prints the jobs that the queue has, one JSON object a line."""

import json

from queue_table import connect

with connect() as connection:
    rows = connection.execute(
        "SELECT id, name, state, held_by, error, extract(epoch FROM held_until - now())::float8"
        " FROM jobs"
    )
    for job, name, state, held_by, error, until in rows:
        row = {"job": job, "name": name, "state": state, "by": held_by, "error": error}
        print(json.dumps({**row, "until_seconds": until if state == "held" else None}))
