"""What Redis has for Huey."""

import json

from huey_app import huey

for task in huey.pending():
    print(json.dumps({"job": task.id, "name": task.name, "state": "waiting"}))
